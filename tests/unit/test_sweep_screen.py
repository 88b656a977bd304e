"""How a sweep is drawn: a table on a terminal, a line for each restart that ends elsewhere."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console as RichConsole

from harness.reports.console import Console
from harness.reports.sweep_view import LegRow, SweepView
from harness.reports.text.sweep import show_sweep
from harness.reports.view_screen import ViewScreen
from harness.schemas.sweep import Sweep, SweepLeg

CURVE = (*([1.0] * 20), 5.0, 9.0, None, 9.0)
ROWS = (
    LegRow("base_lr=0.0005-loss_classifier.lr_mult=1-clip_gradients=10", "running", 870, 1000, CURVE, 9.0),
    LegRow("base_lr=0.0005-loss_classifier.lr_mult=1-clip_gradients=20", "waiting", 800, 1000),
    LegRow("short", "diverged at 841", 850, 1000, CURVE, 9.0),
)
VIEW = SweepView(ROWS, 120, 400, 60.0, 90.0, 1.0, 9.0)


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_the_terminal_and_names_differ(width: int) -> None:
    console = RichConsole(file=StringIO(), width=width, height=24)
    screen = ViewScreen(Console(file=StringIO(), width=width))
    screen.show(VIEW)
    with console.capture() as capture:
        console.print(screen._panel())
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    names = {line.split()[0] for line in lines[1:4]}
    assert len(names) == 3
    assert "×" in lines[1]
    assert "diverged at 841" in lines[3]
    assert "1 of 3 restarts, 120 of 400 iterations" in lines[-1]


def test_on_a_narrow_terminal_values_are_kept_that_differ() -> None:
    rows = tuple(LegRow(f"base_lr={rate}-clip_gradients=5", "waiting", 60, 240) for rate in (0.01, 0.002))
    console = RichConsole(file=StringIO(), width=70)
    with console.capture() as capture:
        console.print(*SweepView(rows, 0, 360, 1.0, None, 0.0, 1.0).drawn(70, 24))
    assert [line.split()[0] for line in capture.get().splitlines()[1:]] == ["base…=0.01-clip…=5", "bas…=0.002-cli…=5"]


def test_without_a_terminal_each_restart_that_ends_is_a_line() -> None:
    output = StringIO()
    screen = ViewScreen(Console(file=output, width=200))
    screen.show(VIEW)
    screen.show(VIEW)
    assert output.getvalue() == "short: diverged at 841, iteration 850, loss 9\n"


def test_the_best_is_named_or_that_there_is_none() -> None:
    legs = (
        SweepLeg(name="good", words=(), until=1000, run="good", code=0, last=1000, loss=0.5, parent_loss=9.0),
        SweepLeg(name="bad", words=(), until=1000, run="bad", code=3, last=850, onset=841),
        SweepLeg(name="refused", words=(), until=1000, code=2, why="the net is not a net"),
    )
    sweep = Sweep(parent="/runs/demo", start=800, span=40, legs=legs, best="good")
    output = StringIO()
    show_sweep(sweep, "lowest median loss", (), Console(file=output, width=120))
    said = output.getvalue()
    assert said.startswith("Best: good (lowest median loss: 0.5)\n")
    assert "diverged at 841" in said
    assert "refused: the net is not a net" in said
    output = StringIO()
    broken = Sweep(parent="/runs/demo", start=800, span=40, legs=legs[1:2])
    show_sweep(broken, "lowest median loss", (), Console(file=output, width=120))
    assert "All diverged" in output.getvalue()
