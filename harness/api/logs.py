"""Read and diagnose the logs of any Caffe."""

from __future__ import annotations

import os
from pathlib import Path

from harness.caffe_files.file_kind import check_log, check_solver
from harness.caffe_files.log_header import LogHeader, read_header
from harness.caffe_files.messages import pb, read_text
from harness.caffe_files.net import train_net
from harness.caffe_files.paths import is_directory, is_file
from harness.caffe_files.solver_search import find_solver, given_solver
from harness.caffe_log.model import Log
from harness.caffe_log.reader import read_path
from harness.diagnosis.live.limits import Limits, read_limits
from harness.diagnosis.logged.examine import examine
from harness.errors import BadInput
from harness.reports.log_result import LogResult
from harness.supervisor.net_upgrade import upgrade_net


def read_log(
    path: str | os.PathLike[str],
    *,
    solver: str | os.PathLike[str] | None = None,
    classes: int | None = None,
    images: int | None = None,
    batch: int | None = None,
    display: int | None = None,
    average_loss: int | None = None,
    max_iter: int | None = None,
    rules: str | os.PathLike[str] | None = None,
) -> tuple[LogResult, ...]:
    """Read and diagnose what `caffe train`, or a fork of it, printed.

    What a log does not contain can be given: it makes the findings more precise.

    Args:
        path: a log (also one compressed by gzip), a run directory, or "-" for standard input.
        solver: the solver prototxt of the run.
        classes: the number of classes of the softmax losses.
        images: the number of records of the training data.
        batch: records per batch.
        display: iterations between two displays.
        average_loss: iterations over which the displayed loss is averaged.
        max_iter: the iteration at which training ends.
        rules: a file with limits instead of `harness/diagnosis/thresholds.toml`.

    Returns:
        The training runs in the log, in their order.

    Raises:
        BadInput: a file cannot be read, or the log contains no training run.

    Example:
        >>> last = harness.read_log("train.log", images=278_000)[-1]
        >>> print(last.findings.verdict, *last.sentences, sep="\\n")
    """
    known = LogHeader(
        classes=classes, images=images, batch=batch, display=display, average_loss=average_loss, max_iter=max_iter
    )
    limits = read_limits(Path(rules) if rules is not None else None)
    return diagnose_log(read_path(log_file(path)), limits, known, Path(solver) if solver is not None else None)


def log_file(path: str | os.PathLike[str]) -> str:
    """Name the log to read: a run directory stands for its solver.log.

    Raises:
        BadInput: a directory without a solver.log.
    """
    name = os.fspath(path)
    if name != "-" and is_directory(name):
        check_log(Path(name))
        if not is_file(Path(name) / "solver.log"):
            raise BadInput("a directory without a solver.log", file=name, remedy="Name a log, or a run directory")
        return str(Path(name) / "solver.log")
    return name


def diagnose_log(log: Log, limits: Limits, known: LogHeader, solver: Path | None = None) -> tuple[LogResult, ...]:
    """Diagnose the runs of a log.

    Args:
        known: what the user gave; it overrides what the log contains.
        solver: a solver file for runs whose log does not contain the solver.

    Raises:
        BadInput: the log contains no training run, or the solver file cannot be read.
    """
    if not log.runs:
        if log.name != "-":
            check_log(Path(log.name))
        raise BadInput(
            f"no training run in it, in {log.lines:,} lines",
            file=log.name,
            remedy="Give what `caffe train` printed to standard error: lines such as "
            "`I0515 08:44:41.838122  1279 solver.cpp:228] Iteration 40, loss = 9.72169`",
        )
    files = _solver_and_net(solver)
    named = given_solver(solver, files[0]) if solver is not None and files[0] is not None else None
    given = {name: value for name, value in vars(known).items() if value not in (None, (), {})}
    results = []
    for number, run in enumerate(log.runs, 1):
        header = LogHeader(**vars(read_header(run.solver_text, run.net_text, *files)) | given)
        found = examine(run, header, limits)
        file = named or (find_solver(log.name, run.solver_text) if found.jump is not None else None)
        results.append(LogResult(log, number, number == len(log.runs), run, found, header, file))
    return tuple(results)


def _solver_and_net(file: Path | None) -> tuple[pb.SolverParameter | None, pb.NetParameter | None]:
    """Read a solver file and its train net; None for what is not given or not available."""
    if file is None:
        return None, None
    check_solver(file)
    solver = read_text(file, pb.SolverParameter, "solver")
    try:
        return solver, train_net(solver, file, upgrade_net).param
    except BadInput:  # the solver may come from another machine, without its net
        return solver, None
