"""Write a capsule with the page that describes it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.capsules.file.archive import Progress
from harness.capsules.file.capsule_file import write_capsule
from harness.capsules.packing.facts import break_at
from harness.capsules.packing.page import index_page
from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording
from harness.recording.run_directory import read_info, write_info
from harness.schemas.capsule import PAGE, Manifest


def finish(directory: Path, manifest: Manifest, out: Path, progress: Progress = lambda done, total: None) -> Manifest:
    """Write the minimal run directory `directory`, to which the page is added, to the capsule `out`.

    Returns:
        The manifest as it was written.

    Raises:
        BadInput, RecordingError, OSError: as `write_capsule`.
    """
    name = "FILE.capsule" if manifest.anonymous else out.name
    (directory / PAGE).write_text(index_page(directory, manifest, name))
    write_info(directory, msgspec.structs.replace(read_info(directory), directory=""))  # whoever opens it sets it
    return write_capsule(directory, manifest, out, progress)


def shrunk_manifest(run: Path, manifest: Manifest, changes: tuple[str, ...]) -> Manifest:
    """Return the manifest of a capsule that was shrunk to the run directory `run`; `manifest` is the old one."""
    info = read_info(run)
    with Recording(run, may_repair=False) as recording:
        broke = break_at(diagnose(recording).onset, recording, info.until)
    return msgspec.structs.replace(
        manifest, first=info.first, until=info.until, broke=broke, shrunk=(*manifest.shrunk, *changes), members=()
    )
