"""How an investigation is drawn: a table on a terminal, a line for each trial elsewhere."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console as RichConsole

from harness.explaining.wording import in_words
from harness.reports.console import Console
from harness.reports.investigation_view import InvestigationView, TrialRow, trial_table
from harness.reports.sparkline import sparkline
from harness.reports.view_screen import ViewScreen
from harness.schemas.arm import (
    AnyChange,
    HistoryScaled,
    LayerField,
    LayerRedrawn,
    Place,
    RateHeld,
    RateScaled,
    RecordsReplaced,
    Replacement,
    SolverField,
    StreamShifted,
    UpdateWithheld,
    WeightsJittered,
    WeightsLimited,
    WeightsScaled,
)

RISES = (1.0, 1.0, 5.0, 9.0, None)
ROWS = (
    TrialRow("unchanged", "", 2, 2, 2, 0, False, RISES),
    TrialRow("rate × 0.1", "rate × 0.1 from iteration 836 on", 3, 3, 0, 3, False, (1.0, 1.2)),
    TrialRow("records of 841", "", 32, 7, 0, 0, True, (1.0, 2.0)),
)
VIEW = InvestigationView("records", "The batch of 841 broke it.", ROWS, 12, 240, 9.0, 1900, 1.0, 9.0)


def test_a_curve_lies_between_the_levels() -> None:
    assert sparkline(RISES, 1.0, 9.0) == "▁▁▅█×"
    assert sparkline((-5.0, 400.0), 1.0, 9.0) == "▁█"
    assert sparkline((), 1.0, 9.0) == ""
    assert len(sparkline([1.0] * 1000, 1.0, 9.0)) <= 24


@pytest.mark.parametrize(("width", "changes"), [(60, False), (140, True)])
def test_the_table_fits_the_terminal(width: int, changes: bool) -> None:
    console = RichConsole(file=StringIO(), width=width)
    with console.capture() as capture:
        console.print(trial_table(ROWS, 1.0, 9.0, width))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert ("from iteration 836" in capture.get()) is changes
    assert lines[1].split()[:3] == ["unchanged", "2", "2"]
    assert "7/32" in lines[3]


def test_without_a_terminal_each_trial_that_ends_is_a_line() -> None:
    output = StringIO()
    screen = ViewScreen(Console(file=output, width=200))
    screen.show(VIEW)
    screen.show(VIEW)
    screen.show(replace(VIEW, rows=(*ROWS[:2], replace(ROWS[2], finished=32))))
    screen.close()
    assert output.getvalue().splitlines() == [
        "unchanged: 2 of 2 break, loss not finite",
        "rate × 0.1: 0 of 3 break, loss 1.2",
        "records of 841: 32 done",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (SolverField("momentum", "0.9"), "momentum = 0.9"),
        (LayerField("conv1", "param[0].lr_mult", "0.1"), "conv1: param[0].lr_mult = 0.1"),
        (RateHeld(841, 0.001), "rate 0.001 from iteration 841 on"),
        (RateScaled(0.1, 1841, 1842), "rate × 0.1 in iteration 1,841"),
        (HistoryScaled(0), "history zero at the start"),
        (StreamShifted(841, 800, 845), "data from iteration 800 on in iterations 841 to 844"),
        (UpdateWithheld("conv1", 841, 842, 1), "update of conv1/1 withheld in iteration 841"),
        (WeightsJittered(0.001), "weights jittered by 0.001 at the start"),
        (WeightsLimited("ip", 3), "weights of ip limited to ±3 at the start"),
        (WeightsScaled("ip", 0.25, 0), "weights of ip/0 × 0.25 at the start"),
        (LayerRedrawn("ip"), "ip redrawn at the start"),
        (
            RecordsReplaced(tuple(Replacement(Place(841, n), Place(800, n)) for n in (1, 4))),
            "records 1, 4 of iteration 841 replaced by those of iteration 800",
        ),
        (
            RecordsReplaced(tuple(Replacement(Place(841 + n, n), Place(n, n)) for n in range(9))),
            "9 records of 9 iterations replaced by those of 9 other iterations",
        ),
    ],
)
def test_a_change_is_said_in_words(change: AnyChange, words: str) -> None:
    assert in_words(change) == words
