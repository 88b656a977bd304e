"""The training runs in a log of Caffe, as `reader` returns them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Series:
    """One displayed quantity in the order of the log: `values[i]` at `iterations[i]`.

    A NaN was printed by Caffe; values that the log does not show are absent.
    """

    iterations: npt.NDArray[np.int64]  # (N,)
    values: npt.NDArray[np.float64]  # (N,)


@dataclass(frozen=True)
class LoggedOutput:
    """Output `number` (after the `#`) of a net. `weight` is its loss weight, None if it is not a loss."""

    name: str
    number: int
    weight: float | None
    series: Series


@dataclass(frozen=True)
class LogRun:
    """One training run: from the start of a process, or of its iterations, up to the next one.

    `loss` is as displayed, smoothed over the solver's average_loss; the outputs are of single iterations (with
    iter_size, of the last forward pass). `tests[k]` are the outputs of test net k, averaged over a test pass.
    """

    loss: Series
    lr: Series
    outputs: tuple[LoggedOutput, ...]
    tests: tuple[tuple[LoggedOutput, ...], ...]
    solver_text: str | None  # the SolverParameter as printed, if the log has it
    net_text: str | None  # the train net's NetParameter, likewise
    snapshots: tuple[tuple[int, str], ...]  # iteration and file of each `Snapshotting to binary proto file`
    resumed_from: str | None  # the solverstate that was restored
    weights_from: tuple[str, ...]  # the caffemodels that were fine-tuned from
    started: str | None  # time stamp of the first line, as printed
    last: str | None  # time stamp of the last line
    finished: bool  # `Optimization Done`
    fatal: str | None  # the text of the FATAL line, if the process died of one
    first_line: int  # line numbers in the log, from 1
    last_line: int
    other_solvers: int  # other solvers (GPUs, ranks) of this run that print as well; their lines are left out
    rank: str = ""  # of the solver that was read, where the log names ranks
    outputs_left_out: int = 0  # outputs of a display that were not kept, because there are too many; losses are kept


@dataclass(frozen=True)
class Log:
    """A whole log. Each of its lines counts as used, damaged, noise or unassigned."""

    name: str
    runs: tuple[LogRun, ...]
    lines: int
    used: int  # lines with an entry about a run
    damaged: int  # lines that look like an entry, but cannot be used
    noise: int  # all other output, of Caffe or other programs
    unassigned: int  # intact lines of a display that began before the log
    examples: tuple[tuple[int, str], ...]  # line number and text of the first damaged lines
    thinned: bool  # a run had more displays than are kept: older ones were thinned out evenly
    left_out: int = 0  # older runs that were dropped, because there were more than are kept
