"""The post-mortem of a log: for the terminal, as JSON, and its displays as CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.caffe_log.model import LogRun
from harness.diagnosis.logged.findings import RunFindings, Verdict
from harness.diagnosis.logged.tracks import TOTAL
from harness.reports.log_result import Examined

_STYLES: dict[Verdict, str] = {
    "healthy": "green",
    "uniform-softmax": "bold red",
    "saturated-softmax": "bold red",
    "nan": "bold red",
    "drift/oscillation": "bold yellow",
    "unknown": "default",
}

_FOLDED = 16  # columns that a name has at least
_ROOMY = 80


# -- terminal --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """`goes`: it is left out where the terminal is too narrow, those with the lowest number first; 0 stays."""

    title: str
    cells: tuple[str | Text, ...]
    goes: int = 0
    right: bool = False
    folds: bool = False

    @property
    def width(self) -> int:
        """That it needs."""
        width = max(cell_len(str(cell)) for cell in (self.title, *self.cells))
        return min(width, _FOLDED) if self.folds else width


def show(runs: Sequence[Examined], console: Console) -> None:
    """Print a table of the runs, and what is to be said of each."""
    several = len({run.name for run in runs}) > 1
    found = [run.findings for run in runs]
    columns = [
        *([_Column("log", tuple(run.name for run in runs), folds=True)] if several else []),
        _Column("run", tuple(str(run.number) for run in runs), goes=3 * (len(runs) == 1)),
        _Column(
            "iterations", tuple("–" if r.extent is None else "{:,} … {:,}".format(*r.extent) for r in runs), goes=5
        ),
        _Column("displays", tuple(f"{f.displays:,}" for f in found), goes=1, right=True),
        _Column("verdict", tuple(Text(f.verdict, style=_STYLES[f.verdict]) for f in found)),
        _Column("jump", tuple("–" if f.jump is None else f"{f.jump:,}" for f in found), goes=4, right=True),
        _Column("final loss", tuple(_plain(f.loss) for f in found), goes=2, right=True),
    ]
    console.print(_table(columns, console, header=True), soft_wrap=not console.is_terminal)
    for run in runs:
        console.print()
        if len(runs) > 1:
            console.print(Text(f"{run.name}, run {run.number}" if several else f"run {run.number}", style="bold"))
        if any(head.name != TOTAL for head in run.findings.heads):
            console.print(_heads(run.findings, console), soft_wrap=not console.is_terminal)
            console.print()
        for sentence in run.sentences:
            console.print(Text(sentence), soft_wrap=not console.is_terminal)


def _range(extent: tuple[int, int] | None) -> str:
    return "–" if extent is None else "{:,} … {:,}".format(*extent)


def _table(columns: Sequence[_Column], console: Console, *, header: bool) -> Table:
    """What fits of the columns; of the rest, those that fold are folded."""
    space = 3 if console.width >= _ROOMY else 2
    kept = list(columns)
    while sum(c.width + space for c in kept) - space > console.width and any(c.goes for c in kept):
        kept.remove(min((c for c in kept if c.goes), key=lambda c: c.goes))
    table = Table(box=None, pad_edge=False, padding=(0, space, 0, 0), header_style="dim", show_header=header)
    for column in kept:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.title, justify=justify, no_wrap=not column.folds, overflow="fold")
    for row in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*row)
    return table


def _heads(found: RunFindings, console: Console) -> Table:
    heads = found.heads
    classes = [f"{'about ' if h.about else ''}{h.classes} classes" if h.classes else "" for h in heads]
    columns = [
        _Column("", ("",) * len(heads), goes=1),
        _Column("", tuple(head.name for head in heads), folds=True),
        _Column("", tuple(f"weight {head.weight:g}" for head in heads), goes=3),
        _Column("", tuple(_plain(head.loss) for head in heads), right=True),
        _Column("", tuple(Text(head.state) for head in heads)),
        _Column("", tuple(Text(text, style="dim") for text in classes), goes=2),
    ]
    return _table(columns, console, header=False)


def one_line(run: Examined) -> str:
    """The state of a run that is still going on."""
    found = run.findings
    jump = f", jump at {found.jump:,}" if found.jump is not None else ""
    at = "begun" if run.extent is None else f"iteration {found.last:,}"
    return f"run {run.number}, {at}: {found.verdict}{jump}, loss {_plain(found.loss)}"


def _plain(value: float) -> str:
    """`-`: there is none, or it is no number."""
    return "-" if math.isnan(value) else f"{value:.6g}"


# -- JSON ------------------------------------------------------------------------------------------------------------


def write_json(runs: Sequence[Examined], out: TextIO) -> None:
    """One object: that of the last run, with those of all runs in `runs`."""
    objects = [_object(run) for run in runs]
    ascii_only = not (out.encoding or "utf-8").lower().startswith("utf")
    json.dump(objects[-1] | {"runs": objects}, out, allow_nan=False, indent=2, ensure_ascii=ascii_only)
    out.write("\n")


def _object(run: Examined) -> dict[str, Any]:
    found = run.findings
    onset = found.onset
    schedule = found.schedule
    return {
        "log": run.name,
        "run": run.number,
        "iterations": None if run.extent is None else list(run.extent),
        "lines": [run.run.first_line, run.run.last_line],
        "started": run.run.started,
        "last": run.run.last,
        "displays": found.displays,
        "verdict": found.verdict,
        "jump_iteration": found.jump,
        "onset": None if onset is None else {"estimate": onset.estimate, "low": onset.low, "high": onset.high},
        "heads": [
            {
                "name": h.name,
                "weight": _number(h.weight),
                "classes": h.classes,
                "about": h.about,
                "classes_from": h.source,
                "state": h.state,
                "loss": _number(h.loss),
            }
            for h in found.heads
            if h.name != TOTAL
        ],
        "suggested_watch": None if found.watch is None else "{}:{}".format(*found.watch),
        "last_good_snapshot": None
        if run.last_good is None
        else {"iteration": run.last_good[0], "file": run.last_good[1]},
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
        "spikes": [
            {"first": s.first, "last": s.last, "value": _number(s.value), "usual": _number(s.usual)}
            for s in found.spikes
        ],
        "excursions": [
            {"first": e.first, "last": e.last, "level": _number(e.level), "usual": _number(e.usual)}
            for e in found.excursions
        ],
        "nans": None
        if found.nans is None
        else {"first": found.nans.first, "count": found.nans.count, "lasting": found.nans.lasting},
        "resumed_from": found.resumed_from,
        "resumed_at": found.resumed_at,
        "weights_from": list(run.run.weights_from),
        "other_solvers": run.run.others,
        "finished": found.finished,
        "fatal": found.fatal,
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
