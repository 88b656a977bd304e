"""Format shapes and keys for messages."""

from __future__ import annotations

from collections.abc import Sequence


def format_shape(shape: Sequence[int]) -> str:
    """Write a shape as 32×3×224×224."""
    return "×".join(map(str, shape)) or "scalar"


def printable(key: bytes) -> str:
    """Decode a record's key, or a path, which may not be valid UTF-8."""
    return key.decode(errors="backslashreplace")
