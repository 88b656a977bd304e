"""Show what an investigation has found, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.quantities import duration
from harness.reports.console import Console
from harness.reports.investigation import Row, trial_table
from harness.reports.suggestion import Suggestion
from harness.reports.text.alarms import suggestion_lines
from harness.reports.text.grammar import count
from harness.reports.trials import is_measured
from harness.schemas.explanation import ArmSummary, ChainLink, ControlSummary, CulpritRecord, Explanation

_MARGINS = {"learning_rate": "learning rate", "clip_gradients": "clipping threshold", "momentum": "momentum"}


def show_explanation(found: Explanation, suggestions: Sequence[Suggestion], console: Console) -> None:
    """Print the sentence, what supports it, the table of trials but those that only measure, and the next commands."""
    console.print(Text(found.verdict.sentence, style=_style(found)), soft_wrap=not console.is_terminal)
    for title, lines in _sections(found):
        console.print()
        console.print(Text(title, style="bold"))
        for line in lines:
            console.print(_item(line, console))
    rows = [_row(arm) for arm in found.arms if not is_measured(arm)]
    if rows and found.levels is not None:
        top = found.levels.broken or found.levels.chance or 2 * found.levels.limit - found.levels.healthy
        console.print()
        console.print(trial_table(rows, found.levels.healthy, top, console.width))
    if found.cost.iterations or found.arms:
        console.print()
        console.print(Text(_cost(found), style="dim"), soft_wrap=True)
    if suggestions:
        console.print()
        console.print(Text("Next", style="bold"))
    for suggestion in suggestions:
        for text in suggestion_lines(suggestion):
            console.print(text, soft_wrap=True)


def _style(found: Explanation) -> str:
    return (
        "bold yellow" if found.verdict.kind == "undecided" else "bold green" if found.verdict.kind == "none" else "bold"
    )


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
        "Records": [_record(record) for record in verdict.records],
        "Margins": [*_margins(found), *_when(found)],
        "Replays": _control(found.control),
        "What would decide it": list(verdict.would_decide),
        "Left out": list(found.left_out),
    }
    yield from ((title, lines) for title, lines in sections.items() if lines)


def _is_said(link: ChainLink, sentence: str) -> bool:
    """Check whether the verdict's sentence has that of `link`, which may begin with a small letter there."""
    return link.sentence[1:] in sentence


def _record(record: CulpritRecord) -> str:
    parts = [record.key or f"record {record.index}", f"iteration {record.iteration:,}"]
    if record.label is not None:
        parts.append(f"label {record.label}" + (f" ({record.class_name})" if record.class_name else ""))
    if record.effect is not None:
        usual = f", usually {record.usual_effect:.3g}" if record.usual_effect is not None else ""
        parts.append(f"alone raises the next loss by {record.effect:.3g}{usual}")
    return ", ".join(parts)


def _margins(found: Explanation) -> Iterator[str]:
    for name, margin in found.margins.items():
        parts = [f"{margin.survives:.3g} survives"] if margin.survives is not None else []
        parts += [f"{margin.breaks:.3g} breaks"] if margin.breaks is not None else []
        if parts:
            yield f"{_MARGINS.get(name, name)}: {', '.join(parts)}"


def _when(found: Explanation) -> Iterator[str]:
    if found.point_of_no_return is not None:
        at = found.point_of_no_return
        yield f"point of no return: the best remedy still heals from iteration {at:,} on, not later"
    orders = [f"{one.breaks} of {one.runs} from {one.back} before" for one in found.rewind]
    if orders:
        yield f"other data orders that break: {', '.join(orders)}"


def _control(control: ControlSummary | None) -> list[str]:
    if control is None or control.identical:
        return []
    lines = []
    if control.first_difference is not None:
        lines.append(f"their weights differ from the recorded ones from iteration {control.first_difference:,} on")
    return lines + list(control.not_exact)


def _row(arm: ArmSummary) -> Row:
    curve = next((curve for curve in arm.curves if curve), ())
    return Row(arm.name, ", ".join(arm.changes), len(arm.keys), len(arm.keys), arm.breaks, arm.heals, False, curve)


def _cost(found: Explanation) -> str:
    cost = found.cost
    arms = sum(len(arm.keys) for arm in found.arms)
    workers = count(cost.workers, "worker")
    return (
        f"{count(arms, 'replay')}; {count(cost.iterations, 'iteration')} were computed now, in "
        f"{duration(cost.seconds)} with {workers}."
    )
