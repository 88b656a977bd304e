"""Describe alarms and the onset: the observation, what to look at first, and the suggested commands."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import groupby

from rich.text import Text

from harness.diagnosis.live.messages import LOOK_AT, sentence
from harness.diagnosis.live.rows import names_of
from harness.reports.suggestion import Suggestion
from harness.reports.suggestions import BrokenRun, after_divergence, explain_command, report_command, rescue_command
from harness.reports.text.grammar import list_names
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Opening


def alarm_lines(
    alarms: Sequence[Alarm], divergences: Collection[Alarm], opening: Opening, explained: Collection[str]
) -> list[Text]:
    """Describe alarms, consecutive ones of the same rule in one paragraph.

    Args:
        divergences: alarms that mean that training diverged.
        explained: rules of which it has been said what to look at.
    """
    names = names_of(opening.layout)
    lines = []
    for rule, group in groupby(alarms, key=lambda alarm: alarm.rule):
        first, *rest = group
        others = list(dict.fromkeys(alarm.subject for alarm in rest if alarm.subject != first.subject))
        too = f"; also {list_names(others)}" if others else ""
        text = f" at iteration {first.iteration:,}: {sentence(first, names)}{too}."
        line = Text.assemble((f"ALARM {rule}", "bold red" if first in divergences else "bold yellow"), text)
        if rule not in explained:
            line.append(f" {LOOK_AT[rule]}", style="dim")
            explained = {*explained, rule}
        lines.append(line)
    return lines


def first_abnormal(blob: str | None, param: str | None) -> str:
    """Name the blob and the param blob that left their baselines first; empty if neither is known."""
    named = [f"{kind} {name}" for kind, name in (("blob", blob), ("param blob", param)) if name]
    return f"First abnormal: {' and '.join(named)}" if named else ""


def divergence_lines(divergence: Divergence, opening: Opening) -> list[Text]:
    """Describe the onset, and suggest commands."""
    onset, layout = divergence.onset, opening.layout
    at = onset.iteration
    where = first_abnormal(onset.blob, onset.param)
    text = Text.assemble((f"Onset: iteration {at:,}", "bold"), f": {onset.reason}")
    if where:
        text.append(f". {where}")
    lines = [text]
    broken = BrokenRun(
        run=opening.directory,
        first=opening.first,
        until=opening.until,
        onset=at,
        last_good=divergence.last_good,
        in_window=layout.in_window(at) or divergence.is_kept,
        base_lr=opening.base_lr,
        parent=opening.parent,
        gradients=divergence.gradients,
        raised_rate=divergence.raised_rate,
        unusual_input=onset.blob if opening.seekable and onset.blob in {b.name for b in layout.inputs} else None,
        outlying=divergence.outlying,
        rewind=divergence.rewind,
    )
    has_ended = divergence.is_kept or divergence.rewind is not None
    replays = [explain_command(opening.directory), rescue_command(opening.directory)] if has_ended else []
    for suggestion in (*after_divergence(broken), *replays, report_command(opening.directory)):
        lines += suggestion_lines(suggestion)
    return lines


def suggestion_lines(suggestion: Suggestion) -> list[Text]:
    """Return the purpose of a suggestion, and its command on a line of its own, which a terminal must not fold."""
    if not suggestion.command:
        return [Text(f"  {suggestion.purpose}", style="dim")]
    command = Text(f"    {suggestion.command}", style="cyan", no_wrap=True, overflow="ignore")
    return [Text(f"  {suggestion.purpose}:", style="dim"), command]
