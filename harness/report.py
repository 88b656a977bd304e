"""Write a page about a recorded run that opens offline in any browser."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

if __name__ == "__main__":  # start as `caffe-harness report` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("report", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.api.runs import diagnose
from harness.api.subject import subject_of
from harness.atomic_write import write_whole
from harness.caffe_files.file_kind import Kind, kind_of, run_given
from harness.caffe_files.paths import is_file
from harness.command_parser import CommandParser
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.damage_span import span
from harness.diagnosis.settings import differing_settings
from harness.dispatch import returns_code
from harness.errors import BadInput, RecordingError, RecordingFailed
from harness.exit_codes import Exit
from harness.invocation import command_line, next_command, program
from harness.output import print_result, visible
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.reports.figures import smoothed_losses
from harness.reports.figures.files import write_pdf, write_pngs
from harness.reports.html.figures import figures_of
from harness.reports.html.index import row_of, unreadable
from harness.reports.html.page import Compared, comparison, index, report
from harness.reports.html.subject import Subject
from harness.reports.names import curve_names
from harness.reports.text.lineage import summary
from harness.schemas.captures import CAPTURES
from harness.supervisor.training_spec import recorded_fields

_EXAMPLES = """
The page shows what happened, when and where in the net it started, on which data, and what to try next. It is a single
file and needs no server and no network. Restarts of RUN in the same directory are drawn over its loss.

Examples:
  {command} runs/quick
  {command} runs/quick --rewind
  {command} runs/quick --follow
  {command} runs/quick --compare runs/quick-clip_gradients=10
  {command} runs/quick --format png
  {command} runs

