"""Show what became of a rescue, as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from harness.invocation import next_command, path_argument
from harness.quantities import duration
from harness.reports.console import Console
from harness.reports.suggestion import Suggestion
from harness.reports.text.alarms import suggestion_lines
from harness.reports.text.grammar import count
from harness.schemas.rescue import Attempt, Rescue, Tried


def show_rescue(found: Rescue, accuracies: Sequence[str], console: Console) -> None:
    """Print the sentence, the breaks with the candidates that were tried, and the next command.

    Args:
        accuracies: outputs of the first test net, as `net_roles.accuracies` orders them.
    """
    wraps = not console.is_terminal
    style = "bold green" if found.finished else "bold yellow"
    console.print(Text(found.sentence, style=style if found.attempts else "bold"), soft_wrap=wraps)
    for attempt in found.attempts:
        console.print()
        console.print(Text(f"Break at iteration {attempt.broke:,}", style="bold"))
        console.print(Text(attempt.sentence), soft_wrap=wraps)
        if attempt.tried:
            console.print()
            console.print(_table(attempt, accuracies))
    if found.attempts:
        took = f"{found.cost.iterations:,} iterations in {duration(found.cost.seconds)}"
        cost = f"{took}, with {count(found.cost.workers, 'worker')}"
        console.print()
        console.print(Text(cost, style="dim"), soft_wrap=True)
        console.print()
        console.print(Text("Next", style="bold"))
        command = f"{next_command('report')} {path_argument(Path(found.run))}"
        for text in suggestion_lines(Suggestion(command, "show the whole training on one page")):
            console.print(text, soft_wrap=True)


def _table(attempt: Attempt, accuracies: Sequence[str]) -> Table:
    """Make a table of the candidates of a break."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("candidate", overflow="fold")
    table.add_column("got past", justify="right", no_wrap=True)
    table.add_column("loss", justify="right", no_wrap=True)
    test = tested(attempt.tried, accuracies)
    if test:
        table.add_column(f"test\n{test}", justify="right", max_width=12, overflow="fold")
    table.add_column("", overflow="fold")
    for tried in attempt.tried:
        table.add_row(
            Text(tried.candidate, style="bold green" if tried.chosen else ""),
            f"{tried.heals} of {tried.runs}" if tried.runs else "",
            "" if tried.loss is None else f"{tried.loss:.3g}",
            *([f"{tried.test[test]:.4g}" if test in tried.test else ""] if test else []),
            Text(_why(tried), style="" if tried.chosen else "dim"),
        )
    return table


def tested(candidates: Sequence[Tried], accuracies: Sequence[str]) -> str:
    """Name the output of the test net that is shown: the last accuracy, if there is one; empty without outputs."""
    names = sorted({name for tried in candidates for name in tried.test})
    return next((name for name in reversed(accuracies) if name in names), names[-1] if names else "")


def _why(tried: Tried) -> str:
    return f"chosen: {tried.why}" if tried.chosen else tried.why
