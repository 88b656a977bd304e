"""How an explanation is shown: outcomes in words, number lines and small plots, whatever its numbers are."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reports.figures import trials as draw_trials
from harness.reports.html.plot import Plot
from harness.reports.html.trial_plots import Losses, no_return, orders, trial_plots
from harness.reports.number_lines import NumberLine, OwnValue, explanation_lines
from harness.reports.trials import groups_of, look, outcome
from harness.schemas.explanation import (
    ArmSummary,
    CulpritRecord,
    Curvature,
    Explanation,
    Judgement,
    Levels,
    Margin,
    Orders,
    Verdict,
)
from tests.helpers.explanations import machine_explanation, rate_explanation, record_explanation, trial

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
OPTIONAL = st.one_of(st.none(), FLOATS)
RECORD = record_explanation(841, ["a", "b"], "conv1")
OWN = Losses(np.arange(700, 1000), np.linspace(2, 1, 300))


@pytest.mark.parametrize(
    ("judgements", "said", "mood"),
    [
        (["healed"] * 8, "8 of 8 heal", "good"),
        (["broken"], "1 of 1 breaks", "bad"),
        (["broken", "broken", "healed"], "2 of 3 break, 1 heals", "open"),
        (["broken", "unclear", "died", "died"], "1 of 4 breaks, 1 undecided, 2 died", "open"),
        ([], "not run", "open"),
    ],
)
def test_outcomes_in_words(judgements: list[Judgement], said: str, mood: str) -> None:
    found = trial("x", "record", 0, judgements, at=5)
    assert (outcome(found), look(found).mood) == (said, mood)


def test_trials_are_in_groups_those_that_decide_first() -> None:
    groups = groups_of(RECORD)
    assert [group.name for group in groups] == [
        "deciding", "measured", "layers", "margins", "brakes", "orders",
    ]  # fmt: skip
    assert sum(len(group.trials) for group in groups) == len(RECORD.arms)
    kinds = [trial.kind for trial in groups[0].trials]
    assert (kinds[0], kinds[-1]) == ("control", "placebo")
    assert [group.name for group in groups_of(machine_explanation(5))] == ["deciding"]


def test_margins_on_number_lines() -> None:
    own = {
        "learning_rate": OwnValue(0.01, "0.01"),
        "clip_gradients": OwnValue(math.inf, "no clipping"),
        "momentum": OwnValue(0.9, "0.9"),
    }
    effects, rate, clip, momentum, curvature = explanation_lines(RECORD, own)
    assert effects.title == "By how much the loss rises after the update"
    assert len(effects.points) == 3
    assert rate.said == "survives up to 0.00112, breaks from 0.00139, this run has 0.01"
    survives, breaks, this = (point.at for point in rate.points)
    assert 0 < survives < breaks < this < 100
    # equal factors are equal lengths
    length = (breaks - survives) / math.log(0.41 / 0.33)
    assert this - breaks == pytest.approx(length * math.log(0.01 / 0.001394), rel=1e-2)
    assert rate.zones == ((0.0, survives, "good"), (breaks, 100.0, "bad"))
    assert clip.points[-1].at == 100
    assert {"0.5", "0.9"} <= {text for _, text in momentum.ticks}
    assert "5,200" in curvature.said
    (only,) = explanation_lines(rate_explanation(841), own)
    assert only.said == "breaks from 0.0001, this run has 0.01"
    assert explanation_lines(machine_explanation(841), own) == ()


def test_the_point_of_no_return_is_on_the_loss_of_the_run() -> None:
    found = no_return(RECORD, OWN)
    assert found is not None
    assert [span.kind for span in found.spans] == ["good", "bad"]
    assert found.spans[0].last == found.spans[1].first == pytest.approx(100 * (841.5 - 821) / 60, abs=0.01)
    assert no_return(RECORD, Losses(np.arange(10), np.ones(10))) is None
    assert no_return(machine_explanation(841), OWN) is None


def numbers(plot: Plot) -> Iterator[float]:
    for line in plot.lines:
        yield from (float(part) for point in line.points.split(" ") for part in point.split(","))
    yield from (rule.at for rule in (*plot.moments, *plot.levels))
    yield from (tick.at for tick in (*plot.across, *plot.down))
    yield from (part for mark in plot.marks for part in (mark.x, mark.y))


def places(line: NumberLine) -> Iterator[float]:
    yield from (point.at for point in line.points)
    yield from (at for at, _ in line.ticks)
    yield from (end for zone in line.zones for end in zone[:2])


@given(
    curves=st.lists(st.lists(OPTIONAL, max_size=5).map(tuple), max_size=4).map(tuple),
    judgements=st.lists(st.sampled_from(["broken", "healed", "unclear", "died", "refused"]), max_size=4).map(tuple),
    margins=st.dictionaries(
        st.sampled_from(["learning_rate", "clip_gradients", "momentum", "other"]), st.builds(Margin, OPTIONAL, OPTIONAL)
    ),
    levels=st.one_of(st.none(), st.builds(Levels, FLOATS, OPTIONAL, FLOATS, OPTIONAL)),
    curvature=st.one_of(st.none(), st.builds(Curvature, st.just(841), OPTIONAL, OPTIONAL, FLOATS, FLOATS)),
    records=st.lists(
        st.builds(CulpritRecord, st.just("k"), st.none(), st.just(841), st.just(0), OPTIONAL, usual_effect=OPTIONAL),
        max_size=3,
    ).map(tuple),
    rewind=st.lists(st.builds(Orders, *[st.integers(-3, 60)] * 3), max_size=3).map(tuple),
    own=OPTIONAL,
)
def test_any_numbers_are_drawn_inside_their_boxes(
    curves: tuple[tuple[float | None, ...], ...],
    judgements: tuple[Judgement, ...],
    margins: dict[str, Margin],
    levels: Levels | None,
    curvature: Curvature | None,
    records: tuple[CulpritRecord, ...],
    rewind: tuple[Orders, ...],
    own: float | None,
) -> None:
    arm = ArmSummary(
        "x", "record", (), 836, 5, 1, 1, 0, None, "command", judgements=judgements, curves=curves
    )  # fmt: skip
    explanation = Explanation(
        Verdict("record", "It broke.", records=records),
        None,
        (arm,),
        margins,
        841,
        rewind,
        curvature=curvature,
        levels=levels,
    )
    plots = [*trial_plots(explanation, OWN, 841).values(), no_return(explanation, OWN), orders(explanation.rewind)]
    for plot in plots:
        assert plot is None or all(-1 <= number <= 101 for number in numbers(plot))
    values = {} if own is None else {"learning_rate": OwnValue(own, "x"), "momentum": OwnValue(own, "x")}
    for line in explanation_lines(explanation, values):
        assert all(0 <= place <= 100 for place in places(line))


def test_the_figure_of_trials_has_a_panel_for_each_up_to_twelve() -> None:
    figure = draw_trials(RECORD)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[:3] == ["nothing changed", "weights jittered by 0.1 %", "batch of 841 replaced"]
    assert len([title for title in titles if title]) == 12
    assert figure.axes[0].get_yscale() == "log"
    only = draw_trials(RECORD, ("placebo",))
    assert [axes.get_title(loc="left") for axes in only.axes] == ["the others replaced", "", "", ""]
