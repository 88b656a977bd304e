"""Write the displays of a log as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import TextIO

import numpy as np

from harness.caffe_log.model import LogRun
from harness.reports.log_result import LogResult


def write_csv(runs: Sequence[LogResult], out: TextIO) -> None:
    """Write one row per display: log, run, iteration, loss, lr, and each output of the train net as Caffe prints it."""
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
    """Name the column of each output. Those of outputs with several values end in a number."""
    names = [o.name for o in run.outputs]
    return [
        f"{n}#{o.number}" if names.count(n) > 1 or n in ("loss", "lr") else n
        for n, o in zip(names, run.outputs, strict=True)
    ]
