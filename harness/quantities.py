"""Durations and sizes as users read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Format a duration: `3 d 4 h`, `1 h 2 min`, `2 min 3 s`, `2 min`, `3.5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24:,} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{seconds:.3g} s"


def data_size(count: float) -> str:
    """Format bytes: `512 B`, `3.5 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"


def file_size(count: int) -> str:
    """Format the bytes of a file that is sent, in units of 1,000: `812 bytes`, `4.1 kB`, `1.8 MB`."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count} bytes"
