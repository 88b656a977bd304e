"""Train what a capsule holds, and judge whether it broke as it did when it was recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.capsules.repeating.repeat import WorkerDied, repeat
from harness.capsules.repeating.this_machine import processor
from harness.capsules.repeating.verdict import TOTAL, Course, judge, onset_by_level
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.detect import detect
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.replay import Replay
from harness.schemas.capsule import Manifest
from harness.schemas.listener import RunListener
from harness.schemas.repetition import Verdict
from harness.schemas.run_info import RunInfo, Verification
from harness.supervisor.signals import Interrupts


def run_opened(opened: Path, manifest: Manifest, out: Path, listener: RunListener, interrupts: Interrupts) -> Verdict:
    """Train the iterations of the capsule that was unpacked to `opened`, in the run directory `out`, which is made.

    Raises:
        BadInput: they cannot be trained here.
        RecordingError: its recording cannot be read.
        RecordingFailed: the disk is full.
        WorkerDied: Caffe died before the first iteration.
        KeyboardInterrupt: the user has interrupted it.
    """
    info = read_info(opened)
    request = Replay(opened, info.first, info.until, stop_at_difference=False)
    ended = None
    try:
        verification = repeat(request, out, listener, interrupts).verification
    except WorkerDied as death:
        if not (out / "recording.h5").is_file():
            raise
        ended = str(death)
        verification = read_info(out).verified or Verification()
    with Recording(opened) as then, Recording(out) as now:
        recorded = course_of(then, manifest.broke.onset if manifest.broke is not None else None)
        repeated = course_of(now, None)
        return judge(
            recorded,
            replace(repeated, onset=_repeated_onset(now, then, recorded, repeated, info)),
            verification,
            info.first,
            info.until,
            ended=ended,
            reasons=_reasons(info, manifest, read_info(out)),
        )


def course_of(recording: Recording, onset: int | None) -> Course:
    """Read the course of a recording whose onset is `onset`."""
    losses = {head.name: recording.output(head.name)[:, 0].astype(float) for head in recording.heads}
    return Course(recording.iterations, {TOTAL: recording.series("loss"), **losses}, onset)


def _repeated_onset(now: Recording, then: Recording, recorded: Course, repeated: Course, info: RunInfo) -> int | None:
    """Find the onset of what was repeated.

    It is as far from the onset that the cut recording `then` shows, as from that of the whole run. Where the cut
    recording is too short to show one, the level of the loss tells.
    """
    limits = read_limits()
    known = detect(then, limits=limits).onset
    if known is None and recorded.onset is not None:
        return onset_by_level(recorded, repeated, info.first, info.until)
    found = detect(now, limits=limits).onset
    if found is None or known is None:
        return None if found is None else found.iteration
    if recorded.onset is None:  # what broke before these iterations
        return None
    return found.iteration - known.iteration + recorded.onset


def _reasons(then: RunInfo, manifest: Manifest, now: RunInfo) -> tuple[str, ...]:
    """Say what is known to be other than when the capsule was recorded and can change bits."""
    found = list(now.not_exact)
    if then.blas is not None and now.blas is not None and then.blas.threads != now.blas.threads:
        found.append(f"{now.blas.threads} BLAS threads instead of {then.blas.threads}")
    here = processor()
    if manifest.processor is not None and here is not None and manifest.processor != here:
        found.append(f"processor {here} instead of {manifest.processor}")
    return tuple(dict.fromkeys(found))
