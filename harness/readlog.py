"""Say what became of a training run, from its log alone."""

from __future__ import annotations

import argparse
import os
import select
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import BinaryIO, TextIO

if __package__ in (None, ""):  # run as a file: put the repository, not harness/, on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console
from rich.text import Text
from rich_argparse import RawDescriptionRichHelpFormatter

from harness.analysis.forensics.examine import examine
from harness.analysis.logfacts import Facts
from harness.analysis.rules.limits import Limits, read_limits
from harness.logs.model import Log
from harness.logs.reader import Reader, read_path
from harness.logs.text import open_log
from harness.recording.errors import BadInput
from harness.recording.files import write_whole
from harness.recording.outcome import Exit
from harness.rendering.forensics import Examined, one_line, show, write_csv, write_json
from harness.rendering.log_figure import check_suffix, log_figure, save
from harness.solver.prototxt.header import read_header

_EXAMPLES = """
Reads what `caffe train` printed (or the solver.log of a run directory), finds each training run in it, and says
whether it learned, collapsed to equal or saturated outputs, went to NaN or drifted; when, to the iteration; and what
the learning rate did.

Examples:
  python harness/readlog.py train.log
  python harness/readlog.py train.log --images 278000 --batch 32 --plot train.png
  caffe train --solver=S.prototxt 2>&1 | tee train.log | python harness/readlog.py - --follow

Exit codes: 0 read (whatever the verdict), 2 bad input, 130 interrupted.
"""
_EVERY = 1.0  # seconds between two looks at a growing log
_BLOCK = 1 << 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness/readlog.py",
        description=f"{__doc__}\n{_EXAMPLES}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("logs", nargs="+", metavar="LOG", help="a log, a run directory, or - for standard input")
    know = parser.add_argument_group("what the log may not say")
    know.add_argument("--classes", type=_positive, metavar="K", help="classes of the softmax losses")
    know.add_argument("--solver", type=Path, metavar="FILE", help="solver prototxt of the run")
    know.add_argument("--images", type=_positive, metavar="N", help="records of the training data: says where it broke")
    know.add_argument("--batch", type=_positive, metavar="N", help="records of a batch (default: the net's in the log)")
    know.add_argument("--rules", type=Path, metavar="FILE", help="limits other than those of rules.toml")
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
    args = _parser().parse_args(arguments)
    try:
        return _main(args)
    except BadInput as error:
        Console(stderr=True).print(Text(f"error: {error}", style="bold red"), soft_wrap=True)
        return Exit.BAD_INPUT
    except BrokenPipeError:
        # whoever read has seen enough; let no flush at exit complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _main(args: argparse.Namespace) -> int:
    _check(args)
    limits = read_limits(args.rules)
    if args.follow:
        return _follow(args, limits)
    logs = [read_path(_log_of(name)) for name in args.logs]
    _draw([found for log in logs for found in _examine(log, args, limits)], args)
    return Exit.DONE


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Not rich's way, which is to exit with 1."""
        raise BrokenPipeError


def _check(args: argparse.Namespace) -> None:
    """What can be said of the options before anything is read."""
    if args.plot is not None:
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


def _examine(log: Log, args: argparse.Namespace, limits: Limits) -> list[Examined]:
    runs = [run for run in log.runs if len(run.loss.iterations) or any(run.tests)]
    if not runs:
        raise BadInput(
            f"no training run in it, in {log.lines:,} lines",
            file=log.name,
            remedy="Give what `caffe train` printed to standard error: lines such as "
            "`I0515 08:44:41.838122  1279 solver.cpp:228] Iteration 40, loss = 9.72169`",
        )
    found = []
    for number, run in enumerate(runs, 1):
        header = read_header(run.solver_text, run.net_text, args.solver)
        facts = Facts(
            **{name: getattr(header, name) for name in header.__dataclass_fields__ if name != "batch"},
            batch=args.batch or header.batch,
            classes=args.classes,
            images=args.images,
        )
        found.append(Examined(log, number, number == len(runs), run, examine(run, facts, limits), args.solver))
    return found


def _draw(found: Sequence[Examined], args: argparse.Namespace) -> None:
    if args.plot is not None:
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
        show(found, _Console(width=None if sys.stdout.isatty() else 160, highlight=False))
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
    name = _log_of(args.logs[0])
    live = sys.stderr if args.json or args.csv == "-" else sys.stdout
    reader = Reader(name)
    said: object = None
    code = Exit.DONE
    try:
        with open_log(name) as file:
            for _ in _feed(reader, file):
                said = _say_changes(reader, args, limits, said, live)
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    reader.close()
    try:
        _draw(_examine(reader.log(), args, limits), args)
    except BadInput as error:
        if code == Exit.DONE:
            raise
        print(f"error: {error}", file=sys.stderr)
    return code


def _feed(reader: Reader, file: BinaryIO) -> Iterator[None]:
    """Give the reader what there is and what is still to come; yields when there was something new, but not often."""
    descriptor = file.fileno()
    pipe = not stat.S_ISREG(os.fstat(descriptor).st_mode)
    waiting, looked = False, 0.0
    while True:
        ready = not pipe or bool(select.select([descriptor], [], [], _EVERY)[0])
        data = os.read(descriptor, _BLOCK) if ready else b""
        if data:
            reader.feed(data)
            waiting = True
        elif pipe and ready:
            return
        # once all is read that there is; and now and then where more comes all the time
        if waiting and (not data or (pipe and time.monotonic() - looked > _EVERY)):
            waiting, looked = False, time.monotonic()
            yield
        if not data and not pipe:
            time.sleep(_EVERY / 4)


def _say_changes(reader: Reader, args: argparse.Namespace, limits: Limits, said: object, live: TextIO) -> object:
    try:
        last = _examine(reader.log(), args, limits)[-1]
    except BadInput:  # nothing has been displayed yet
        return said
    found = last.findings
    findings = (found.jump, len(found.spikes), found.nans is not None, found.recovered, found.fatal)
    now = (last.number, found.verdict, findings)
    if now != said:
        print(one_line(last), file=live, flush=True)
    return now


if __name__ == "__main__":
    sys.exit(main())
