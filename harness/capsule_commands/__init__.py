"""The sub-commands of `capsule.py`, a module each: `add_parser` adds its arguments, and `main` runs it."""
