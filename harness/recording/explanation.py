"""Read and write explain.json of a run directory: what `explain` found."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.atomic_write import write_whole
from harness.caffe_files.paths import exists
from harness.errors import RecordingFailed
from harness.invocation import next_command, path_argument
from harness.recording.metadata import read_metadata
from harness.schemas.explanation import EXPLAIN, EXPLANATION_VERSION, Explanation, encode


def read_explanation(run: Path) -> Explanation | None:
    """Read what `explain` found about the run in the directory `run`; None if it was not asked.

    Raises:
        BadInput: explain.json is damaged, or was written by a newer harness.
    """
    file = run / EXPLAIN
    if not exists(file):
        return None
    remedy = f"Run {next_command('explain')} {path_argument(run)} again, which uses the replays that are stored"
    return read_metadata(file, Explanation, EXPLANATION_VERSION, remedy)


def json_text(explanation: Explanation) -> str:
    """Return the text of explain.json."""
    return msgspec.json.format(encode(explanation), indent=2).decode()


def write_explanation(run: Path, explanation: Explanation) -> None:
    """Write explain.json into the run directory `run`, in place of an older one.

    Raises:
        RecordingFailed: it cannot be written.
    """
    file = run / EXPLAIN
    try:
        write_whole(file, json_text(explanation) + "\n")
    except OSError as error:
        raise RecordingFailed(f"{file}: cannot be written ({error.strerror})") from None
