"""Show what an investigation has found, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.quantities import duration
from harness.reports.console import Console
from harness.reports.investigation_view import FAILED, TrialRow, trial_table
from harness.reports.suggestion import Suggestion
from harness.reports.text.alarms import suggestion_lines
from harness.reports.text.grammar import count
from harness.reports.trials import groups_of
from harness.schemas.explanation import ArmSummary, ChainLink, ControlSummary, Count, CulpritRecord, Explanation

_IN_WORDS = ("measured", "margins", "brakes", "orders")  # groups of trials that the table leaves out
_MOST_RECORDS = 32
_MARGINS = {"learning_rate": "learning rate", "clip_gradients": "clipping threshold", "momentum": "momentum"}


def show_explanation(found: Explanation, suggestions: Sequence[Suggestion], console: Console) -> None:
    """Print the sentence, what supports it, the trials that decide, and the next commands."""
    console.print(Text(found.verdict.sentence, style=_style(found)), soft_wrap=not console.is_terminal)
    for title, lines in _sections(found):
        console.print()
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(_item(line, console))
    if found.verdict.records:
        console.print()
        console.print(_record_table(found.verdict.records))
    shown = [trial for group in groups_of(found) if group.name not in _IN_WORDS for trial in group.trials]
    if shown and found.levels is not None:
        low, high = found.levels.healthy, found.levels.highest
        console.print()
        console.print(trial_table([_row(trial) for trial in shown], low, high, console.width))
    if found.arms:
        console.print()
        console.print(Text(_cost(found, len(found.arms) - len(shown)), style="dim"), soft_wrap=True)
    if suggestions:
        console.print()
        console.print(Text("Next", style="bold"))
    for suggestion in suggestions:
        for text in suggestion_lines(suggestion):
            console.print(text, soft_wrap=True)


def _style(found: Explanation) -> str:
    return {"undecided": "bold yellow", "none": "bold green"}.get(found.verdict.kind, "bold")


def _item(line: str, console: Console) -> RenderableType:
    """Lay out a line of a list; wrapped with a hanging indent on a terminal, as one line elsewhere."""
    if not console.is_terminal:
        return Text(f"  - {line}", no_wrap=True, overflow="ignore")
    grid = Table.grid(padding=(0, 1))
    grid.add_row("  ·", Text(line))
    return grid


def _sections(found: Explanation) -> Iterator[tuple[str, list[str]]]:
    verdict = found.verdict
    sections = {
        "Evidence": [link.sentence for link in verdict.evidence if not _is_said(link, verdict.sentence)],
        "Chain": [link.sentence for link in verdict.chain],
        "Margins": [*_margins(found), *_when(found)],
        "Replays": _control(found.control),
        "What would decide it": list(verdict.would_decide),
        "Left out": list(found.left_out),
    }
    yield from ((title, lines) for title, lines in sections.items() if lines)


def _is_said(link: ChainLink, sentence: str) -> bool:
    """Check whether the verdict's sentence has that of `link`, which may begin with a small letter there."""
    return link.sentence[1:] in sentence


def _record_table(records: Sequence[CulpritRecord]) -> Table:
    """Make a table of culprit records, and of what ordinary records do in their places.

    `effect` is by how much each, alone, raises the loss of the next iteration, `gradient` the norm of its batch.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("record", overflow="ellipsis", no_wrap=True)
    table.add_column("iteration", justify="right", no_wrap=True, min_width=9)
    table.add_column("label", overflow="ellipsis", no_wrap=True)
    table.add_column("effect", justify="right", no_wrap=True, min_width=10)
    table.add_column("gradient", justify="right", no_wrap=True, min_width=8)
    for record in records[:_MOST_RECORDS]:
        label = "" if record.label is None else str(record.label)
        label += f" ({record.class_name})" if record.class_name else ""
        key = record.key or f"number {record.index}"
        table.add_row(key, f"{record.iteration:,}", label, _effect(record.effect), _number(record.gradient_l2))
    if len(records) > _MOST_RECORDS:
        table.add_row(f"and {len(records) - _MOST_RECORDS:,} more")
    usual = dict.fromkeys((record.iteration, record.usual_effect, record.usual_gradient_l2) for record in records)
    for iteration, effect, gradient in usual:
        if effect is not None or gradient is not None:
            table.add_row("ordinary records", f"{iteration:,}", "", _number(effect), _number(gradient), style="dim")
    return table


def _effect(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _margins(found: Explanation) -> Iterator[str]:
    for name, margin in found.margins.items():
        ends = ((margin.survives, "survives", margin.survived), (margin.breaks, "breaks", margin.broke))
        parts = [f"{end:.3g} {verb}{_in(count)}" for end, verb, count in ends if end is not None]
        if parts:
            yield f"{_MARGINS.get(name, name)}: {', '.join(parts)}"


def _in(count: Count | None) -> str:
    return "" if count is None else f" ({count})"


def _when(found: Explanation) -> Iterator[str]:
    if found.point_of_no_return is not None:
        at = found.point_of_no_return
        yield f"point of no return: the best remedy still heals from iteration {at:,} on, not later"
    orders = [f"{one.breaks} of {one.runs} from {one.back} before" for one in found.rewind if one.runs]
    if orders:
        yield f"other data orders that break: {', '.join(orders)}"


def _control(control: ControlSummary | None) -> list[str]:
    if control is None or control.identical:
        return []
    lines = []
    if control.first_difference is not None:
        lines.append(f"their weights differ from the recorded ones from iteration {control.first_difference:,} on")
    return lines + list(control.not_exact)


def _row(arm: ArmSummary) -> TrialRow:
    curve = next((curve for curve in arm.curves if curve), ())
    arms, failed = len(arm.keys), next((how for how in arm.judgements if how in FAILED), "")
    return TrialRow(arm.name, ", ".join(arm.changes), arms, arms, arm.breaks, arm.heals, False, curve, failed)


def _cost(found: Explanation, others: int) -> str:
    cost = found.cost
    arms = sum(len(arm.keys) for arm in found.arms)
    more = f", {count(others, 'trial')} of margins and measurements are not shown" if others else ""
    now = f"{cost.iterations:,} iterations in {duration(cost.seconds)} with {count(cost.workers, 'worker')}"
    return f"{count(arms, 'replay')}{more}. " + (f"Computed now: {now}." if cost.iterations else "All were stored.")
