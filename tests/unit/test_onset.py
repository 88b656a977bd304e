"""Onsets of synthetic runs with planted faults, and of healthy runs that look bad for a while.

The onset of a real run is in integration/test_demo.py.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.diagnosis.last_good import last_good
from harness.diagnosis.recorded.onset import find_onset
from harness.schemas.layout import Alarm
from harness.schemas.onset import Onset

SPAN = 40
MAD = 0.6745  # of standard normal noise


def decay(count: int, low: float = 1.0, high: float = 9.0, tau: float = 200.0) -> np.ndarray:
    return low + (high - low) * np.exp(-np.arange(count) / tau)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


def onset_of(loss: np.ndarray, gradient: np.ndarray | None = None, span: int = SPAN) -> Onset | None:
    return find_onset(np.arange(len(loss)), loss, gradient, None, span)


# -- healthy runs -----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(0, 2500),
    seed=st.integers(0, 10**6),
    low=st.floats(0.02, 4),
    fall=st.floats(0, 10),
    tau=st.floats(0.05, 2),
    spread=st.floats(0, 0.4),
    proportional=st.booleans(),
    span=st.sampled_from([0, 1, 7, 20, 40, 100, 1000]),
    spikes=st.lists(st.tuples(st.floats(0, 1), st.floats(2, 100)), max_size=5),
)
def test_noisy_decays_with_spikes_have_no_onset(
    count: int,
    seed: int,
    low: float,
    fall: float,
    tau: float,
    spread: float,
    proportional: bool,
    span: int,
    spikes: list[tuple[float, float]],
) -> None:
    level = decay(count, low, low + fall, max(1.0, tau * count))
    loss = level * np.exp(spread * noise(count, seed)) if proportional else level + spread * low * noise(count, seed)
    for place, times in spikes:
        loss[int(place * count) : int(place * count) + 1] *= times
    assert onset_of(loss, span=span) is None


def test_a_step_of_the_learning_rate_is_no_onset() -> None:
    loss = np.where(np.arange(1200) < 600, 2.0, 1.2) + 0.2 * noise(1200)
    assert onset_of(loss) is None


@pytest.mark.parametrize("long", [1, 10, 150])
def test_a_recovered_shock_is_no_onset(long: int) -> None:
    loss = decay(1600) + 0.1 * noise(1600)
    loss[840:] += 10 * np.exp(-np.arange(760) / (long / 3))
    assert onset_of(loss) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_level_that_always_fluctuated_is_no_onset(seed: int) -> None:
    """By 20 % within some 20 iterations, as where neighbouring batches are alike."""
    wandering = np.zeros(3000)
    for t, step in enumerate(0.2 * np.sqrt(1 - 0.95**2) * noise(3000, seed)):
        wandering[t] = 0.95 * wandering[t - 1] + step
    assert onset_of(decay(3000) * np.exp(wandering)) is None


def test_one_nan_in_the_loss_is_no_onset() -> None:
    loss = decay(600) + 0.1 * noise(600)
    loss[300] = np.nan
    assert onset_of(loss) is None


def test_too_few_iterations_have_no_onset() -> None:
    for count in range(20):
        assert onset_of(np.full(count, 2.0)) is None


# -- planted faults ---------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    before=st.integers(100, 1500),
    after=st.integers(SPAN + 1, 800),
    level=st.floats(0.05, 5),
    spread=st.floats(0.001, 0.2),
    times=st.floats(1, 10),
)
@example(seed=0, before=100, after=41, level=1, spread=0.2, times=1)
def test_a_sustained_jump_is_found_to_within_a_span(
    seed: int, before: int, after: int, level: float, spread: float, times: float
) -> None:
    """By at least 50 %, which is at least 3 MADs."""
    spread *= level
    jump = times * 0.5 * level
    assert jump > 3 * MAD * spread
    loss = level + spread * noise(before + after, seed)
    loss[before:] += jump
    onset = onset_of(loss)
    assert onset is not None
    assert abs(onset.iteration - before) <= SPAN


@pytest.mark.parametrize("span", [0, 1, 40, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_a_collapse_is_found_to_the_iteration(span: int, seed: int) -> None:
    loss = decay(1600, 1.4) + 0.2 * noise(1600, seed)
    loss[841:] = 9.02 + 0.03 * noise(759, seed + 1)
    onset = onset_of(loss, span=span)
    assert onset is not None
    assert onset.iteration == 841
    assert "→ 9.0" in onset.reason


def test_the_gradient_dates_the_onset_earlier_than_the_loss() -> None:
    """One update does it, the loss follows within ten iterations; a harmless spike long before stays out of it."""
    random = np.random.default_rng(0)
    loss = decay(1600, 1.4) + 0.2 * noise(1600)
    loss[841:] += 7 * (1 - np.exp(-np.arange(759) / 5))
    gradient = random.lognormal(0, 0.3, (1600, 4))
    gradient[700] *= 40
    gradient[841, 2] *= 500
    onset = find_onset(np.arange(1600), loss, gradient, None, SPAN, ("a/0", "a/1", "b/0", "b/1"))
    assert onset is not None
    assert onset.iteration == 841
    assert "most in b/0" in onset.reason


def test_iterations_count_from_the_start_of_the_run() -> None:
    loss = np.append(np.full(300, 2.0) + 0.1 * noise(300), np.full(100, 9.0))
    onset = find_onset(np.arange(118_700, 119_100), loss, None, None, SPAN)
    assert onset is not None
    assert onset.iteration == 119_000


@pytest.mark.parametrize("seed", range(5))
def test_a_drift_is_found_where_it_left_the_baseline(seed: int) -> None:
    """From 1 at 1000 in 600 iterations up to 4: half as much again at 1100."""
    loss = 1 + 0.1 * noise(2500, seed) + np.interp(np.arange(2500), [1000, 1600], [0, 3])
    onset = onset_of(loss)
    assert onset is not None
    assert 1000 <= onset.iteration <= 1120


def test_of_two_faults_the_one_without_recovery_is_the_onset() -> None:
    """The first time it recovers."""
    loss = np.full(1600, 1.0) + 0.1 * noise(1600)
    loss[400:600] += 5
    loss[1200:] += 6
    onset = onset_of(loss)
    assert onset is not None
    assert onset.iteration == 1200


def test_a_divergence_in_the_first_iterations_of_a_restart_is_found() -> None:
    loss = np.append(1.4 + 0.2 * noise(12), 9 + 0.1 * noise(200))
    onset = onset_of(loss)
    assert onset is not None
    assert abs(onset.iteration - 12) <= 1


@pytest.mark.parametrize("at", [0, 3, 500, 999])
def test_a_non_finite_gradient_is_an_onset(at: int) -> None:
    loss = decay(1000) + 0.1 * noise(1000)
    nonfinite = np.zeros((1000, 3))
    nonfinite[at, 1] = 7
    for gradient, counts in ((None, nonfinite), (np.where(nonfinite > 0, np.nan, 1.0), None)):
        onset = find_onset(np.arange(1000), loss, gradient, counts, SPAN, ("conv1/0", "conv1/1", "ip/0"))
        assert onset == Onset(at, f"gradient of conv1/1 not finite at iteration {at}")


@pytest.mark.parametrize("at", [1, 20, 500, 999])
def test_a_loss_that_stays_nan_is_an_onset(at: int) -> None:
    loss = np.full(1000, 2.0)
    loss[at:] = np.nan
    onset = onset_of(loss)
    assert onset is not None
    assert onset.iteration == at
    assert "not finite from there on" in onset.reason


def test_growth_before_nan_is_the_onset() -> None:
    """It goes to NaN in 16 iterations: the first of them did the damage, not the last."""
    loss = 1.0 + 0.1 * noise(520)
    loss[500:516] = 1.5 * 2.0 ** np.arange(16)
    loss[516:] = np.nan
    onset = onset_of(loss)
    assert onset is not None
    assert onset.iteration in (500, 501)
    assert "not finite from there on" in onset.reason


def test_a_long_run_takes_less_than_50_ms() -> None:
    count, blobs = 120_000, 128
    random = np.random.default_rng(0)
    loss = decay(count, 1.0, 9.0, 30_000) + 0.3 * noise(count)
    gradient, nonfinite = random.uniform(1, 2, (count, blobs)), np.zeros((count, blobs))
    for broken in (False, True):
        if broken:
            loss[119_010:] = 9 + 0.05 * noise(990)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            onset = find_onset(np.arange(count), loss, gradient, nonfinite, SPAN)
            took.append(time.perf_counter() - began)
        assert min(took) < 0.05
        assert (onset and onset.iteration) == (119_010 if broken else None)


# -- the last good snapshot -------------------------------------------------------------------------------------------

EVERY_200 = range(200, 1601, 200)


def test_the_last_good_snapshot_is_a_display_interval_before_the_onset() -> None:
    def chosen(iteration: int) -> int | None:
        choice = last_good(EVERY_200, Onset(iteration, "loss 1 → 9"), SPAN, 0, 1599)
        return choice.iteration if choice else None

    assert chosen(841) == chosen(840) == 800
    assert chosen(839) == 600
    assert chosen(240) == 200
    assert chosen(239) is None


def test_the_reason_of_the_choice_is_given() -> None:
    choice = last_good([600, 800, 1000], Onset(839, "loss 1 → 9"), SPAN, 0, 1599)
    assert choice is not None
    assert choice.reason == (
        "the newest snapshot followed by at least 40 healthy iterations: 239 until the onset at 839 "
        "(loss 1 → 9); the next one, 800, is too late"
    )


def test_without_an_onset_the_newest_snapshot_is_the_last_good() -> None:
    choice = last_good([600, 200, 400], None, SPAN, 0, 700)
    assert choice is not None
    assert choice.iteration == 600
    assert "no divergence was found in the iterations 0…700" in choice.reason
    assert last_good([], None, SPAN, 0, 700) is None
    later = last_good([600, 800], None, SPAN, 0, 700)  # 800 is of another run
    assert later is not None
    assert later.iteration == 600


@given(st.lists(st.integers(0, 2000)), st.integers(0, 2000), st.integers(1, 100))
def test_the_last_good_snapshot_is_the_newest_that_qualifies(snapshots: list[int], at: int, span: int) -> None:
    choice = last_good(snapshots, Onset(at, ""), span, 0, 2000)
    assert (choice.iteration if choice else None) == max((t for t in snapshots if t + span <= at), default=None)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [0, 1, 50])
def test_an_alarm_after_the_last_row_of_a_damaged_recording(count: int) -> None:
    loss = np.ones(count)
    alarm = Alarm(60, "loss_jump", "loss", 9.0, 2.0)
    onset = find_onset(np.arange(count), loss, None, None, SPAN, active=[alarm])
    assert onset is None or onset.iteration < count
