"""Check the harness on a GPU, and write a report; tools/check_gpu builds what is missing and starts this."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from harness.atomic_write import write_whole
from harness.budget import parse_budget
from harness.errors import BadInput
from tools.bench.nets import ROOT
from tools.gpu_checks.checks import CHECKS, Check
from tools.gpu_checks.cuda_driver import NoGpu, find_card
from tools.gpu_checks.machine import describe
from tools.gpu_checks.place import Place
from tools.gpu_checks.process import run
from tools.gpu_checks.report import Report, markdown
from tools.gpu_checks.results import Result

_LEAST = 2.0  # seconds, below which no check is begun


def main(arguments: Sequence[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    try:
        card = None if args.cpu else find_card(args.device)
        limit = _seconds(args.time_limit)
        out = _writable(args.out or ROOT / "runs" / f"check-gpu-{time.strftime('%Y%m%d-%H%M%S')}.md", "--out")
        work = _writable(args.work / "work", "--work").parent if args.work else out.parent
    except (NoGpu, BadInput) as error:
        print(f"check_gpu: {error}", file=sys.stderr)
        return 2
    report = Report(
        title="Checks on a GPU" if card else "Checks for GPUs, tried on the CPU",
        began=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        command=shlex.join(["tools/check_gpu", *(sys.argv[1:] if arguments is None else arguments)]),
        facts=describe(card),
        checks=[check for check in CHECKS if not args.only or check.name in args.only],
        results={},
        ended=None,
    )
    home = Path(tempfile.mkdtemp(prefix="check-gpu-", dir=work)).resolve()
    os.environ["XDG_CACHE_HOME"] = str(home / ".cache")  # the labels of these LMDBs are not needed again
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        report = _check(report, Place(home, None if args.cpu else args.device), limit, out)
        code = 0 if report.all_well else 1
    except KeyboardInterrupt:
        code = 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(out)
    return code


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tools/check_gpu", description=__doc__)
    add = parser.add_argument
    names = [check.name for check in CHECKS]
    add("--device", type=int, default=0, metavar="N", help="the GPU to check (default: %(default)s)")
    add("--cpu", action="store_true", help="try all that needs no GPU, on the CPU and with smaller nets")
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"only these checks: {', '.join(names)}")
    add("--out", type=Path, metavar="FILE", help="where the report goes (default: runs/check-gpu-DATE.md)")
    add("--work", type=Path, metavar="DIR", help="where trainings are made, and removed (default: beside the report)")
    add("--time-limit", default="8m", metavar="LIMIT", help="of all checks together (default: %(default)s)")
    return parser


def _check(report: Report, place: Place, limit: float, out: Path) -> Report:
    """Run the checks of `report`, whatever becomes of them, and write it to `out` before the first and after each."""
    ends, results = time.monotonic() + limit, dict[str, Result]()
    write_whole(out, markdown(report))
    try:
        for check in report.checks:
            print(f"check_gpu: {check.name}: {check.question}", file=sys.stderr, flush=True)
            results[check.name] = result = _result(check, place, limit, ends)
            report = replace(report, results=dict(results))
            write_whole(out, markdown(report))
            print(f"check_gpu: {check.name}: {result.status} {result.found}".rstrip(), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        write_whole(out, markdown(replace(report, ended="The checks were interrupted.")))
        raise
    return report


def _result(check: Check, place: Place, limit: float, ends: float) -> Result:
    if place.gpu is None and not check.on_cpu:
        return Result("skipped", "It needs a GPU.")
    left = ends - time.monotonic()
    if left < _LEAST:
        return Result("not run", "The time limit was reached (--time-limit).")
    return run(check, place, min(left, check.share * limit))


def _seconds(text: str) -> float:
    seconds = parse_budget(text).seconds
    if seconds is None:
        raise BadInput("not a time", field="--time-limit", value=text, remedy="Give a time as in 90s or 8m")
    return seconds


def _writable(file: Path, option: str) -> Path:
    """Make the directory of `file`, and return its absolute path.

    Raises:
        BadInput: nothing can be written there.
    """
    path = file.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise BadInput(f"cannot be written to ({error.strerror})", field=option, value=str(path.parent),
                       remedy="Give a directory that you may write to") from None  # fmt: skip
    return path


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
