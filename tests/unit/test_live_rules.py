"""The alarm rules on synthetic rows: each fires at the right iteration and subject, and nowhere else."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.diagnosis.live.limits import DEFAULTS, Limits, read_limits
from harness.diagnosis.live.messages import LOOK_AT, sentence
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.rows import Names, Rows
from harness.schemas.layout import Alarm, Head
from tests.helpers.paths import FIXTURES

LIMITS = read_limits()
HEADS = (Head("loss1/loss1", 0.3, 280), Head("loss2/loss1", 0.3, 280), Head("loss3/loss3", 1.0, 280))
NAMES = Names(HEADS, ("conv1/0", "conv1/1", "fc/0"), (True, False, True), ("data", "conv1", "fc"), ("conv1",))
LN = math.log(280)
COUNT = 1000


def healthy(count: int = COUNT, seed: int = 0, first: int = 0) -> Rows:
    """Three heads that learn from ln 280 down, with noise; gradients of constant length with heavy tails."""
    random = np.random.default_rng(seed)
    level = 0.25 + 0.75 * np.exp(-np.arange(count) / 100)
    heads = LN * level[:, None] * np.exp(0.1 * random.normal(size=(count, 3)))
    heads[:1] = LN
    gradient = np.exp(0.4 * random.standard_t(5, size=(count, 3)))
    weight = np.full((count, 3), 10.0)
    return Rows(
        np.arange(first, first + count),
        0.01 * np.sqrt(1 - np.arange(count) / (2 * count)),
        heads @ [0.3, 0.3, 1.0],
        heads,
        weight,
        gradient,
        np.zeros((count, 3)),
        0.001 * gradient,
        np.empty((count, 4, 0)),
    )


def changed(rows: Rows, **fields: np.ndarray) -> Rows:
    return replace(rows, **fields)


def with_heads(rows: Rows, heads: np.ndarray) -> Rows:
    return replace(rows, heads=heads, loss=heads @ [0.3, 0.3, 1.0])


def alarms_of(rows: Rows, names: Names = NAMES, limits: Limits = LIMITS) -> list[Alarm]:
    return Monitor(names, limits).take(rows)


def found(alarms: list[Alarm]) -> list[tuple[int, str, str]]:
    return [(alarm.iteration, alarm.rule, alarm.subject) for alarm in alarms]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), first=st.sampled_from([0, 119_000]), count=st.integers(0, 1500))
def test_healthy_runs_raise_nothing(seed: int, first: int, count: int) -> None:
    assert alarms_of(healthy(count, seed, first)) == []


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, COUNT), max_size=30), at=st.integers(100, COUNT - 50))
def test_alarms_do_not_depend_on_how_the_rows_are_split(seed: int, cuts: list[int], at: int) -> None:
    rows = healthy(seed=seed)
    heads = rows.heads.copy()
    heads[at:] = LN * np.exp(0.01 * np.random.default_rng(seed).normal(size=heads[at:].shape))
    gradient = rows.gradient_l2.copy()
    gradient[at + 5 :, 0] *= 1e7
    gradient[at + 5 :, 2] = 0
    rows = changed(with_heads(rows, heads), gradient_l2=gradient)
    whole = alarms_of(rows)
    monitor = Monitor(NAMES, LIMITS)
    edges = [0, *sorted(cuts), COUNT]
    pieces = [alarm for a, b in itertools.pairwise(edges) for alarm in monitor.take(rows[a:b])]
    assert set(pieces) == set(whole)
    assert {"loss_jump", "vanishing_gradient", "gradient_explosion"} <= {alarm.rule for alarm in whole}


@pytest.mark.parametrize("at", [150, 400, 999 - 30])
def test_a_collapse_is_found_in_three_iterations_and_then_named(at: int) -> None:
    rows = healthy()
    heads = rows.heads.copy()
    heads[at:] = LN * np.exp(0.001 * np.random.default_rng(1).normal(size=heads[at:].shape))
    alarms = alarms_of(with_heads(rows, heads))
    assert found(alarms)[0] == (at + 2, "loss_jump", "loss")
    assert alarms[0].limit == pytest.approx(0.95 * 1.6 * LN, rel=0.2)
    named = [alarm for alarm in alarms if alarm.rule == "uniform_collapse"]
    assert {alarm.subject for alarm in named} == {head.name for head in HEADS}
    assert all(at + 7 <= alarm.iteration <= at + 10 for alarm in named)
    assert "ln 280" in sentence(named[0], NAMES)
    assert "0.3 · ln 280 + 0.3 · ln 280 + 1 · ln 280 = 9.016" in sentence(named[0], NAMES)


def test_a_head_that_collapses_alone_is_named() -> None:
    rows = healthy()
    heads = rows.heads.copy()
    heads[500:, 1] = LN * 1.001
    assert found(alarms_of(with_heads(rows, heads))) == [(507, "uniform_collapse", "loss2/loss1")]


@pytest.mark.parametrize("width", [1, 2])
def test_one_or_two_high_losses_are_a_spike(width: int) -> None:
    rows = healthy()
    heads = rows.heads.copy()
    heads[500 : 500 + width] = 40.0
    alarms = alarms_of(with_heads(rows, heads))
    assert found(alarms) == [(500, "loss_spike", "loss")]
    assert alarms[0].value == pytest.approx(64)


def test_a_slow_recovery_below_the_chance_level_is_no_divergence() -> None:
    """As in the healthy twin of glyphs280: up to 0.87 of it, for more than a hundred iterations."""
    rows = healthy()
    heads = rows.heads.copy()
    heads[500] = 40.0
    heads[501:701] = np.maximum(heads[501:701], LN * np.linspace(0.87, 0.3, 200)[:, None])
    assert found(alarms_of(with_heads(rows, heads))) == [(500, "loss_spike", "loss")]


def test_a_net_that_learns_nothing_is_no_collapse() -> None:
    rows = healthy(1100)
    heads = LN * np.exp(0.002 * np.random.default_rng(1).normal(size=rows.heads.shape))
    assert found(alarms_of(with_heads(rows, heads))) == [(1000, "loss_not_decreasing", "loss")]


def test_a_noisy_collapse_is_found_by_the_median() -> None:
    """A head of few classes in small batches: never three losses in a row above the limit."""
    names = replace(NAMES, heads=(Head("loss", 1.0, 5),))
    rows = healthy()
    loss = np.where(np.arange(COUNT) % 3 == 0, 1.45, 1.68)
    loss[:500] = 0.1 + np.abs(np.random.default_rng(1).normal(0, 0.1, 500))
    rows = changed(rows, heads=loss[:, None], loss=loss)
    alarms = alarms_of(rows, names)
    assert [alarm.rule for alarm in alarms] == ["loss_spike", "loss_jump"]
    assert 512 <= alarms[1].iteration <= 551


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_small_batch_is_no_divergence(seed: int, classes: int, batch: int) -> None:
    """Nine predictions of ten are right; the other losses are far above ln(classes), some three in a row."""
    random = np.random.default_rng(seed)
    names = replace(NAMES, heads=(Head("loss", 1.0, classes),))
    wrong = random.random((20_000, batch)) < 0.1
    each = np.where(
        wrong, random.exponential(2 * math.log(classes), wrong.shape) + 1, random.exponential(0.05, wrong.shape)
    )
    loss = np.maximum(math.log(classes) * np.exp(-np.arange(20_000) / 100), each.mean(axis=1))
    rows = changed(healthy(20_000), heads=loss[:, None], loss=loss)
    assert [alarm.rule for alarm in alarms_of(rows, names) if LIMITS.stops(alarm.rule)] == []


@pytest.mark.parametrize(("before", "after", "classes"), [(0.6, 4.0, 280), (0.01, 0.2, 2)])
def test_damage_below_the_chance_level_is_found_within_a_window(before: float, after: float, classes: int) -> None:
    names = replace(NAMES, heads=(Head("loss", 1.0, classes),))
    level = np.where(np.arange(COUNT) < 500, before, after)
    loss = level * np.exp(0.1 * np.random.default_rng(1).normal(size=COUNT))
    loss[0] = math.log(classes)
    alarms = alarms_of(changed(healthy(), heads=loss[:, None], loss=loss), names)
    assert [alarm.rule for alarm in alarms] == ["loss_jump"]
    assert 600 < alarms[0].iteration <= 700


@pytest.mark.parametrize("healthy_ones", [3, 8, 12])
def test_a_divergence_soon_after_a_resume_is_found(healthy_ones: int) -> None:
    rows = healthy(400, first=119_000)[300:]
    heads = rows.heads.copy()
    heads[healthy_ones:] = LN * np.exp(0.01 * np.random.default_rng(1).normal(size=heads[healthy_ones:].shape))
    alarms = alarms_of(with_heads(rows, heads))
    broken = int(rows.iteration[healthy_ones])
    jump = next(alarm.iteration for alarm in alarms if alarm.rule == "loss_jump")
    assert broken <= jump <= broken + (2 if healthy_ones > 5 else 200)


def test_the_baseline_comes_from_the_parent_run() -> None:
    rows = healthy(seed=3)
    heads = rows.heads.copy()
    heads[502:] = LN * np.exp(0.01 * np.random.default_rng(1).normal(size=heads[502:].shape))
    rows = with_heads(rows, heads)
    monitor = Monitor(NAMES, LIMITS)
    monitor.remember(rows[:501])
    assert found(monitor.take(rows[501:]))[0] == (504, "loss_jump", "loss")
    monitor = Monitor(NAMES, LIMITS)
    monitor.remember(rows[:600])  # diverged already: it is reported at once
    assert found(monitor.take(rows[600:]))[0][:2] == (600, "loss_jump")


def test_the_limit_of_a_loss_without_classes_is_its_initial_level() -> None:
    names = replace(NAMES, heads=(Head("euclidean", 1.0, None),))
    rows = healthy()
    loss = 50 * np.exp(-np.arange(COUNT) / 100) + 1 + 0.1 * np.random.default_rng(1).normal(size=COUNT)
    rows = changed(rows, heads=loss[:, None], loss=loss)
    assert alarms_of(rows, names) == []
    loss = loss.copy()
    loss[600:] = 80 + np.arange(400)
    alarms = alarms_of(changed(rows, heads=loss[:, None], loss=loss), names)
    assert found(alarms) == [(602, "loss_jump", "loss")]
    assert 45 < alarms[0].limit < 60


@pytest.mark.parametrize(("level", "seen"), [(87.3365, True), (87.3365 * 279 / 280, True), (60.0, False)])
def test_a_loss_near_the_largest_possible_one_is_saturated_softmax(level: float, seen: bool) -> None:
    rows = healthy()
    heads = rows.heads.copy()
    heads[500:, 0] = level
    alarms = [alarm for alarm in alarms_of(with_heads(rows, heads)) if alarm.rule == "saturated_softmax"]
    assert found(alarms) == ([(502, "saturated_softmax", "loss1/loss1")] if seen else [])


@pytest.mark.parametrize(
    ("field", "column", "value", "subject"),
    [
        ("weight_l2", 1, np.nan, "weight conv1/1"),
        ("heads", 2, np.inf, "loss loss3/loss3"),
        ("loss", None, np.nan, "loss"),
        ("gradient_nonfinite", 2, 3.0, "gradient fc/0"),
        ("update_l2", 0, np.inf, "update conv1/0"),
    ],
)
def test_only_the_first_non_finite_subject_is_reported(
    field: str, column: int | None, value: float, subject: str
) -> None:
    rows = healthy()
    values = getattr(rows, field).copy()
    values[(700, column) if column is not None else 700] = value
    later = rows.gradient_l2.copy()
    later[701:] = np.nan
    assert found(alarms_of(changed(rows, **{field: values}))) == [(700, "non_finite", subject)]
    spread = alarms_of(changed(rows, **{field: values}, gradient_l2=later))
    assert found(spread) == [(700, "non_finite", subject)]  # its consequences are not reported


def test_a_non_finite_activation_ranks_before_the_loss_and_after_the_weights() -> None:
    rows = healthy(100)
    loss, weight = rows.loss.copy(), rows.weight_l2.copy()
    loss[50:] = np.nan
    looks = np.zeros((1, 3, 4))
    looks[0, 1:, 3] = 7
    taken = np.array([50])
    alarms = Monitor(NAMES, LIMITS).take(changed(rows, loss=loss), taken, looks)
    assert found(alarms) == [(50, "non_finite", "activation conv1")]
    assert alarms[0].value == 7
    weight[50:, 2] = np.nan
    alarms = Monitor(NAMES, LIMITS).take(changed(rows, loss=loss, weight_l2=weight), taken, looks)
    assert found(alarms) == [(50, "non_finite", "weight fc/0")]


def test_gradients_are_compared_with_their_own_history() -> None:
    rows = healthy()
    gradient = rows.gradient_l2.copy()
    gradient[300] *= 1000  # one batch is no explosion
    gradient[600:, 1] = 5000 * np.exp(np.arange(400) / 10)
    gradient[700:, 2] = 1e-7
    assert found(alarms_of(changed(rows, gradient_l2=gradient))) == [
        (602, "gradient_explosion", "conv1/1"),
        (709, "vanishing_gradient", "fc/0"),
    ]


def test_a_frozen_blob_does_not_vanish() -> None:
    rows = healthy()
    gradient, update = rows.gradient_l2.copy(), rows.update_l2.copy()
    gradient[:, 1] = update[:, 1] = 0
    assert alarms_of(changed(rows, gradient_l2=gradient, update_l2=update)) == []


def test_updates_as_large_as_the_weights_raise_weight_update_ratio() -> None:
    rows = healthy()
    weight, update = rows.weight_l2.copy(), rows.update_l2.copy()
    weight[:60, 1] = 0.001  # a bias that started at 0
    update[300:303, 2] = 6.0
    alarms = alarms_of(changed(rows, weight_l2=weight, update_l2=update))
    assert found(alarms) == [(302, "weight_update_ratio", "fc/0")]
    assert (alarms[0].value, alarms[0].limit) == (0.6, 0.5)


def test_a_rising_rate_raises_lr_jump_and_a_falling_one_nothing() -> None:
    rows = healthy()
    rate = np.full(COUNT, 0.01)
    rate[400:] = 0.001
    rate[800:] = 0.01
    alarms = alarms_of(changed(rows, lr=rate))
    assert found(alarms) == [(800, "lr_jump", "lr")]
    assert alarms[0].value == 0.01
    assert alarms[0].limit == pytest.approx(0.0015)


def test_a_dead_relu_is_reported_once() -> None:
    rows = healthy(200)
    taken = np.arange(0, 200, 10)
    looks = np.zeros((20, 3, 4))
    looks[:, :, 2] = 0.5
    looks[5:, 1, 2] = 1.0
    looks[5:, 2, 2] = 1.0  # no ReLU
    alarms = Monitor(NAMES, LIMITS).take(rows, taken, looks)
    assert found(alarms) == [(60, "dead_relu", "conv1")]  # the second look
    looks[:, 1, 2] = 1.0
    assert found(Monitor(NAMES, LIMITS).take(rows, taken, looks)) == [(0, "dead_relu", "conv1")]


def test_a_single_non_finite_activation_is_reported() -> None:
    looks = np.zeros((2, 3, 4))
    looks[1, 2, 3] = 5
    alarms = Monitor(NAMES, LIMITS).take(healthy(100), np.array([40, 60]), looks)
    assert found(alarms) == [(60, "non_finite", "activation fc")]


def test_limits_longer_than_the_window_are_accepted() -> None:
    rows = healthy()
    heads = rows.heads.copy()
    heads[500:] = LN
    jump, collapse = replace(LIMITS.loss_jump, level=400), replace(LIMITS.uniform_collapse, iterations=300)
    limits = replace(LIMITS, loss_jump=jump, uniform_collapse=collapse)
    alarms = alarms_of(with_heads(rows, heads), limits=limits)
    assert {alarm.rule for alarm in alarms} == {"loss_jump", "uniform_collapse"}


def test_a_disabled_rule_raises_nothing() -> None:
    rows = healthy()
    heads = rows.heads.copy()
    heads[500:] = LN
    off = replace(LIMITS, loss_jump=replace(LIMITS.loss_jump, enabled=False))
    assert {alarm.rule for alarm in alarms_of(with_heads(rows, heads), limits=off)} == {"uniform_collapse"}


def test_a_copy_of_the_rules_of_0_1_0_is_accepted() -> None:
    assert read_limits(FIXTURES / "rules-0.1.0.toml") == LIMITS


def test_every_rule_is_documented_and_explained() -> None:
    text = DEFAULTS.read_text()
    for rule in vars(LIMITS):
        assert f"[{rule}]\n#" in text
        assert LOOK_AT[rule].endswith(".")
        said = sentence(Alarm(1, rule, "loss3/loss3", 1.5, 2.5), NAMES)
        assert "loss3/loss3" in said or "1.5" in said
