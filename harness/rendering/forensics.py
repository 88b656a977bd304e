"""The post-mortem of a log: for the terminal, as JSON, and its displays as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analysis.forensics.findings import RunFindings, Verdict
from harness.analysis.forensics.tracks import TOTAL
from harness.logs.model import Log, LogRun
from harness.rendering.sentences import sentences

_STYLES: dict[Verdict, str] = {
    "healthy": "green",
    "uniform-softmax": "bold red",
    "saturated-softmax": "bold red",
    "nan": "bold red",
    "drift/oscillation": "bold yellow",
    "unknown": "default",
}


@dataclass(frozen=True)
class Examined:
    """Run `number` of a log, what was found out about it, and the solver file that the user named."""

    log: Log
    number: int
    is_last: bool  # of its log
    run: LogRun
    findings: RunFindings
    solver: Path | None

    @property
    def name(self) -> str:
        return self.log.name

    @property
    def sentences(self) -> list[str]:
        """The last run of a log also has what is to be said of the log."""
        return sentences(self.findings, self.log if self.is_last else None, self.solver)


# -- terminal --------------------------------------------------------------------------------------------------------


def show(runs: Sequence[Examined], console: Console) -> None:
    """Print a table of the runs, and what is to be said of each."""
    several = len({run.name for run in runs}) > 1
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in (*(("log",) if several else ()), "run", "iterations", "displays", "verdict", "jump", "final loss"):
        table.add_column(column, justify="right" if column in ("displays", "jump", "final loss") else "left")
    for run in runs:
        found = run.findings
        table.add_row(
            *((Text(run.name),) if several else ()),
            str(run.number),
            f"{found.first:,} … {found.last:,}",
            f"{found.displays:,}",
            Text(found.verdict, style=_STYLES[found.verdict]),
            "–" if found.jump is None else f"{found.jump:,}",
            _plain(found.loss),
        )
    console.print(table, soft_wrap=not console.is_terminal)
    for run in runs:
        console.print()
        if len(runs) > 1:
            console.print(Text(f"{run.name}, run {run.number}" if several else f"run {run.number}", style="bold"))
        if any(head.name != TOTAL for head in run.findings.heads):
            console.print(_heads(run.findings), soft_wrap=not console.is_terminal)
            console.print()
        for sentence in run.sentences:
            console.print(Text(sentence), soft_wrap=not console.is_terminal)


def one_line(run: Examined) -> str:
    """The state of a run that is still going on."""
    found = run.findings
    jump = f", jump at {found.jump:,}" if found.jump is not None else ""
    return f"run {run.number}, iteration {found.last:,}: {found.verdict}{jump}, loss {_plain(found.loss)}"


def _heads(found: RunFindings) -> Table:
    grid = Table.grid(padding=(0, 3))
    for head in found.heads:
        classes = "" if head.classes is None else f"{'about ' if head.about else ''}{head.classes} classes"
        weight, state = f"weight {head.weight:g}", Text(head.state)
        grid.add_row("", Text(head.name), weight, _plain(head.loss), state, Text(classes, style="dim"))
    return grid


def _plain(value: float) -> str:
    return f"{value:.6g}"


# -- JSON ------------------------------------------------------------------------------------------------------------


def write_json(runs: Sequence[Examined], out: TextIO) -> None:
    """One object: that of the last run, with those of all runs in `runs`."""
    objects = [_object(run) for run in runs]
    json.dump(objects[-1] | {"runs": objects}, out, allow_nan=False, indent=2, ensure_ascii=False)
    out.write("\n")


def _object(run: Examined) -> dict[str, Any]:
    found = run.findings
    onset = found.onset
    schedule = found.schedule
    return {
        "log": run.name,
        "run": run.number,
        "iterations": [found.first, found.last],
        "displays": found.displays,
        "verdict": found.verdict,
        "jump_iteration": found.jump,
        "onset": None if onset is None else {"estimate": onset.estimate, "low": onset.low, "high": onset.high},
        "heads": [
            {
                "name": h.name,
                "weight": _number(h.weight),
                "classes": h.classes,
                "classes_from": h.source,
                "state": h.state,
                "loss": _number(h.loss),
            }
            for h in found.heads
            if h.name != TOTAL
        ],
        "suggested_watch": None if found.watch is None else "{}:{}".format(*found.watch),
        "loss": {"start": _number(found.start), "best": _number(found.best), "end": _number(found.loss)},
        "schedule": None
        if schedule is None
        else {
            "agrees_with_solver": schedule.agrees,
            "policy": schedule.policy,
            "base_lr": _number(schedule.base_lr),
            "power": _number(schedule.power),
            "gamma": _number(schedule.gamma),
            "max_iter": schedule.max_iter,
            "rises": [{"iteration": i, "from": _number(a), "to": _number(b)} for i, a, b in schedule.rises],
        },
        "data": None
        if found.position is None
        else {
            "epoch": found.position.epoch,
            "first_record": found.position.first,
            "last_record": found.position.last,
        },
        "findings": run.sentences,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


# -- CSV -------------------------------------------------------------------------------------------------------------


def write_csv(runs: Sequence[Examined], out: TextIO) -> None:
    """One row a display: log and run, iteration, loss, lr, and each output of the train net as Caffe printed it."""
    names = list(dict.fromkeys(label for run in runs for label in _labels(run.run)))
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["log", "run", "iteration", "loss", "lr", *names])
    for run in runs:
        log = run.run
        columns = {"loss": log.loss, "lr": log.lr}
        columns |= {label: o.series for label, o in zip(_labels(log), log.outputs, strict=True)}
        iterations = np.unique(np.concatenate([s.iterations for s in columns.values()]))
        values = {}
        for name, series in columns.items():
            shown = dict(zip(series.iterations.tolist(), series.values.tolist(), strict=True))
            values[name] = [f"{shown[i]:g}" if i in shown else "" for i in iterations.tolist()]
        blank = [""] * len(iterations)
        for row, *cells in zip(
            iterations.tolist(), *(values.get(n, blank) for n in ("loss", "lr", *names)), strict=True
        ):
            table.writerow([run.name, run.number, row, *cells])


def _labels(run: LogRun) -> list[str]:
    """A column's name for each output; outputs with several values have their place in it."""
    names = [o.name for o in run.outputs]
    return [
        f"{n}#{o.place}" if names.count(n) > 1 or n in ("loss", "lr") else n
        for n, o in zip(names, run.outputs, strict=True)
    ]
