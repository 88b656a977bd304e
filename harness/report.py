"""Write a page about a recorded run that opens offline in any browser."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

if __name__ == "__main__":  # start as `caffe-harness report` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("report", sys.argv[1:]))

import numpy as np
import numpy.typing as npt
from rich_argparse import RawDescriptionRichHelpFormatter

from harness.api.runs import diagnose, predict
from harness.atomic_write import write_whole
from harness.caffe_files.file_kind import Kind, kind_of, run_given
from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.paths import is_directory, is_file
from harness.command_parser import CommandParser
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.settings import differing_settings
from harness.exit_codes import Exit
from harness.invocation import command_line, next_command, program
from harness.output import print_result, visible
from harness.recording import BadInput, Recording, RecordingError
from harness.recording.lineage import children
from harness.recording.repeats import repeat_of
from harness.recording.run_directory import read_info
from harness.reports.console import complain
from harness.reports.figures import smoothed_losses
from harness.reports.figures.files import write_pdf, write_pngs
from harness.reports.html.figures import figures_of
from harness.reports.html.index import row_of, unreadable
from harness.reports.html.page import Compared, comparison, index, report
from harness.reports.html.subject import Subject
from harness.reports.names import curve_names
from harness.reports.suggestions import rewind_of_onset
from harness.schemas.predictions import HeadPredictions
from harness.schemas.rewind import Rewind
from harness.schemas.run_info import Parent, RunInfo
from harness.supervisor.training_spec import recorded_fields
from harness.training_data.lmdb_scan import scan_apart

_EXAMPLES = """
The page shows what happened, when and where in the net it started, on which data, and what to try next. It is a single
file and needs no server and no network. Restarts of RUN in the same directory are drawn over its loss.

Examples:
  {command} runs/quick
  {command} runs/quick --follow
  {command} runs/quick --compare runs/quick-clip_gradients=10
  {command} runs/quick --format png
  {command} runs

Exit codes: 0 written, 1 the page could not be written, 2 bad input, 130 interrupted.
"""
_FORMATS = ("html", "pdf", "png", "tensorboard")
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
        "--follow", action="store_true", help="rewrite the page while the run is in progress, until it ends"
    )
    parser.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="limits of the alarm rules (default: harness/diagnosis/thresholds.toml)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
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
        read_limits(args.rules)  # before anything is read
        if len({run.resolve() for run in (args.run, *args.compare)}) < 1 + len(args.compare):
            raise BadInput("contains the same run twice", field="--compare", remedy="Give each run once")
        return _finish(args, _follow(args) if args.follow else _write(args))
    except (BadInput, RecordingError) as error:
        complain(error)
        return Exit.BAD_INPUT
    except OSError as error:
        complain(f"{_target(args)}: cannot be written ({error.strerror})")
        return Exit.RECORDING_FAILED
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _finish(args: argparse.Namespace, written: Sequence[Path]) -> int:
    for path in written:
        print_result(str(path))
    if args.format == "html":
        with suppress(OSError):
            print(f"Open it in a browser: {visible(written[0].resolve().as_uri())}", file=sys.stderr, flush=True)
    return Exit.DONE


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
        subject = stack.enter_context(_subject(args.run, args.rules, whole=not args.compare))
        if not args.compare:
            if args.format == "html":
                write_whole(target, report(subject))
                return [target]
            figures = figures_of(subject)
        else:
            others = [stack.enter_context(_subject(run, args.rules, whole=False)) for run in args.compare]
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
    if args.follow or args.format != "html":
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
        with _subject(args.run, args.rules) as subject:
            live = subject.recording.live
            write_whole(target, report(subject, refresh=round(pause) if live else None))
        pause = max(_MIN_PAUSE, _PAUSE * (time.monotonic() - begun))
        if not live:
            return [target]
        if not announced:
            with suppress(OSError):
                print(visible(f"Following {args.run}: see {target}"), file=sys.stderr, flush=True)
            announced = True
        _rest(args.run, pause)


def _rest(run: Path, seconds: float) -> None:
    """Wait until the next page is due, or until the run has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and read_info(run).ended is None:
        time.sleep(0.5)


# -- data of a page --------------------------------------------------------------------------------------------------


@contextmanager
def _subject(run: Path, rules: Path | None, *, whole: bool = True) -> Iterator[Subject]:
    """Diagnose `run`; not for a `whole` report, without predictions, all labels and restarts: a comparison has none."""
    with ExitStack() as stack:
        recording = stack.enter_context(Recording(run))
        found = diagnose(recording, rules=rules)
        onset = found.onset.iteration if found.onset is not None else None
        if onset is not None and "weight" not in recording.window_arrays(onset) and not recording.live:
            repeat = stack.enter_context(repeat_of(run, recording, onset))
            found = found if repeat is None else found.with_windows_of(repeat)
        batch = found.batch()
        heads: tuple[HeadPredictions, ...] = ()
        unpredicted = None
        if batch is not None and recording.live:
            unpredicted = "they will be computed after the run has ended."
        elif batch is not None and batch.source == "data set":
            unpredicted = f"they need the weights of iteration {batch.iteration:,}, which no window holds."
            if isinstance(rewind_of_onset(recording, found), Rewind):
                unpredicted += " A command above records them."
        elif batch is not None and whole:
            try:
                heads = predict(found.kept, batch.iteration)
            except RecordingError as error:
                unpredicted = str(error)
        info = found.info
        yield Subject(
            run=run,
            recording=recording,
            info=info,
            base_lr=found.solver.base_lr,
            found=found,
            batch=batch,
            predictions=tuple(head for head in heads if len(head.labels) == len(batch or ())),
            unpredicted=unpredicted,
            labels=_labels(info) if batch is not None and whole else None,
            children=_children(run, stack) if whole else {},
        )


def _children(run: Path, stack: ExitStack) -> Mapping[str, Recording]:
    """Open the restarts of `run` that can be read, by their changes; where these are the same, with their names."""
    recordings: dict[str, Recording] = {}
    parents: dict[str, Parent | None] = {}
    for child in children(run):
        try:
            recording, parent = stack.enter_context(Recording(child, may_repair=False)), read_info(child).parent
        except (BadInput, RecordingError):  # damaged
            continue
        if len(recording.iterations) and parent is not None:
            recordings[child.name], parents[child.name] = recording, parent
    return dict(zip(curve_names(parents), recordings.values(), strict=True))


def _labels(info: RunInfo) -> npt.NDArray[np.int32] | None:
    """Read all labels of the training data, if the data still exist unchanged."""
    for place in info.point.places:
        source = Path(info.directory, place.source)
        if place.net == 0 and is_directory(source):  # an LMDB
            try:
                records = open_records(source, scan=scan_apart)
            except BadInput:
                return None
            return records.labels if records.fingerprint == place.fingerprint else None
    return None
