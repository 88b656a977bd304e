"""Records sorted by class are recognised by the labels of their batches, and records in random order are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.diagnosis.label_order import long_runs, period_of, repeats_after, trends
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.live.messages import sentence
from harness.diagnosis.live.monitor import Monitor
from harness.diagnosis.live.rows import Rows
from harness.schemas.layout import Alarm
from tests.unit.test_live_rules import NAMES, healthy

LIMITS = read_limits()
LABELLED = replace(NAMES, inputs=("label",), labels=("label",))
RANDOM = np.random.default_rng(0)


def run(labels: np.ndarray, batch: int, count: int) -> Rows:
    """A run of `count` iterations that reads records with these labels again and again."""
    read = labels[np.arange(count * batch) % len(labels)].reshape(count, batch)
    inputs = np.zeros((count, 4, 1))
    inputs[:, 0, 0], inputs[:, 1, 0] = read.min(axis=1), read.max(axis=1)
    return replace(healthy(count), inputs=inputs)


def alarms_of(rows: Rows) -> list[Alarm]:
    return [alarm for alarm in Monitor(LABELLED, LIMITS).take(rows) if alarm.rule.startswith("label_")]


def half_sorted() -> np.ndarray:
    labels = np.sort(RANDOM.integers(10, size=5000))
    labels[2500:] = RANDOM.permutation(labels[2500:])
    return labels


SORTED = {
    "four classes": (np.sort(RANDOM.integers(4, size=1600)), 16, "label_runs", 100),
    "classes in any order": (np.repeat(RANDOM.permutation(10), 500), 32, "label_runs", 156),
    "two long halves": (np.repeat([0, 1], 16_000), 32, "label_runs", None),
    "one record at a time": (np.repeat(np.arange(280), 15), 1, "label_runs", None),
    "backwards": (np.sort(RANDOM.integers(10, size=3200))[::-1], 32, None, 100),
    "half of them": (half_sorted(), 10, "label_runs", 500),
    "shuffled nearby": (np.sort(RANDOM.integers(99, size=20_000) + RANDOM.normal(0, 5, 20_000)).round(), 32, None, 625),
    "many classes in a batch": (np.repeat(np.arange(280), 5), 32, "label_trend", 44),
}  # fmt: skip


@pytest.mark.parametrize("kind", SORTED)
def test_sorted_records_raise_one_alarm(kind: str) -> None:
    labels, batch, rule, period = SORTED[kind]
    rows = run(labels, batch, 1500)
    (alarm,) = alarms_of(rows)
    assert alarm.rule == (rule or alarm.rule)
    assert alarm.subject == "label"
    text = sentence(alarm, LABELLED)
    assert text.startswith(("all labels in label are the same in ", "the labels in label come in order: "))
    assert period_of(rows.inputs[:, 0, 0] + rows.inputs[:, 1, 0]) == period
    pieces = Monitor(LABELLED, LIMITS)  # as a live run gives them
    cut = [alarm for start in range(0, 1500, 37) for alarm in pieces.take(rows[start : start + 37])]
    assert [found for found in cut if found.rule.startswith("label_")] == [alarm]


@pytest.mark.parametrize("batch", [1, 2, 8, 32])
@pytest.mark.parametrize("classes", [1, 2, 3, 280])
def test_records_in_random_order_raise_nothing(classes: int, batch: int) -> None:
    labels = np.random.default_rng(classes).integers(classes, size=50_021)
    assert alarms_of(run(labels, batch, 6000)) == []


@pytest.mark.parametrize("batch", [1, 2, 32])
@pytest.mark.parametrize("share", [0.9, 0.99, 0.999])
def test_a_class_that_most_records_have_raises_nothing(share: float, batch: int) -> None:
    labels = (np.random.default_rng(3).random(50_021) > share).astype(int)
    assert alarms_of(run(labels, batch, 6000)) == []


def test_labels_that_are_no_classes_are_not_judged() -> None:
    rows = run(np.sort(RANDOM.random(1600)), 16, 600)  # sorted targets of a regression
    assert (
        Monitor(
            replace(LABELLED, labels=()), replace(LIMITS, input_range=replace(LIMITS.input_range, enabled=False))
        ).take(rows)
        == []
    )


def test_a_run_in_the_middle_is_found_with_its_iterations() -> None:
    labels = RANDOM.integers(5, size=8000)
    labels[300 * 8 : 450 * 8] = 2
    rows = run(labels, 8, 1000)
    times, low, high = rows.iteration, rows.inputs[:, 0, 0], rows.inputs[:, 1, 0]
    (found,) = long_runs(times, low, high, LIMITS.label_runs.surprise)
    assert (found.first, found.last, found.label, found.length) == (300, 449, 2, 150)
    assert found.expected < 10
    assert trends(times, low, high, LIMITS.label_trend.share) == []


def test_what_is_too_short_or_not_known_gives_nothing() -> None:
    for count in (0, 1, 3, 9):
        zeros = np.zeros(count)
        assert long_runs(np.arange(count), zeros, zeros, 25.0) == []
        assert trends(np.arange(count), zeros, zeros, 0.2) == []
        assert period_of(zeros) is None
    assert period_of(np.full(100, np.nan)) is None
    assert not repeats_after(np.arange(10.0), 8)
