"""Say what became of a training run, from its log alone."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import TextIO

if __name__ == "__main__" and not __package__:  # run as a file: start as `caffe-harness readlog` does
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository, not harness/
    from harness.dispatch import start

    sys.exit(start("readlog", sys.argv[1:]))

from rich.console import Console
from rich.text import Text
from rich_argparse import RawDescriptionRichHelpFormatter

from harness.atomic_write import write_whole
from harness.caffe_files.log_header import read_header
from harness.caffe_files.messages import pb, read_text
from harness.caffe_files.net import train_net
from harness.caffe_log.follow import FollowedLog
from harness.caffe_log.model import Log
from harness.caffe_log.reader import LogReader, read_path
from harness.diagnosis.live.limits import Limits, read_limits
from harness.diagnosis.logged.examine import examine
from harness.errors import BadInput
from harness.invocation import command_line, program
from harness.reports.log_result import LogResult
from harness.reports.text.log_csv import write_csv
from harness.reports.text.log_json import write_json
from harness.reports.text.log_report import one_line, show
from harness.schemas.outcome import Exit
from harness.supervisor.net_upgrade import upgrade_net

_EXAMPLES = """
Reads what `caffe train` printed (or the solver.log of a run directory), finds each training run in it, and says
whether it learned, collapsed to equal or saturated outputs, went to NaN or drifted; when, to the iteration; and what
the learning rate did.

Examples:
  {command} train.log
  {command} train.log --images 278000 --batch 32 --plot train.png
  caffe train --solver=S.prototxt 2>&1 | tee train.log | {command} - --follow

Exit codes: 0 read (whatever the verdict), 1 the result could not be written, 2 bad input, 130 interrupted.
"""
_NO_TERMINAL = 1000  # columns: nothing is folded for a file or a pipe


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("readlog")
    parser = argparse.ArgumentParser(
        prog=program("readlog"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("logs", nargs="+", metavar="LOG", help="a log, a run directory, or - for standard input")
    know = parser.add_argument_group("what the log may not say")
    know.add_argument("--classes", type=_positive, metavar="K", help="classes of the softmax losses")
    know.add_argument("--solver", type=Path, metavar="FILE", help="solver prototxt of the run")
    know.add_argument("--images", type=_positive, metavar="N", help="records of the training data: says where it broke")
    know.add_argument("--batch", type=_positive, metavar="N", help="records of a batch (default: the net's in the log)")
    know.add_argument("--rules", type=Path, metavar="FILE", help="limits other than those of thresholds.toml")
    out = parser.add_argument_group("what to make of it")
    out.add_argument("--json", action="store_true", help="print one JSON object instead")
    out.add_argument("--plot", type=Path, metavar="FILE", help="draw losses, learning rate and tests: .png or .svg")
    out.add_argument("--csv", nargs="?", const="-", metavar="FILE", help="the displays as a table: to FILE, or printed")
    out.add_argument("--follow", action="store_true", help="go on reading as the log grows, until Ctrl-C")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    if sys.stdout is None:
        _complain("standard output is closed")
        return Exit.RECORDING_FAILED
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal or a file of another encoding
    try:
        return _main(args)
    except BadInput as error:
        _complain(error)
        return Exit.BAD_INPUT
    except BrokenPipeError:
        # whoever read has seen enough
        _silence()
        return Exit.DONE
    except OSError as error:  # not of the logs or of the files to write: those are bad input
        _silence()
        _complain(f"standard output cannot be written ({error.strerror})")
        return Exit.RECORDING_FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _main(args: argparse.Namespace) -> int:
    _check(args)
    limits = read_limits(args.rules)
    if args.follow:
        return _follow(args, limits)
    found, errors = _read(args, limits)
    if found:
        _draw(found, args)
    for error in errors:
        _complain(error)
    return Exit.BAD_INPUT if errors else Exit.DONE


def _complain(error: object) -> None:
    with suppress(OSError):
        Console(stderr=True).print(Text(f"error: {error}", style="bold red"), soft_wrap=True)


def _silence() -> None:
    """Let no flush at exit complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read(args: argparse.Namespace, limits: Limits) -> tuple[list[LogResult], list[str]]:
    """What was found in the logs, and what is wrong with those that cannot be used."""
    found: list[LogResult] = []
    errors: list[str] = []
    for name in args.logs:
        try:
            found += _examine(read_path(_log_of(name)), args, limits)
        except BadInput as error:
            errors.append(str(error))
    return found, list(dict.fromkeys(errors))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Not rich's way, which is to exit with 1."""
        raise BrokenPipeError


