"""Compute the disk space that a recording takes, and check that it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.errors import BadInput
from harness.recording.writer import SPARE_SPACE
from harness.schemas.layout import Layout


def check_disk_space(out: Path, layout: Layout, iterations: int) -> None:
    """Check that the disk of the run directory `out` has room for the recording.

    Raises:
        BadInput: it has not.
    """
    if sum(layout.sizes(iterations)) + SPARE_SPACE > shutil.disk_usage(out).free:
        raise disk_too_small(out, layout, iterations)


def disk_too_small(out: Path, layout: Layout, iterations: int) -> BadInput:
    """Return the error that states how much space the recording needs."""
    window, rows = layout.sizes(iterations)
    frames = sum(len(window) for window in layout.windows)
    return BadInput(
        f"the recording needs {mib(window + rows)} MiB ({mib(window)} of it for {frames} window iterations) and "
        f"{mib(SPARE_SPACE)} to spare, and the disk has {mib(shutil.disk_usage(out).free)} free",
        field="--out",
        value=out,
        remedy="Watch fewer iterations, leave something out of --capture, or give --out on another disk",
    )


def mib(size: int) -> str:
    """Format bytes as MiB."""
    return f"{size / 2**20:,.0f}"
