"""Read and write what commands have found: explain.json of a run, and rescue.json and sweep.json of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from harness.atomic_write import write_whole
from harness.caffe_files.paths import exists
from harness.errors import RecordingFailed
from harness.invocation import next_command, path_argument
from harness.recording.metadata import read_metadata
from harness.schemas.explanation import EXPLAIN, EXPLANATION_VERSION, Explanation
from harness.schemas.rescue import RESCUE, RESCUE_VERSION, Rescue
from harness.schemas.sweep import SWEEP, SWEEP_VERSION, Sweep

Result = TypeVar("Result", Explanation, Rescue, Sweep)


def read_explanation(run: Path) -> Explanation | None:
    """Read what `explain` found about the run in the directory `run`; None if it was not asked.

    Raises:
        BadInput: explain.json is damaged, or was written by a newer harness.
    """
    remedy = f"Run {next_command('explain')} {path_argument(run)} again, which uses the replays that are stored"
    return _read(run / EXPLAIN, Explanation, EXPLANATION_VERSION, remedy)


def read_sweep(study: Path) -> Sweep | None:
    """Read sweep.json of the directory `study`; None if there is none.

    Raises:
        BadInput: it is damaged, or was written by a newer harness.
    """
    remedy = "Give another --out; the restarts in that directory can be read"
    return _read(study / SWEEP, Sweep, SWEEP_VERSION, remedy)


def rescue_of(run: Path) -> Rescue | None:
    """Read the rescue that ended with the run directory `run`; None if there is none.

    rescue.json is in the same directory, or where nothing helped, in RUN-rescue beside it.

    Raises:
        BadInput: it is damaged, or was written by a newer harness.
    """
    whole = run.resolve()
    for found in (_rescue_in(whole.parent), rescue_from(whole)):
        if found is not None and Path(found.run).name == whole.name:
            return found
    return None


def rescue_from(run: Path) -> Rescue | None:
    """Read the rescue that began with the run directory `run`; None if there is none.

    Raises:
        BadInput: it is damaged, or was written by a newer harness.
    """
    return _rescue_in(rescue_study(run))


def rescue_study(run: Path) -> Path:
    """Return the study directory of a rescue that begins with the run directory `run`."""
    whole = run.absolute()
    return whole.with_name(f"{whole.name}-rescue")


def _rescue_in(study: Path) -> Rescue | None:
    return _read(study / RESCUE, Rescue, RESCUE_VERSION, "Remove it, and rescue the run again")


def json_text(result: Explanation | Rescue | Sweep) -> str:
    """Return the text of the file that has this result."""
    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()


def write_explanation(run: Path, explanation: Explanation) -> None:
    """Write explain.json into the run directory `run`, in place of an older one.

    Raises:
        RecordingFailed: it cannot be written.
    """
    _write(run / EXPLAIN, explanation)


def write_rescue(study: Path, rescue: Rescue) -> None:
    """Write rescue.json into the directory `study`, in place of an older one.

    Raises:
        RecordingFailed: it cannot be written.
    """
    _write(study / RESCUE, rescue)


def write_sweep(study: Path, sweep: Sweep) -> None:
    """Write sweep.json into the directory `study`, in place of an older one.

    Raises:
        RecordingFailed: it cannot be written.
    """
    _write(study / SWEEP, sweep)


def _read(file: Path, kind: type[Result], version: int, remedy: str) -> Result | None:
    return read_metadata(file, kind, version, remedy) if exists(file) else None


def _write(file: Path, result: Explanation | Rescue | Sweep) -> None:
    try:
        write_whole(file, json_text(result) + "\n")
    except OSError as error:
        raise RecordingFailed(
            f"{file}: cannot be written ({error.strerror}). Free some space on that disk and give the same command "
            "again: it goes on where it was"
        ) from None
