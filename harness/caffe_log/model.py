"""What a log of Caffe says of the training runs in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Series:
    """One quantity as it was displayed, in the order of the log: `values[i]` at `iterations[i]`.

    A NaN is one that Caffe printed; what a log does not show is in no series.
    """

    iterations: npt.NDArray[np.int64]  # (N,)
    values: npt.NDArray[np.float64]  # (N,)


@dataclass(frozen=True)
class LoggedOutput:
    """Output `place` (the number behind `#`) of a net. `weight` is its loss weight, None where it is no loss."""

    name: str
    place: int
    weight: float | None
    series: Series


@dataclass(frozen=True)
class LogRun:
    """One training run: from the start of a process, or of its iterations, to the next.

    `loss` is as displayed, smoothed over the solver's average_loss; the outputs are of single iterations (with
    iter_size, of its last forward pass). `tests[k]` are the outputs of test net k, averaged over a test pass.
    """

    loss: Series
    lr: Series
    outputs: tuple[LoggedOutput, ...]
    tests: tuple[tuple[LoggedOutput, ...], ...]
    solver_text: str | None  # the SolverParameter as printed, where the log has it
    net_text: str | None  # the train net's NetParameter, likewise
    snapshots: tuple[tuple[int, str], ...]  # iteration, file, as `Snapshotting to binary proto file` says
    resumed_from: str | None  # the solverstate, where it was restored from one
    weights_from: tuple[str, ...]  # caffemodels that it was fine-tuned from
    started: str | None  # the stamp of its first line, as printed
    last: str | None  # and of its last one
    finished: bool  # `Optimization Done`
    fatal: str | None  # the text of its FATAL line, where it died of one
    first_line: int  # line numbers in the log, from 1
    last_line: int
    others: int  # other solvers (GPUs, ranks) of this run that print as well: theirs was left out


@dataclass(frozen=True)
class Log:
    """A whole log. `lines` were read: `used` of them said something of a run, `noise` were Caffe's or others' talk,
    `damaged` look like something a run says but cannot be used; the first few of those are `examples` (line, text).
    `orphans` are whole, but belong to a display that the log does not show: it begins in the middle of one."""

    name: str
    runs: tuple[LogRun, ...]
    lines: int
    used: int
    damaged: int
    noise: int
    orphans: int
    examples: tuple[tuple[int, str], ...]
    thinned: bool  # a run had more displays than are kept: old ones were thinned out evenly
    left_out: int = 0  # older runs, where there were more than are kept
