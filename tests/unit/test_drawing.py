"""What all figures and pages share: names, colours, chance levels, ticks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.diagnosis.recorded.heatmap import Heatmap
from harness.reports import palette
from harness.reports.figures.layers import colour_norm
from harness.reports.levels import chance_levels
from harness.reports.names import head_name, head_of
from harness.reports.palette import accuracy_styles
from harness.reports.scales import log_ticks
from harness.schemas.layout import Head


def test_a_colour_has_one_meaning() -> None:
    single = (palette.TOTAL, palette.BROKEN, palette.GOOD, palette.WINDOW, palette.NOT_FINITE, palette.GREY)
    colours = [*palette.HEADS, *palette.RUNS, *single]
    assert len(set(colours)) == len(colours)


def test_chance_levels_are_called_chance_levels() -> None:
    heads = [Head("a", 0.3, 280), Head("b", 1.0, 280)]
    assert [text for _, text in chance_levels(heads)] == [
        "chance level 5.635 (280 classes)",
        "chance level 7.325 (total)",
    ]


def test_an_accuracy_has_the_colour_of_its_head() -> None:
    heads = ["loss1/loss1", "loss3/loss3"]
    outputs = ["loss1/top-1", "loss3/top-1", "loss3/top-5"]
    first, second = palette.HEADS[:2]
    assert accuracy_styles(outputs, heads) == [(first, 0), (second, 0), (second, 1)]
    assert accuracy_styles(["accuracy", "top5"], ["loss"]) == [(first, 0), (first, 1)]
    assert head_of("accuracy", heads) is None
    assert head_name("loss1/loss1", 0.3) == "loss1/loss1 (weight 0.3)"
    assert head_name("loss", 1.0) == "loss"


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.02, 300, ["0.1", "1", "10", "100"]),
        (3e-9, 2e-5, ["10⁻⁸", "10⁻⁷", "10⁻⁶", "10⁻⁵"]),
        (0.9, 9.5, ["1", "2", "5"]),
        (1.5e-5, 6e-5, ["2·10⁻⁵", "5·10⁻⁵"]),
        (900, 1e6, ["1,000", "10,000", "10⁵", "10⁶"]),
        (1e-30, 1e30, ["10⁻³⁰", "10⁻²²", "10⁻¹⁴", "10⁻⁶", "100", "10¹⁰", "10¹⁸", "10²⁶"]),
    ],
)
def test_ticks_of_logarithmic_axes(low: float, high: float, texts: list[str]) -> None:
    ticks = log_ticks(low, high)
    assert [text for _, text in ticks] == texts
    assert all(low * 0.999 <= value <= high * 1.001 for value, _ in ticks)
    assert math.isclose(ticks[0][0], min(value for value, _ in ticks))


@pytest.mark.parametrize("exploded", [1e3, 1e15, 1e30])
def test_colours_tell_the_values_before_an_explosion_apart(exploded: float) -> None:
    values = np.full((1, 100), 1e-4)
    values[0, ::2], values[0, -5:] = 1e-3, exploded
    norm = colour_norm(Heatmap("gradient", ("conv1",), np.arange(100), np.arange(1, 101), values, values))
    low, usual, high = np.asarray(norm(np.array([1e-4, 1e-3, exploded])))
    assert low < usual < high == 1
