"""Rules and evidence on what data layers fill: a bad batch is named, and inputs that vary by nature are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.live.messages import sentence
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.rows import Rows
from harness.diagnosis.recorded.input_evidence import unusual_input, with_evidence
from harness.schemas.layout import ACTIVATION_STATS, INPUT_STATS, Alarm
from harness.schemas.onset import Onset
from tests.unit.test_live_rules import COUNT, NAMES, healthy

LIMITS = read_limits()
WITH_INPUTS = replace(NAMES, inputs=("data", "label"), labels=("label",))
MINIMUM, MAXIMUM, MEAN_ABS, NONFINITE = range(len(INPUT_STATS))
DATA, LABEL = range(2)
AT = 500


def run(count: int = COUNT, seed: int = 0) -> Rows:
    """A healthy run: images between about -1 and 1.5, and labels."""
    random = np.random.default_rng(seed)
    inputs = np.zeros((count, 4, 2))
    inputs[:, MINIMUM, DATA] = -1 - 0.02 * random.random(count)
    inputs[:, MAXIMUM, DATA] = 1.5 + 0.05 * random.random(count)
    inputs[:, MEAN_ABS, DATA] = 0.4 + 0.01 * random.random(count)
    inputs[:, MAXIMUM, LABEL] = random.integers(200, 280, count)
    inputs[:, MEAN_ABS, LABEL] = 140
    return replace(healthy(count, seed), inputs=inputs)


def with_input(rows: Rows, at: int | slice, column: int, **stats: float) -> Rows:
    inputs = rows.inputs.copy()
    for name, value in stats.items():
        inputs[at, list(INPUT_STATS).index(name), column] = value
    return replace(rows, inputs=inputs)


def alarms_of(rows: Rows) -> list[tuple[int, str, str]]:
    return [(alarm.iteration, alarm.rule, alarm.subject) for alarm in Monitor(WITH_INPUTS, LIMITS).take(rows)]


# -- input_range ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stats", [{"maximum": 40.0}, {"minimum": -40.0}, {"maximum": 1e30}])
def test_a_value_far_beyond_all_before_is_reported_once(stats: dict[str, float]) -> None:
    rows = with_input(run(), AT, DATA, **stats)
    (alarm,) = Monitor(WITH_INPUTS, LIMITS).take(rows)
    assert (alarm.iteration, alarm.rule, alarm.subject) == (AT, "input_range", "data")
    assert alarm.value == abs(next(iter(stats.values())))
    assert alarm.limit == pytest.approx(5 * 1.55, rel=0.05)
    assert sentence(alarm, WITH_INPUTS).startswith(
        f"the largest magnitude in input data is {alarm.value:.4g}; the limit"
    )
    again = with_input(rows, AT + 250, DATA, **stats)  # in the next epoch it is nothing new
    assert alarms_of(again) == [(AT, "input_range", "data")]


def test_a_value_in_the_first_iterations_is_not_judged() -> None:
    assert alarms_of(with_input(run(), 30, DATA, maximum=40.0)) == []


@pytest.mark.parametrize(
    "kind", ["labels", "twice", "scaled", "lognormal", "cauchy", "zeros at first", "grows", "ones"]
)
@pytest.mark.parametrize("seed", range(2))
def test_inputs_that_vary_by_nature_raise_nothing(kind: str, seed: int) -> None:
    random, rows = np.random.default_rng(100 + seed), run(5 * COUNT, seed)
    count = len(rows)
    values = {
        "labels": np.full(count, 1.5),
        "twice": np.where(random.random(count) < 0.01, 3.0, 1.5),
        "scaled": 10 ** random.uniform(-1, 1, count),  # every batch has its own brightness
        "lognormal": np.exp(2 * random.normal(size=count)),
        "cauchy": np.abs(random.standard_cauchy((count, 50))).max(axis=1),
        "zeros at first": np.where(np.arange(count) < 300, 0.0, 1.5),
        "grows": np.exp(np.arange(count) / 1000),
        "ones": np.ones(count),
    }[kind]
    inputs = rows.inputs.copy()
    inputs[:, MAXIMUM, DATA] = values
    if kind == "labels":  # labels of classes: the first of a large class number
        inputs[:, MAXIMUM, LABEL] = np.where(np.arange(count) < AT, 2, 999)
    assert [alarm for alarm in alarms_of(replace(rows, inputs=inputs)) if alarm[1] != "label_trend"] == []


def test_runs_without_statistics_of_inputs_raise_nothing() -> None:
    rows = replace(run(), inputs=np.full((COUNT, 4, 2), np.nan))
    assert alarms_of(rows) == []


# -- non_finite -------------------------------------------------------------------------------------------------------


def broken_from(rows: Rows, at: int) -> Rows:
    gradient, bad = rows.gradient_l2.copy(), rows.gradient_nonfinite.copy()
    gradient[at:], bad[at:] = np.nan, 7
    return replace(rows, gradient_l2=gradient, gradient_nonfinite=bad)


def test_an_input_that_is_not_finite_is_named_first() -> None:
    rows = with_input(broken_from(run(), AT), AT, DATA, nonfinite=3, minimum=np.nan, maximum=np.nan)
    (alarm,) = [a for a in Monitor(WITH_INPUTS, LIMITS).take(rows) if a.rule == "non_finite"]
    assert alarm == Alarm(AT, "non_finite", "input data", 3, np.inf)
    assert sentence(alarm, WITH_INPUTS) == "input data is not finite (3 elements)"
    assert sentence(replace(alarm, value=1), WITH_INPUTS) == "input data is not finite (1 element)"


@pytest.mark.parametrize("of", ["an iteration", "all iterations"])
def test_an_input_that_the_net_ignores_stops_nothing(of: str) -> None:
    rows = with_input(run(), AT if of == "an iteration" else slice(None), DATA, nonfinite=3, maximum=np.nan)
    values = np.zeros((1, 3, len(ACTIVATION_STATS)))
    values[0, 0, list(ACTIVATION_STATS).index("nonfinite")] = 3  # of the blob data itself
    assert Monitor(WITH_INPUTS, LIMITS).take(rows, np.array([AT]), values) == []
    broken = broken_from(rows, AT + 200)  # by something else
    (alarm,) = [a for a in Monitor(WITH_INPUTS, LIMITS).take(broken) if a.rule == "non_finite"]
    assert (alarm.iteration, alarm.subject) == (AT + 200, "gradient conv1/0")


def test_an_activation_after_a_bad_input_names_the_input() -> None:
    rows = with_input(run(), AT, DATA, nonfinite=3, maximum=np.nan)
    values = np.zeros((1, 3, len(ACTIVATION_STATS)))
    values[0, :2, list(ACTIVATION_STATS).index("nonfinite")] = 3, 9  # data, conv1
    (alarm,) = Monitor(WITH_INPUTS, LIMITS).take(rows, np.array([AT]), values)
    assert (alarm.iteration, alarm.subject, alarm.value) == (AT, "input data", 3)
    (alarm,) = Monitor(WITH_INPUTS, LIMITS).take(run(), np.array([AT]), values)  # changed in place: the input was fine
    assert (alarm.iteration, alarm.subject, alarm.value) == (AT, "activation data", 3)


# -- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ({"maximum": 31.0}, "the largest value in input data at iteration 500, 31, is 20 times the largest of the 200"),
        ({"minimum": -3.7}, "the largest value in input data at iteration 500, 3.7, is 2.4 times the largest of"),
        ({"nonfinite": 1, "maximum": np.nan}, "an element of input data is not finite at iteration 500"),
        ({"nonfinite": 1200, "maximum": np.nan}, "1,200 elements of input data are not finite at iteration 500"),
        ({"minimum": 0, "maximum": 0, "mean_abs": 0}, "all values in input data at iteration 500 are 0"),
        ({"mean_abs": 1.2}, "the mean magnitude of input data at iteration 500, 1.2, is 2.9 times the largest of"),
        ({"mean_abs": 0.02}, "the mean magnitude of input data at iteration 500, 0.02, is 20 times smaller than the"),
    ],
    ids=["large", "negative", "a NaN", "NaNs", "black", "bright", "dark"],
)  # fmt: skip
@pytest.mark.parametrize("early", [0, 2])
def test_what_was_unusual_about_the_inputs_is_described(stats: dict[str, float], said: str, early: int) -> None:
    found = unusual_input(AT - early, with_input(run(), AT, DATA, **stats), WITH_INPUTS)
    assert found is not None
    assert found.name == "data"
    assert found.sentence.startswith(said)


def test_a_batch_with_nan_is_the_onset_not_the_noise_before_it() -> None:
    rows = with_input(run(), AT, DATA, nonfinite=1, maximum=np.nan)
    onset = Onset(AT - 1, "loss 0.1 → 0.4 within 2 iterations; gradient norm 3 at iteration 499; gradient not finite")
    said = "gradient not finite; an element of input data is not finite at iteration 500"
    assert with_evidence(onset, unusual_input(AT - 1, rows, WITH_INPUTS)) == Onset(AT, said, blob="data")
    large = with_evidence(onset, unusual_input(AT - 1, with_input(run(), AT, DATA, maximum=31.0), WITH_INPUTS))
    assert large.iteration == AT - 1  # a value may leave its range by chance


def test_usual_inputs_are_no_evidence() -> None:
    rows = with_input(run(), slice(AT, None), LABEL, minimum=900, maximum=999)
    assert all(unusual_input(at, rows, WITH_INPUTS) is None for at in (0, 10, AT, COUNT - 1, COUNT, 5 * COUNT))
    assert unusual_input(AT, with_input(run(), 8, DATA, maximum=40.0), WITH_INPUTS) is None
    assert unusual_input(8, with_input(run(), 8, DATA, maximum=40.0), WITH_INPUTS) is None  # too few before it