Exit codes: 0 written, 1 the page could not be written, 2 bad input, 130 interrupted. With --rewind, no page is written
where the rewind ends with one of these; it is after its codes 3 (the replay differed from the run) and 4 (the worker
died), with what was recorded until then.
"""
_FORMATS = ("html", "pdf", "png", "tensorboard")
_WITHOUT_REPORT = (Exit.RECORDING_FAILED, Exit.BAD_INPUT, Exit.INTERRUPTED)  # of a rewind: nothing is written then
_MIN_PAUSE = 5.0  # seconds between two pages of a run in progress, at least
_PAUSE = 4  # times the time that it takes to make a page
_NICE = 10  # added to the niceness, so that the run has priority


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("report")
    parser = CommandParser(
        prog=program("report"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, or a directory of runs for an index")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        default=[],
        metavar="RUN",
        help="write one page that compares RUN with these runs",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="html",
        help="a page, only its figures, or event files for TensorBoard: losses, norms, histograms, and the records of "
        "the onset's batch (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: RUN/report.html (index.html, comparison.html, report.pdf); with --format png one file per "
        "figure, FILE-losses.png and so on; with --format tensorboard the directory RUN/tensorboard",
    )
    parser.add_argument(
        "--rewind",
        action="store_true",
        help="first record the iterations around the onset, if no window of the run has them, by an exact replay from "
        "the nearest snapshot before, which may take as long as that training did (see rewind)",
    )
    parser.add_argument(
        "--follow", action="store_true", help="rewrite the page while the run is in progress, until it ends"
    )
    parser.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="limits of the alarm rules (default: harness/diagnosis/thresholds.toml)",
    )
    return parser


@returns_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    args = parser().parse_args(arguments)
    warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in a script that the font lacks
    try:
        if kind_of(args.run) == Kind.RUNS and not args.compare:
            return _finish(args, [_index(args)])
        args.run, args.compare = run_given(args.run), [run_given(run) for run in args.compare]
        if args.follow and (args.compare or args.format != "html"):
            raise BadInput("writes the HTML page of one run", field="--follow", remedy="Omit --compare and --format")
        if args.compare and args.format == "tensorboard":
            raise BadInput(
                "TensorBoard compares the runs in a directory by itself",
                field="--compare",
                remedy="Write each run with --format tensorboard, and start tensorboard --logdir with their directory",
            )
        if args.rewind and (args.follow or args.compare):
            raise BadInput("is for the report of one run that has ended", field="--rewind", remedy="Leave it out")
        read_limits(args.rules)  # before anything is read
        if len({run.resolve() for run in (args.run, *args.compare)}) < 1 + len(args.compare):
            raise BadInput("contains the same run twice", field="--compare", remedy="Give each run once")
        rewound = _rewind(args) if args.rewind else Exit.DONE
        if rewound in _WITHOUT_REPORT:
            if rewound == Exit.INTERRUPTED:
                _say(f"{_target(args)} was not written; it is without --rewind")
            return rewound
        return _finish(args, _follow(args) if args.follow else _write(args)) or rewound
    except OSError as error:
        raise RecordingFailed(f"{_target(args)}: cannot be written ({error.strerror})") from None


def _rewind(args: argparse.Namespace) -> Exit:
    """Record the iterations around the onset, as far as no window of the run has them. Returns the exit code."""
    from harness.replay.on_screen import RewindRequest, rewind_on_screen  # loaded for those who ask for it

    with Recording(args.run) as recording:
        if recording.live:
            raise BadInput(
                "the run is in progress", field="--rewind", remedy="Wait until it has ended, or leave it out"
            )
        window = span(recording, diagnose(recording, rules=args.rules))
    if window is None:
        _say(f"{args.run} did not diverge, so that there is no onset to rewind to")
        return Exit.DONE
    return rewind_on_screen(lambda: RewindRequest(args.run, (window,), CAPTURES)).code


def _finish(args: argparse.Namespace, written: Sequence[Path]) -> int:
    for path in written:
        print_result(str(path))
    if args.format == "html":
        _say(f"Open it in a browser: {written[0].resolve().as_uri()}")
    return Exit.DONE


def _say(text: str) -> None:
    with suppress(OSError):
        print(visible(text), file=sys.stderr, flush=True)


def _target(args: argparse.Namespace) -> Path:
    if args.format == "tensorboard":
        return Path(args.out or args.run / "tensorboard")
    if kind_of(args.run) == Kind.RUNS:
        return Path(args.out or args.run / "index.html")
    name = "comparison" if args.compare else "report"
    out: Path = args.out or args.run / f"{name}.{args.format}"
    return out


def _write(args: argparse.Namespace) -> Sequence[Path]:
    target = _target(args)
    if args.format == "tensorboard":
        from harness.reports.tensorboard.export import export  # loaded for those who ask for it

        with Recording(args.run) as recording:
            found = diagnose(recording, rules=args.rules)
            export(found, found.batch(), target)
        return [target]
    with ExitStack() as stack:
        subject = stack.enter_context(subject_of(args.run, args.rules, whole=not args.compare))
        if not args.compare:
            if subject.lineage.interventions:
                _say(summary(subject.lineage))
            if args.format == "html":
                write_whole(target, subject.draw(report))
                return [target]
            figures = subject.draw(figures_of)
        else:
            others = [stack.enter_context(subject_of(run, args.rules, whole=False)) for run in args.compare]
            names = _names([args.run, *args.compare])
            if args.format == "html":
                write_whole(target, _comparison(names, subject, others))
                return [target]
            curves = curve_names({n: s.info.parent for n, s in zip(names, [subject, *others], strict=True)})
            figures = {
                "losses": smoothed_losses({n: s.recording for n, s in zip(curves, [subject, *others], strict=True)})
            }
        return write_pdf(figures, target) if args.format == "pdf" else write_pngs(figures, target)


def _comparison(names: Sequence[str], first: Subject, others: Sequence[Subject]) -> str:
    fields = recorded_fields(first.info, first.run)
    compared = [
        Compared(name, other, differing_settings(fields, recorded_fields(other.info, other.run)))
        for name, other in zip(names[1:], others, strict=True)
    ]
    return comparison(names[0], first, compared)


def _names(runs: Sequence[Path]) -> list[str]:
    """Name runs by their directories, or by their paths if two directories have the same name."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _index(args: argparse.Namespace) -> Path:
    """Write the index of a directory of runs."""
    if args.follow or args.rewind or args.format != "html":
        raise BadInput(
            "a directory of runs, of which there is an HTML index only", file=args.run, remedy="Name one of its runs"
        )
    target = _target(args)
    rows = []
    for run in sorted(path.parent for path in args.run.glob("*/run.json")):
        page = run / "report.html"
        address = quote(os.path.relpath(page.resolve(), target.resolve().parent)) if page.is_file() else None
        if not is_file(run / "recording.h5"):
            rows.append(unreadable(run.name, "no recording"))
            continue
        try:
            with Recording(run, may_repair=False) as recording:
                rows.append(row_of(run.name, address, diagnose(recording, rules=args.rules)))
        except (BadInput, RecordingError) as error:
            rows.append(unreadable(run.name, str(error)))
    write_whole(target, index(args.run.resolve().name, rows, next_command("report")))
    return target


def _follow(args: argparse.Namespace) -> Sequence[Path]:
    target = _target(args)
    os.nice(_NICE)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job has it ignored
    announced, pause = False, _MIN_PAUSE
    while True:
        begun = time.monotonic()
        with subject_of(args.run, args.rules) as subject:
            live = subject.recording.live
            write_whole(target, subject.draw(partial(report, refresh=round(pause) if live else None)))
        pause = max(_MIN_PAUSE, _PAUSE * (time.monotonic() - begun))
        if not live:
            return [target]
        if not announced:
            _say(f"Following {args.run}: see {target}")
            announced = True
        _rest(args.run, pause)


def _rest(run: Path, seconds: float) -> None:
    """Wait until the next page is due, or until the run has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and read_info(run).ended is None:
        time.sleep(0.5)
