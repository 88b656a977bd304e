"""What test passes say of the heads, where the train net's losses are not displayed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.caffe_log.model import LogRun
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.log_facts import Facts
from harness.diagnosis.logged.findings import HeadFinding, State, Verdict, Why
from harness.diagnosis.logged.plateaus import EQUAL
from harness.diagnosis.logged.tracks import Track, test_tracks

_GUESSES = 0.1  # off 1 / classes, of the accuracy of a net that guesses: a pass has thousands of records


def judge_tests(run: LogRun, facts: Facts, limits: Limits) -> tuple[HeadFinding, ...]:
    """The findings on the losses of the test nets, by their last pass."""
    tracks = test_tracks(run, facts)
    accuracies = [
        float(output.series.values[-1])
        for net in run.tests
        for output in net
        if not output.weight and len(output.series.values)
    ]
    return tuple(_finding(track, tracks, accuracies, limits) for track in tracks if len(track.values))


def verdict_of_tests(heads: Sequence[HeadFinding]) -> tuple[Verdict, Why] | None:
    """The verdict, where the passes give one."""
    states = {h.state for h in heads}
    if "nan" in states:
        return "nan", "tests"
    if "saturated" in states:
        return "saturated-softmax", "tests"
    uniform = sum(abs(h.weight) for h in heads if h.state == "uniform")
    return ("uniform-softmax", "tests") if uniform > sum(abs(h.weight) for h in heads) / 2 else None


def _finding(track: Track, tracks: Sequence[Track], accuracies: Sequence[float], limits: Limits) -> HeadFinding:
    last = float(track.values[-1])
    classes, source, about = track.classes, track.source, False
    if classes is None:
        classes = _classes(track, tracks, accuracies)
        source, about = ("inferred" if classes else None), classes is not None and not _guessed(classes, accuracies)
    state: State = "unknown"
    least = math.log(classes) if classes else math.nan
    if not math.isfinite(last):
        state = "nan"
    elif limits.saturated_softmax.enabled and last >= limits.saturated_softmax.share * track.saturated * (
        1 - 1 / classes if classes else 1.1
    ):
        state = "saturated"
    elif classes and limits.uniform_collapse.enabled and abs(last / least - 1) <= limits.uniform_collapse.within:
        state = "uniform"
    elif classes and last < limits.uniform_collapse.learned * least:
        state = "learning"
    never = state == "uniform" and not np.any(track.finite < limits.uniform_collapse.learned * least)
    loss = last if math.isfinite(last) else math.nan
    return HeadFinding(track.name, track.weight, classes, source, about, state, never, None, loss)


def _classes(track: Track, tracks: Sequence[Track], accuracies: Sequence[float]) -> int | None:
    """Every loss is near the logarithm of some number: what tells is that heads agree, or that the net guesses."""
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
    return any(a > 0 and round(1 / a) == classes for a in accuracies)
