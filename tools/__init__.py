"""Tools to develop the harness; tools/setup and tools/demo are for its users as well."""
