"""Read rescue.json of a study directory: which breaks a training met, and what was tried to get past them."""

from __future__ import annotations

from pathlib import Path

from harness.caffe_files.paths import exists
from harness.recording.metadata import read_metadata
from harness.recording.run_directory import named_run
from harness.schemas.rescue import RESCUE, RESCUE_VERSION, Rescue

_REMEDY = "Remove it, and rescue the run again"


def read_rescue(study: Path) -> Rescue | None:
    """Read rescue.json of the directory `study`; None if there is none.

    Raises:
        BadInput: it is damaged, or was written by a newer harness.
    """
    file = study / RESCUE
    return read_metadata(file, Rescue, RESCUE_VERSION, _REMEDY) if exists(file) else None


def rescue_of(run: Path) -> Rescue | None:
    """Read the rescue that ended with the run directory `run`; None if there is none.

    rescue.json is in the same directory, or where nothing helped, in RUN-rescue beside it.

    Raises:
        BadInput: it is damaged, or was written by a newer harness.
    """
    whole = run.resolve()
    for study in (whole.parent, whole.with_name(f"{whole.name}-rescue")):
        found = read_rescue(study)
        if found is not None and _names(found, study, whole):
            return found
    return None


def _names(found: Rescue, study: Path, run: Path) -> bool:
    last = named_run(found.run, study / RESCUE)
    return last is not None and last.resolve() == run
