"""Alarms, and the onset behind them, in words: what, what it means, and what to type next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from rich.text import Text

from harness.diagnosis.live.messages import MEANING, sentence
from harness.diagnosis.live.rows import names_of
from harness.reports.suggestions import BrokenRun, after_divergence, report_command
from harness.reports.text.grammar import list_names
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Opening

NEEDS_PARENT = "This run has no snapshot from before the onset. Restart the run that it continues."


def alarm_lines(
    alarms: Sequence[Alarm], divergences: Collection[Alarm], opening: Opening, explained: Collection[str]
) -> list[Text]:
    """One paragraph for alarms of the same rule that follow on each other. Rules in `explained` are not explained."""
    names = names_of(opening.layout)
    lines = []
    for rule, group in groupby(alarms, key=lambda alarm: alarm.rule):
        first, *rest = group
        others = list(dict.fromkeys(alarm.subject for alarm in rest if alarm.subject != first.subject))
        too = f"; also {list_names(others)}" if others else ""
        said = f" at iteration {first.iteration:,}: {sentence(first, names)}{too}."
        line = Text.assemble((f"ALARM {rule}", "bold red" if first in divergences else "bold yellow"), said)
        if rule not in explained:
            line.append(f" {MEANING[rule]}", style="dim")
            explained = {*explained, rule}
        lines.append(line)
    return lines


def first_out(blob: str | None, param: str | None) -> str:
    """Which blob and which param blob left their past first; nothing where neither is known."""
    named = [f"{kind} {name}" for kind, name in (("blob", blob), ("param blob", param)) if name]
    return f"First out of the ordinary: {' and '.join(named)}" if named else ""


def divergence_lines(divergence: Divergence, opening: Opening) -> list[Text]:
    """Where it began, and the commands that go on from here."""
    onset, layout = divergence.onset, opening.layout
    at = onset.iteration
    where = first_out(onset.blob, onset.param)
    text = Text.assemble((f"Onset: iteration {at:,}", "bold"), f": {onset.reason}")
    if where:
        text.append(f". {where}")
    lines = [text]
    broken = BrokenRun(
        run=opening.directory,
        first=opening.first,
        onset=at,
        last_good=divergence.last_good,
        in_window=layout.in_window(at),
        base_lr=opening.base_lr,
    )
    if broken.needs_parent:
        return [*lines, Text(f"  {NEEDS_PARENT}")]
    return lines + [
        Text.assemble("  ", (suggestion.command, "cyan"), (f"   # {suggestion.purpose}", "dim"))
        for suggestion in (*after_divergence(broken), report_command(opening.directory))
    ]
