"""The choice among candidates that were restarted: the smallest change that is as good as any."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from harness.diagnosis.rescue.choosing import Choice, Finalist, choose, goes_on_as_healthy
from harness.diagnosis.rescue.trend import Healthy, Trend, healthiest, level_of, noise_of, trend_of
from harness.schemas.explanation import Levels
from harness.schemas.rescue import Candidate, CandidateKind, Step

LEVELS = Levels(1.0, 5.0, 3.0, 5.0)
DISPLAY = 20
TREND = Trend(100, 1.0, 0.0, 0.2, 100)
HEALTHY = Healthy(TREND, {"accuracy": 0.8})


def finalist(
    kind: CandidateKind, level: float, seed: int = 0, words: tuple[str, ...] = (), test: float | None = None
) -> Finalist:
    """Return a restart of 60 iterations whose losses lie around `level`; those of one `seed` read the same batches."""
    noise = 0.3 * np.random.default_rng(seed).standard_normal(60)
    losses = tuple((level + noise).tolist())
    return Finalist(Candidate(kind, kind, (Step(words),)), 110, losses, {} if test is None else {"accuracy": test})


def chosen(*finalists: Finalist, trend: Trend | None = None) -> tuple[str | None, dict[str, str]]:
    healthy = None if trend is None else Healthy(trend)
    found: Choice = choose(finalists, LEVELS, healthy, DISPLAY, ["accuracy"])
    return None if found.chosen is None else found.chosen.name, {one.candidate.name: one.why for one in found.judged}


def test_the_smallest_change_within_noise_of_the_best_is_chosen() -> None:
    name, why = chosen(finalist("clip", 1.05), finalist("rate", 1.0))

    assert name == "clip"
    assert why["clip"].endswith("; changes less")
    assert "within 0.1 (noise) of the best" in why["clip"]
    assert why["rate"].endswith("the best; changes more than clip")


def test_a_larger_change_is_chosen_where_it_is_clearly_better() -> None:
    name, why = chosen(finalist("clip", 1.5), finalist("history", 1.02), finalist("rate", 1.0))

    assert name == "history"
    assert "higher than the best" in why["clip"]
    assert "by more than noise" in why["clip"]


def test_other_batches_are_noisier() -> None:
    skips = ("--skip", "100:101")

    assert chosen(finalist("clip", 1.15), finalist("rate", 1.0))[0] == "rate"
    assert chosen(finalist("batches", 1.15, 1, skips), finalist("rate", 1.0))[0] == "batches"


def test_a_loss_that_is_noisier_than_the_best_is_not_as_good_for_that() -> None:
    wild = finalist("clip", 1.0)
    losses = tuple(1.5 + 5 * (loss - 1.0) for loss in wild.loss)

    assert chosen(replace(wild, loss=losses), finalist("rate", 1.0))[0] == "rate"


def test_a_loss_on_its_trend_is_good_enough() -> None:
    name, why = chosen(finalist("clip", 1.0), finalist("rate", 0.5), trend=TREND)

    assert name == "clip"
    assert "as low as while training was healthy (1)" in why["clip"]
    assert "as low as while training was healthy (1)" in chosen(finalist("clip", 1.0), trend=TREND)[1]["clip"]
    assert chosen(finalist("clip", 1.0), finalist("rate", 0.5))[0] == "rate"


def test_a_loss_that_is_noisier_than_its_trend_is_not_on_it_for_that() -> None:
    wild = finalist("clip", 1.0)
    losses = tuple(1.5 + 3 * (loss - 1.0) for loss in wild.loss)
    name, why = chosen(replace(wild, loss=losses), finalist("rate", 0.3), trend=TREND)

    assert name == "rate"
    assert "by more than noise" in why["clip"]


@pytest.mark.parametrize(
    ("level", "test", "goes_on"),
    [
        (1.0, 0.8, True),
        (1.0, 0.79, True),
        (1.0, 0.7, False),
        (1.0, None, True),
        (1.0, math.nan, False),
        (1.3, 0.8, False),
        (math.nan, 0.8, False),
    ],
)
def test_a_training_goes_on_as_while_it_was_healthy(level: float, test: float | None, goes_on: bool) -> None:
    one = finalist("clip", level, test=test)

    assert goes_on_as_healthy(one, LEVELS, HEALTHY, DISPLAY, ["accuracy"]) is goes_on
    assert not goes_on_as_healthy(one, LEVELS, None, DISPLAY, ["accuracy"])


def test_without_a_test_before_only_others_tell_whether_one_is_good() -> None:
    one = finalist("clip", 1.0, test=0.8)

    assert not goes_on_as_healthy(one, LEVELS, Healthy(TREND), DISPLAY, ["accuracy"])
    assert goes_on_as_healthy(replace(one, test={}), LEVELS, HEALTHY, DISPLAY, ["accuracy"])


def test_a_loss_that_was_high_before_a_later_break_is_no_measure() -> None:
    """Before the first break the loss was 1; the first change left it at 2, where it swings, until it broke again."""
    later = Healthy(Trend(300, 2.0, 0.0, 1.5, 100))
    measure = healthiest([HEALTHY, later, None], 400)

    assert measure == HEALTHY
    assert choose([finalist("clip", 1.9), finalist("rate", 1.0)], LEVELS, later, DISPLAY).chosen.kind == "clip"  # type: ignore[union-attr]
    assert choose([finalist("clip", 1.9), finalist("rate", 1.0)], LEVELS, measure, DISPLAY).chosen.kind == "rate"  # type: ignore[union-attr]
    assert healthiest([None], 400) is None


def test_a_loss_of_before_training_had_learned_is_no_measure() -> None:
    early = Healthy(Trend(20, 3.0, -0.01, 0.1, 20))

    assert healthiest([early, HEALTHY], 130) == HEALTHY


def test_a_clearly_worse_test_excludes() -> None:
    name, why = chosen(finalist("clip", 1.0, test=0.5), finalist("rate", 1.0, test=0.8))

    assert name == "rate"
    assert "accuracy = 0.5, and 0.8 with another candidate" in why["clip"]
    assert chosen(finalist("clip", 1.0, test=0.79), finalist("rate", 1.0, test=0.8))[0] == "clip"


@pytest.mark.parametrize("level", [4.9, math.nan, math.inf])
def test_nothing_that_breaks_is_chosen(level: float) -> None:
    name, why = chosen(finalist("clip", level), finalist("rate", 4.9))

    assert name is None
    assert all(text.startswith("it breaks") for text in why.values())
    assert chosen(finalist("clip", level), finalist("rate", 2.0))[0] == "rate"
    assert chosen() == (None, {})


def test_the_trend_is_that_of_a_healthy_loss() -> None:
    iterations = np.arange(200)
    noise = np.random.default_rng(0).standard_normal(200)
    falling = 2 * np.exp(-iterations / 100) * (1 + 0.05 * noise)
    found = trend_of(iterations, np.where(iterations < 150, falling, 9.0), 150, DISPLAY)

    assert found is not None
    assert found.slope == pytest.approx(-0.01, rel=0.1)
    assert found.level == pytest.approx(2 * math.exp(-1.5), rel=0.05)
    assert found.noise == pytest.approx(0.05 * found.level, rel=0.2)  # at the end, where it is least
    assert found.level * math.exp(-0.2) < found.expected(170) < found.level
    assert found.expected(10_000) == found.expected(150 + found.span)  # not far beyond what was seen


def test_no_trend_is_read_into_noise_or_a_rise() -> None:
    iterations = np.arange(100)
    noise = 0.2 * np.random.default_rng(1).standard_normal(100)
    flat, rising = (trend_of(iterations, 1 + slope * iterations + noise, 100, 0) for slope in (0.0, 0.01))

    assert flat is not None
    assert rising is not None
    assert flat.slope == rising.slope == 0
    assert flat.level == pytest.approx(1, abs=0.05)
    assert trend_of(iterations, np.full(100, math.nan), 100, 0) is None
    assert trend_of(iterations, noise - 1, 100, 0) is not None  # losses may be negative


def test_a_level_is_that_of_the_end() -> None:
    falling = [*[3.0] * 40, *[1.0] * 20]

    assert level_of(falling, DISPLAY) == 1.0
    assert noise_of(falling, DISPLAY) == (0.0, 0.0)
    assert level_of([], DISPLAY) == level_of([1.0, math.nan], 0) == math.inf
