"""Progress of reading and writing a capsule, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from harness.capsules.file.archive import Progress
from harness.reports.console import Console


@contextmanager
def showing_progress(what: str) -> Iterator[Progress]:
    """Show how many bytes are done while the block runs, and nothing where standard error is no terminal."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True, disable=not terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
