"""Alarms, and the onset behind them, in words: what, what it means, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

from rich.text import Text

from harness.analysis.rules.rows import names_of
from harness.analysis.rules.words import MEANING, sentence
from harness.recording.layout import Alarm
from harness.recording.outcome import Opening

_BEFORE, _AFTER = 5, 40  # iterations around an onset that are worth keeping whole
_GRAVE = ("loss_jump", "uniform_collapse", "saturated_softmax", "non_finite")


def alarm_lines(alarms: Sequence[Alarm], opening: Opening, explained: Collection[str]) -> list[Text]:
    """One paragraph a rule. Rules in `explained` are not explained again, and after a divergence not even named: what
    follows from it would fill the screen. All alarms are in the recording."""
    names = names_of(opening.layout)
    if any(rule in explained for rule in _GRAVE):
        alarms = [alarm for alarm in alarms if alarm.rule in _GRAVE or alarm.rule not in explained]
    by_rule = sorted(alarms, key=lambda alarm: (alarm.rule not in _GRAVE, alarm.rule))
    lines = []
    for rule, group in groupby(by_rule, key=lambda alarm: alarm.rule):
        first, *rest = group
        more = list(dict.fromkeys(alarm.subject for alarm in rest if alarm.subject != first.subject))
        style = "bold red" if rule in _GRAVE else "bold yellow"
        others = ", ".join(more[:3])
        too = f"; also {others}" if more else ""
        too += f" and {len(more) - 3} more" if len(more) > 3 else ""
        said = f" at iteration {first.iteration:,}: {sentence(first, names)}{too}."
        line = Text.assemble((f"ALARM {rule}", style), said)
        if rule not in explained:
            line.append(f" {MEANING[rule]}", style="dim")
        lines.append(line)
    return lines


def onset_lines(onset: dict[str, Any], opening: Opening) -> list[Text]:
    """Where it began, and the commands that go on from here."""
    at, layout = int(onset["iteration"]), opening.layout
    where = [f"{kind} {onset[key]}" for key, kind in (("blob", "blob"), ("param", "param blob")) if onset.get(key)]
    text = Text.assemble((f"Onset: iteration {at:,}", "bold"), f": {onset['reason']}")
    if where:
        text.append(f". First out of the ordinary: {' and '.join(where)}")
    run = shlex.quote(str(opening.directory))
    lines = [text]
    if not layout.in_window(at):
        window = f"{max(opening.first, at - _BEFORE)}:{at + _AFTER}"
        lines.append(_command(f"restart.py {run} --watch {window}", "repeat it from the last good snapshot, all kept"))
    lines.append(_command(f"restart.py {run} --set base_lr={opening.base_lr / 10:g}", "go back and try a tenth"))
    return lines


def _command(command: str, purpose: str) -> Text:
    return Text.assemble("  ", (f"python harness/{command}", "cyan"), (f"   # {purpose}", "dim"))
