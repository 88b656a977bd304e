"""Show what a sweep has found, as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness.exit_codes import Exit
from harness.quantities import duration
from harness.reports.console import Console
from harness.reports.suggestion import Suggestion
from harness.reports.text.alarms import suggestion_lines
from harness.reports.text.grammar import count
from harness.schemas.sweep import Sweep, SweepLeg

_MOST_TESTS = 3  # columns of test outputs
_NONE = "–"


def show_sweep(sweep: Sweep, criterion: str, suggestions: Sequence[Suggestion], console: Console) -> None:
    """Print a table of the legs, the best one by `criterion`, and the next commands."""
    best = next((leg for leg in sweep.legs if leg.name == sweep.best), None)
    if best is not None:
        line = Text(f"Best: {best.name} ({criterion}: {_value(best, sweep.criterion)})", style="bold green")
    else:
        ended = [leg for leg in sweep.legs if leg.code is not None]
        diverged = sum(leg.code == Exit.DIVERGED for leg in ended)
        said = "All diverged" if diverged == len(ended) == len(sweep.legs) else "None is complete"
        line = Text(f"{said}: there is no best restart", style="bold yellow")
    console.print(line, soft_wrap=not console.is_terminal)
    console.print()
    console.print(sweep_table(sweep))
    for leg in sweep.legs:
        if leg.why and leg.code not in (Exit.DONE, Exit.DIVERGED, None):
            console.print(Text(f"{leg.name}: {leg.why}", style="yellow"), soft_wrap=True)
    console.print()
    seconds, iterations = sum(leg.seconds for leg in sweep.legs), sum(leg.iterations for leg in sweep.legs)
    cost = f"{count(len(sweep.legs), 'restart')}, {iterations:,} iterations, {duration(round(seconds))} of training"
    level = f"Loss: median over the last {sweep.span} iterations; parent: that of the run itself there"
    for said in (level, cost):
        console.print(Text(said, style="dim"))
    if suggestions:
        console.print()
        console.print(Text("Next", style="bold"))
    for suggestion in suggestions:
        for text in suggestion_lines(suggestion):
            console.print(text, soft_wrap=True)


def sweep_table(sweep: Sweep) -> Table:
    """Make a table of the legs of a sweep, each beside its parent."""
    tests = list(dict.fromkeys(name for leg in sweep.legs for name in leg.test))[-_MOST_TESTS:]  # of the last head
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("restart", overflow="fold", min_width=12)
    for name in ("iterations", "loss", "parent", *tests):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    for leg in sweep.legs:
        style = "bold green" if leg.name == sweep.best else "red" if leg.code == Exit.DIVERGED else ""
        span = _NONE if leg.last is None else f"{sweep.start:,} … {leg.last:,}"
        values = [_number(leg.loss), _number(leg.parent_loss), *(_number(leg.test.get(name)) for name in tests)]
        table.add_row(Text(leg.name), span, *values, outcome(leg), style=style)
    return table


def outcome(leg: SweepLeg) -> str:
    """Say in a few words how a leg has ended."""
    if leg.code is None:
        return "not ended"
    if leg.code == Exit.DONE:
        return "complete" + (f", high since {leg.onset:,}" if leg.onset is not None else "")
    if leg.code == Exit.DIVERGED:
        return "diverged" + (f" at {leg.onset:,}" if leg.onset is not None else "")
    if leg.code == Exit.INTERRUPTED:
        return "interrupted"
    return f"failed (exit code {leg.code})"


def _value(leg: SweepLeg, criterion: str) -> str:
    return _number(leg.loss if criterion == "loss" else leg.test.get(criterion.partition(":")[2]))


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4g}"
