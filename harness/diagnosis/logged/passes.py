"""Judge the heads by test passes, where the losses of the train net are not displayed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.model import LogRun
from harness.diagnosis.conditions import Condition, HeadState, Verdict, chance_loss
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.logged.findings import HeadFinding, Why
from harness.diagnosis.logged.plateaus import EQUAL
from harness.diagnosis.logged.tracks import Track, test_tracks

_GUESSES = 0.1  # relative to 1 / classes, of the accuracy of a net that guesses: a pass has thousands of records


def judge_tests(run: LogRun, header: LogHeader, limits: Limits) -> tuple[HeadFinding, ...]:
    """Return the findings on the losses of the test nets, by their last pass."""
    tracks = test_tracks(run, header)
    accuracies = [
        float(output.series.values[-1])
        for net in run.tests
        for output in net
        if not output.weight and len(output.series.values)
    ]
    return tuple(_finding(track, tracks, accuracies, limits) for track in tracks if len(track.values))


def verdict_of_tests(heads: Sequence[HeadFinding]) -> tuple[Verdict, Why] | None:
    """Return the verdict; None where the passes give none."""
    conditions = {h.condition for h in heads}
    for condition in (Condition.NON_FINITE, Condition.SATURATED):
        if condition in conditions:
            return condition.verdict, "tests"
    uniform = sum(abs(h.weight) for h in heads if h.condition is Condition.UNIFORM)
    return (Condition.UNIFORM.verdict, "tests") if uniform > sum(abs(h.weight) for h in heads) / 2 else None


def _finding(track: Track, tracks: Sequence[Track], accuracies: Sequence[float], limits: Limits) -> HeadFinding:
    last = float(track.values[-1])
    classes, source, approximate = track.classes, track.source, False
    if classes is None:
        classes = _classes(track, tracks, accuracies)
        source = "inferred" if classes else None
        approximate = classes is not None and not _guessed(classes, accuracies)
    state = _state(track, last, classes, limits)
    never = state == Condition.UNIFORM.head_state and not np.any(
        track.finite < limits.uniform_collapse.learned * chance_loss(classes or 1)
    )
    return HeadFinding(
        name=track.name,
        weight=track.weight,
        classes=classes,
        source=source,
        approximate=approximate,
        state=state,
        never_learned=never,
        before=None,
        loss=last if math.isfinite(last) else math.nan,
    )


def _state(track: Track, last: float, classes: int | None, limits: Limits) -> HeadState:
    uniform, saturated = limits.uniform_collapse, limits.saturated_softmax
    if not math.isfinite(last):
        return Condition.NON_FINITE.head_state
    if saturated.enabled and last >= saturated.share * track.saturated * (1 - 1 / classes if classes else 1.1):
        return Condition.SATURATED.head_state
    if not classes:
        return "unknown"
    if uniform.enabled and abs(last / chance_loss(classes) - 1) <= uniform.within:
        return Condition.UNIFORM.head_state
    return "learning" if last < uniform.learned * chance_loss(classes) else "unknown"


def _classes(track: Track, tracks: Sequence[Track], accuracies: Sequence[float]) -> int | None:
    """Infer the number of classes from the last pass.

    Any loss is near the logarithm of some number: it counts only if heads agree, or if an accuracy is that of guessing.
    """
    last = float(track.values[-1])
    if not 0.99 * math.log(2) < last < 0.1 * track.saturated:
        return None
    near = round(math.exp(last))
    by_guesses = [round(1 / a) for a in accuracies if a > 0 and abs(a * near - 1) < _GUESSES]
    if by_guesses:
        return min(by_guesses, key=lambda k: abs(k - near))
    others = [float(t.values[-1]) for t in tracks if t is not track and len(t.values)]
    return near if any(abs(other / last - 1) < EQUAL for other in others) else None


def _guessed(classes: int, accuracies: Sequence[float]) -> bool:
    """Check whether an accuracy is that of guessing among so many classes."""
    return any(a > 0 and round(1 / a) == classes for a in accuracies)
