"""Read explain.json of a run directory: what `explain` found."""

from __future__ import annotations

from pathlib import Path

from harness.caffe_files.paths import exists
from harness.recording.metadata import read_metadata
from harness.schemas.explanation import EXPLAIN, EXPLANATION_VERSION, Explanation


def read_explanation(run: Path) -> Explanation | None:
    """Read what `explain` found about the run in the directory `run`; None if it was not asked.

    Raises:
        BadInput: explain.json is damaged, or was written by a newer harness.
    """
    file = run / EXPLAIN
    if not exists(file):
        return None
    return read_metadata(
        file, Explanation, EXPLANATION_VERSION, "Run explain again; it reuses the replays that it made"
    )
