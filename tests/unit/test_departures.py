"""Live alarms, recordings and logs date the same curve alike: the last departure from which it did not return."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.caffe_files.log_header import LogHeader
from harness.diagnosis.live.health import Health
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.onset import find_onset
from harness.reports.text.log_summary.summary import summarise
from harness.schemas.layout import STATS, Head
from tests.helpers.curves import CHANCE, CURVES, Curve, at, healthy, put, swinging
from tests.helpers.made_up_logs import examined, log_text
from tests.helpers.recordings import layout_of

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LIMITS = read_limits()
LAYOUT = replace(layout_of(), heads=(Head("loss1/loss1", 1.0, 280),))


def recorded_onset(curve: Curve, span: int) -> int | None:
    onset = find_onset(curve.start + np.arange(len(curve.loss)), curve.loss, None, None, span)
    return onset.iteration if onset else None


def live_onset(curve: Curve, span: int, size: int) -> int | None:
    """The onset that a run knows at its end, which came in pieces of `size` iterations."""
    health = Health(span, curve.start, LIMITS)
    health.begin(LAYOUT)
    frames = np.zeros(len(curve.loss), LAYOUT.frame_dtype)
    frames["iteration"] = curve.start + np.arange(len(curve.loss))
    frames["loss"] = frames["output"][:, 0] = curve.loss
    frames["stat"] = 1.0
    frames["stat"][:, list(STATS).index("gradient_nonfinite")] = 0
    frames["stat"][:, list(STATS).index("update_l2")] = 0.001
    for start in range(0, len(frames), size):
        health.take(frames[start : start + size], (), np.empty((0, len(LAYOUT.activations), 4)))
    onset = health.onset()
    return onset.iteration if onset else None


def is_right(curve: Curve, onset: int | None) -> bool:
    if curve.onset is None or onset is None:
        return onset == curve.onset
    return curve.onset <= onset <= curve.onset + curve.slack


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_a_curve_has_one_onset_live_recorded_and_logged(curve: Curve) -> None:
    for display, average in ((10, 1), (20, 20), (40, 40)):
        recorded = recorded_onset(curve, display)
        assert is_right(curve, recorded)
        known = LogHeader(display=display, average_loss=average, classes=280) if display < 40 else LogHeader()
        text = log_text(curve.loss, average_loss=average, display=display, first=curve.start)
        logged = examined(text, known).onset
        if curve.onset is None or recorded is None:
            assert logged is None
        else:
            assert logged is not None
            assert logged.low <= recorded <= logged.high
            assert logged.low <= curve.onset + curve.slack
            assert curve.onset <= logged.high
    assert is_right(curve, live_onset(curve, 20, 997))


@pytest.mark.parametrize("size", [1, 70, 6000])
def test_the_onset_does_not_depend_on_how_a_run_is_cut_into_pieces(size: int) -> None:
    """A run that recovers from an alarm, and breaks 282 iterations after it."""
    (curve,) = (curve for curve in CURVES if curve.name == "hot rate: 718, recovers to 1.5 times, breaks at 1000")
    assert live_onset(replace(curve, loss=curve.loss[:1300]), 40, size) == 1000


def noisy(noise: float, count: int = 4000) -> np.ndarray:
    return put(healthy(1.2, noise, count), 3003, at(CHANCE, count))


def test_a_head_that_learned_for_a_few_noisy_displays_did_not_never_learn() -> None:
    """Displays of a net of five classes at a hot rate, with batches of eight: learned at 40 … 120, then lost."""
    single = [1.688, 1.615, 0.692, 1.985, 0.363, 2.778, 1.912, 1.439, 1.627, 1.466, 1.858, 1.623, 1.843, 1.583]
    total = [1.688, 1.559, 0.876, 0.827, 1.053, 0.486, 1.156, 1.822, 1.662, 1.669, 1.669, 1.627, 1.631, 1.612]
    random = np.random.default_rng(0)
    single += list(1.61 + 0.15 * random.normal(size=62))
    total += list(1.625 + 0.015 * random.normal(size=62))
    lines = []
    for number, (one, mean) in enumerate(zip(single, total, strict=True)):
        lines.append(f"I0515 08:44:41.838122  1279 solver.cpp:228] Iteration {20 * number}, loss = {mean:.6g}")
        shown = f"loss = {one:.6g} (* 1 = {one:.6g} loss)"
        lines.append(f"I0515 08:44:41.838122  1279 solver.cpp:244]     Train net output #0: {shown}")
    found = examined("\n".join(lines) + "\n", LogHeader(display=20, average_loss=20, classes=5, max_iter=1500))
    assert (found.verdict, found.why) == ("uniform-softmax", "collapsed")
    assert found.jump is not None
    assert found.jump.iteration in (120, 140)


def climbing() -> np.ndarray:
    """It takes 400 iterations up to chance level."""
    level = np.interp(np.arange(4000), [3003, 3403], [0, 1])
    return healthy(1.2, 0.05, 4000) * (1 - level) + CHANCE * level


SWINGS = put(swinging(1.2, 0.45, 0.99, 4000), 3003, at(CHANCE, 4000))


@pytest.mark.parametrize(
    ("loss", "average", "course"),
    [
        (noisy(0.1), 40, "smooth"),
        (noisy(0.1), 1, "smooth"),
        (SWINGS, 40, "swings"),
        (SWINGS, 1, "swings"),
        (noisy(0.6), 1, "swings"),
        (climbing(), 40, None),
    ],
)
def test_swings_before_a_jump_and_a_smooth_fall_are_told_apart(
    loss: np.ndarray, average: int, course: str | None
) -> None:
    found = examined(log_text(loss, average_loss=average, display=40), LogHeader(average_loss=average))
    assert found.jump is not None
    assert found.jump.approach is not None
    assert found.jump.approach.course == course
    (said,) = [s for s in summarise(found) if " displays before, " in s] if course else [""]
    assert ("Look at the learning rate" in said) == (course == "swings")
    assert ("Look at the data first" in said) == (course == "smooth")


def test_the_range_of_swings_is_named() -> None:
    found = examined(log_text(SWINGS, average_loss=40, display=40), LogHeader(average_loss=40))
    assert found.jump is not None
    assert found.jump.approach is not None
    low, high = found.jump.approach.low, found.jump.approach.high
    shown = SWINGS[:3000].reshape(-1, 40)[-50:].mean(axis=1)
    assert (low, high) == pytest.approx(np.quantile(shown, [0.1, 0.9]), rel=0.05)
    assert any(f"mostly between {low:.3g} and {high:.3g}" in s for s in summarise(found))
