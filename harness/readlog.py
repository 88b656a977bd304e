"""Diagnose a training run from its log alone."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TextIO

if __name__ == "__main__":  # start as `caffe-harness readlog` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("readlog", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.api.logs import diagnose_log, log_file
from harness.atomic_write import write_whole
from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.follow import FollowedLog
from harness.caffe_log.model import Log
from harness.caffe_log.reader import LogReader, read_path
from harness.command_parser import CommandParser, positive
from harness.diagnosis.live.limits import Limits, read_limits
from harness.dispatch import returns_code
from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.invocation import command_line, program
from harness.output import visible, writing_results
from harness.reports.console import complain, results_console
from harness.reports.log_result import LogResult
from harness.reports.text.log_csv import write_csv
from harness.reports.text.log_json import write_json
from harness.reports.text.log_report import one_line, show

_EXAMPLES = """
Reads what `caffe train` printed (or the solver.log of a run directory), finds each training run in it, and determines
whether it learned, collapsed to equal or saturated outputs, went to NaN or drifted, at which iteration, and what the
learning rate did.

Examples:
  {command} train.log
  {command} train.log --images 278000 --batch 32 --plot train.png
  caffe train --solver=S.prototxt 2>&1 | tee train.log | {command} - --follow

Exit codes: 0 read (whatever the verdict), 1 the result could not be written, 2 bad input, 130 interrupted.
"""
_COLUMNS = 1000  # of results in a file or a pipe, where lines are not folded


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("readlog")
    parser = CommandParser(
        prog=program("readlog"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("logs", nargs="+", metavar="LOG", help="a log, a run directory, or - for standard input")
    known = parser.add_argument_group("what the log may not contain")
    known.add_argument("--classes", type=positive, metavar="K", help="number of classes of the softmax losses")
    known.add_argument("--solver", type=Path, metavar="FILE", help="the solver prototxt of the run")
    known.add_argument(
        "--images", type=positive, metavar="N", help="records of the training data, to name those read at the onset"
    )
    known.add_argument(
        "--batch", type=positive, metavar="N", help="records per batch (default: from the net in the log)"
    )
    known.add_argument("--rules", type=Path, metavar="FILE", help="limits (default: harness/diagnosis/thresholds.toml)")
    out = parser.add_argument_group("output")
    out.add_argument("--json", action="store_true", help="print one JSON object instead")
    out.add_argument("--plot", type=Path, metavar="FILE", help="draw losses, learning rate and tests: .png or .svg")
    out.add_argument(
        "--csv", nargs="?", const="-", metavar="FILE", help="write the displays as a table to FILE, or print them"
    )
    out.add_argument("--follow", action="store_true", help="keep reading as the log grows, until Ctrl-C")
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    with writing_results():
        return _main(args)
    return Exit.DONE  # the reader of a pipe has closed it


def _main(args: argparse.Namespace) -> int:
    _check(args)
    limits = read_limits(args.rules)
    if args.follow:
        return _follow(args, limits)
    found, errors = _read(args, limits)
    if found:
        _draw(found, args)
    for error in errors:
        complain(error)
    return Exit.BAD_INPUT if errors else Exit.DONE


def _read(args: argparse.Namespace, limits: Limits) -> tuple[list[LogResult], list[str]]:
    """Diagnose the logs. Returns the results, and the errors of logs that cannot be used."""
    found: list[LogResult] = []
    errors: list[str] = []
    for name in args.logs:
        try:
            found += _diagnose(read_path(log_file(name)), args, limits)
        except BadInput as error:
            errors.append(str(error))
    return found, list(dict.fromkeys(errors))


def _check(args: argparse.Namespace) -> None:
    """Check the options before anything is read."""
    if args.plot is not None:  # imported only here: Matplotlib takes longer to import than most logs to read
        from harness.reports.figures.files import check_suffix

        check_suffix(args.plot)
    if args.csv not in (None, "-") and Path(args.csv).suffix.lower() != ".csv":
        raise BadInput(
            "not the name of a table",
            field="--csv",
            value=args.csv,
            remedy="Name a file that ends in .csv; give LOG first",
        )
    if args.json and args.csv == "-":
        raise BadInput(
            "cannot be printed together with --json", field="--csv", remedy="Give --csv FILE.csv, or one of them"
        )
    if args.follow and len(args.logs) > 1:
        raise BadInput("follows a single log", field="--follow", remedy="Start one process per log")


def _diagnose(log: Log, args: argparse.Namespace, limits: Limits) -> tuple[LogResult, ...]:
    known = LogHeader(classes=args.classes, images=args.images, batch=args.batch)
    return diagnose_log(log, limits, known, args.solver)


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
        table = StringIO()
        write_csv(found, table)
        sys.stdout.write(visible(table.getvalue()) if sys.stdout.isatty() else table.getvalue())
    elif args.json:
        write_json(found, sys.stdout)
    else:
        show(found, results_console(_COLUMNS))
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
    """Print a line when the verdict changes or a finding appears, until Ctrl-C or the end of standard input."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job has it ignored
    live = sys.stderr if args.json or args.csv == "-" else sys.stdout
    followed = FollowedLog(log_file(args.logs[0]))
    shown: object = None
    restarts = 0
    code = Exit.DONE
    try:
        for _ in followed.updates():
            if followed.restarts > restarts:
                restarts, shown = followed.restarts, None
                print("The log was truncated or replaced: reading it from its beginning.", file=live, flush=True)
            shown = _print_changes(followed.reader, args, limits, shown, live)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    followed.reader.close()
    try:
        _draw(_diagnose(followed.reader.log(), args, limits), args)
    except BadInput as error:
        if code == Exit.DONE:
            raise
        complain(error)
    return code


def _print_changes(reader: LogReader, args: argparse.Namespace, limits: Limits, shown: object, live: TextIO) -> object:
    try:
        last = _diagnose(reader.log(), args, limits)[-1]
    except BadInput:  # nothing has been displayed yet
        return shown
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
    if now != shown:
        print(visible(one_line(last)), file=live, flush=True)
    return now
