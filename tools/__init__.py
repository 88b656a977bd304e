"""Tools for the development of the harness; tools/setup and tools/demo are for its users too."""
