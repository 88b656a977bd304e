"""Build the container images and try them as docs/containers.md describes. Only the standard library is imported."""
