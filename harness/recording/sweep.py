"""Read and write sweep.json of a study directory."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.atomic_write import write_whole
from harness.caffe_files.paths import exists
from harness.errors import RecordingFailed
from harness.recording.metadata import read_metadata
from harness.schemas.sweep import SWEEP, SWEEP_VERSION, Sweep, encode


def read_sweep(study: Path) -> Sweep | None:
    """Read sweep.json of the directory `study`; None if there is none.

    Raises:
        BadInput: it is damaged, or was written by a newer harness.
    """
    file = study / SWEEP
    if not exists(file):
        return None
    return read_metadata(file, Sweep, SWEEP_VERSION, "Give another --out; the restarts in that directory can be read")


def json_text(sweep: Sweep) -> str:
    """Return the text of sweep.json."""
    return msgspec.json.format(encode(sweep), indent=2).decode()


def write_sweep(study: Path, sweep: Sweep) -> None:
    """Write sweep.json into the directory `study`, in place of an older one.

    Raises:
        RecordingFailed: it cannot be written.
    """
    file = study / SWEEP
    try:
        write_whole(file, json_text(sweep) + "\n")
    except OSError as error:
        raise RecordingFailed(f"{file}: cannot be written ({error.strerror})") from None