def _check(args: argparse.Namespace) -> None:
    """What can be said of the options before anything is read."""
    if args.plot is not None:  # only then: Matplotlib takes longer to import than most logs to read
        from harness.reports.figures.files import check_suffix

        check_suffix(args.plot)
    if args.csv not in (None, "-") and Path(args.csv).suffix.lower() != ".csv":
        raise BadInput(
            "not a table's name", field="--csv", value=args.csv, remedy="Name a file that ends in .csv; give LOG first"
        )
    if args.json and args.csv == "-":
        raise BadInput("prints another thing than --json", field="--csv", remedy="Give --csv FILE.csv, or one of them")
    if args.follow and len(args.logs) > 1:
        raise BadInput("follows one log", field="--follow", remedy="Start it once for each")


def _log_of(name: str) -> str:
    """A run directory stands for its solver.log."""
    path = Path(name)
    if name != "-" and path.is_dir():
        if not (path / "solver.log").is_file():
            raise BadInput("a directory without a solver.log", file=name, remedy="Name a log, or a run directory")
        return str(path / "solver.log")
    return name


def _examine(log: Log, args: argparse.Namespace, limits: Limits) -> list[LogResult]:
    if not log.runs:
        raise BadInput(
            f"no training run in it, in {log.lines:,} lines",
            file=log.name,
            remedy="Give what `caffe train` printed to standard error: lines such as "
            "`I0515 08:44:41.838122  1279 solver.cpp:228] Iteration 40, loss = 9.72169`",
        )
    given = _given(args.solver)
    found = []
    for number, run in enumerate(log.runs, 1):
        header = read_header(run.solver_text, run.net_text, *given)
        header = replace(header, batch=args.batch or header.batch, classes=args.classes, images=args.images)
        found.append(LogResult(log, number, number == len(log.runs), run, examine(run, header, limits), args.solver))
    return found


def _given(solver_file: Path | None) -> tuple[pb.SolverParameter | None, pb.NetParameter | None]:
    """The solver that the user names, and its train net; None for what is not given, or not here."""
    if solver_file is None:
        return None, None
    solver = read_text(solver_file, pb.SolverParameter, "solver")
    try:
        return solver, train_net(solver, solver_file, upgrade_net).param
    except BadInput:  # written on another machine: its net need not be here
        return solver, None


def _draw(found: Sequence[LogResult], args: argparse.Namespace) -> None:
    if args.plot is not None:
        from harness.reports.figures.files import save
        from harness.reports.figures.log import log_figure

        with _writing("--plot", args.plot):
            save(log_figure(found), args.plot)
    if args.csv not in (None, "-"):
        table = StringIO()
        write_csv(found, table)
        with _writing("--csv", args.csv):
            write_whole(Path(args.csv), table.getvalue())
    if args.csv == "-":
        write_csv(found, sys.stdout)
    elif args.json:
        write_json(found, sys.stdout)
    else:
        show(found, _Console(width=None if sys.stdout.isatty() else _NO_TERMINAL, highlight=False))
    sys.stdout.flush()


@contextmanager
def _writing(option: str, path: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(
            f"cannot be written ({error.strerror})", field=option, value=path, remedy="Name another file"
        ) from None


# -- a log that grows ------------------------------------------------------------------------------------------------


def _follow(args: argparse.Namespace, limits: Limits) -> int:
    """Say when the verdict changes or a finding appears, until Ctrl-C or the end of standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job has it ignored
    live = sys.stderr if args.json or args.csv == "-" else sys.stdout
    followed = FollowedLog(_log_of(args.logs[0]))
    said: object = None
    restarts = 0
    code = Exit.DONE
    try:
        for _ in followed.updates():
            if followed.restarts > restarts:
                restarts, said = followed.restarts, None
                print("The log was cut short or replaced: read anew from its beginning.", file=live, flush=True)
            said = _say_changes(followed.reader, args, limits, said, live)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    followed.reader.close()
    try:
        _draw(_examine(followed.reader.log(), args, limits), args)
    except BadInput as error:
        if code == Exit.DONE:
            raise
        _complain(error)
    return code


def _say_changes(reader: LogReader, args: argparse.Namespace, limits: Limits, said: object, live: TextIO) -> object:
    try:
        last = _examine(reader.log(), args, limits)[-1]
    except BadInput:  # nothing has been displayed yet
        return said
    found = last.findings
    findings = (
        found.jump and found.jump.iteration,
        len(found.deviations.spikes),
        len(found.deviations.excursions),
        found.nans is not None,
        found.deviations.recovery,
        found.lifecycle.fatal,
    )
    now = (last.number, found.verdict, findings)
    if now != said:
        print(one_line(last), file=live, flush=True)
    return now


if __name__ == "__main__":
    sys.exit(main())
