"""Continue a run from its last good snapshot, exactly, with other hyperparameters."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

if __name__ == "__main__":  # start as `caffe-harness restart` does
    if not __package__:  # run as a file: put the repository, not harness/, on the path
        sys.path[0] = str(Path(__file__).resolve().parents[1])
    from harness.dispatch import start

    sys.exit(start("restart", sys.argv[1:]))

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.caffe_files.edits import set_fields, set_layer_fields
from harness.caffe_files.file_kind import run_given
from harness.caffe_files.solver import display_interval
from harness.caffe_files.solverstate import HISTORY_MODES, history_scale
from harness.command_parser import CommandParser
from harness.diagnosis.last_good import Choice, last_good
from harness.diagnosis.live.limits import Limits, read_limits
from harness.diagnosis.recorded.detect import detect
from harness.errors import BadInput, RecordingError
from harness.invocation import command_line, program
from harness.recording import Recording, run_directory
from harness.recording.snapshots import damaged_in, iterations_of
from harness.schemas.run_info import Parent, RunInfo
from harness.schemas.window import parse_watch
from harness.supervisor.excluded_records import given_keys
from harness.supervisor.options import Options
from harness.supervisor.plan import Plan, make_plan
from harness.supervisor.resume import Start, from_run
from harness.supervisor.run_names import free_directory, restart_name
from harness.supervisor.training_spec import TrainingSpec, in_its_state, recorded_training_spec
from harness.training_command import EXIT_CODES, add_options, options_of, train

_EXAMPLES = """
Examples:
  {command} runs/quick --set base_lr=0.0005 --set clip_gradients=10
  {command} runs/quick --from 118000 --set-layer 'loss*/classifier:lr_mult=1'
  {command} runs/quick --skip 119010:119030
  {command} runs/quick --skip-records 00007315_cat7315.jpg,00007402_dog7402.jpg
"""
_MOST_KEYS = 10  # listed on the screen


def parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    command = command_line("restart")
    parser = CommandParser(
        prog=program("restart"),
        description=f"{__doc__}\n{_EXAMPLES.format(command=command)}{EXIT_CODES}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    what = parser.add_argument_group("what to restart, and what to change")
    what.add_argument("run", type=Path, metavar="RUN", help="the run directory to continue; it is not modified")
    what.add_argument(
        "--from",
        dest="start",
        default="last-good",
        metavar="WHEN",
        help="last-good, or an iteration: of a snapshot, in a window with history, or 0 (default: %(default)s)",
    )
    what.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the solver; may be given several times",
    )
    what.add_argument(
        "--set-layer",
        action="append",
        default=[],
        metavar="GLOB:FIELD=VALUE",
        help="set a field of all layers whose names match; may be given several times",
    )
    what.add_argument(
        "--history",
        choices=HISTORY_MODES,
        default="keep",
        help="what to do with the momentum, which holds learning rate × gradient; rescale multiplies it by "
        "new rate / old rate (default: %(default)s)",
    )
    what.add_argument(
        "--skip",
        metavar="A:B",
        help="skip the training data of iterations A … B-1, once: their records return in the next epoch, at the "
        "iteration that is shown at the start (--skip-records leaves records out for good)",
    )
    add_options(parser, "RUN-CHANGE beside RUN, as in runs/quick-clip_gradients=10")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parser().parse_args(given)
    options = options_of(args, ("restart.py", *given))
    return train(lambda progress, say: _plan(args, options, progress, say), args)


def _plan(
    args: argparse.Namespace, options: Options, progress: Callable[[int, int], None], say: Callable[[str], None]
) -> Plan:
    run = run_given(args.run).resolve()
    info = run_directory.read_info(run)
    here = Path.cwd()
    options = replace(options, skip_records=given_keys(args.skip_records))  # a file counts from here
    if Path(info.directory).is_dir():
        os.chdir(info.directory)  # from which the run's own relative paths count

    for damaged in damaged_in(run / "snapshots"):
        say(damaged)
    chosen = _choice(run, info, args.start, read_limits(args.rules))
    say(f"Restarting {run.name} at iteration {chosen.iteration:,}: {chosen.reason}")
    beside = free_directory(run.parent, _name(args, options.skip_records, run, chosen.iteration))
    options = replace(options, out=here / (options.out or beside))
    start = from_run(run, info, chosen.iteration)
    old = recorded_training_spec(run / "run.json", info)
    solver, changes = set_fields(old.solver, args.set)
    nets, layer_changes = set_layer_fields([net.param for net in old.nets], args.set_layer)
    changes += layer_changes
    for change in changes:
        say(f"Changed: {change.where}: {change.field} {change.old} → {change.new}")
    unchanged = not changes and args.history == "keep" and args.seed is None
    if unchanged and args.skip is None and not options.skip_records:
        say("Nothing is changed")
    train_net, *tests = (replace(net, param=param) for net, param in zip(old.nets, nets, strict=True))
    spec = in_its_state(TrainingSpec(run / "run.json", solver, train_net, tuple(tests), as_written=False))
    start = replace(
        start,
        scale=history_scale(spec.solver_type, args.history, old.solver, solver, start.iteration, start.step),
        skip=_skip(args.skip, start, options, solver.max_iter),
    )
    what = tuple(changes), args.history, args.skip, options.skip_records
    parent = Parent(str(run), chosen.iteration, chosen.reason, *what)
    plan = make_plan(spec, start, options, parent, progress)
    if options.skip_records:
        say(f"Left out for good: {_listed(options.skip_records)}")
    return replace(plan, title=f"{spec.train.param.name or run.name} · restart of {run.name}")


def _name(args: argparse.Namespace, skipped: Sequence[str], run: Path, start: int) -> str:
    """Name the restart after its changes, and after the iteration if the user chose it or nothing is changed."""
    changes = [*args.set, *args.set_layer]
    changes += [f"history-{args.history}"] if args.history != "keep" else []
    if args.skip is not None:
        window = parse_watch(args.skip, "--skip")
        changes.append(f"skip-{window.start}" + (f"-{window.stop}" if len(window) > 1 else ""))
    if skipped:
        changes.append(f"skip_records-{skipped[0] if len(skipped) == 1 else len(skipped)}")
    changes += [f"seed={args.seed}"] if args.seed is not None else []
    changes += ["data-caffe"] if args.data == "caffe" else []
    return restart_name(run.name, changes, start if args.start != "last-good" or not changes else None)


def _listed(keys: Sequence[str]) -> str:
    few = ", ".join(keys[:_MOST_KEYS])
    return few if len(keys) <= _MOST_KEYS else f"{few} and {len(keys) - _MOST_KEYS:,} more"


def _choice(run: Path, info: RunInfo, wanted: str, limits: Limits) -> Choice:
    with suppress(RecordingError):  # a snapshot is restarted from without a recording as well
        Recording(run).close()  # completes what a kill has left unfinished, also a snapshot
    if wanted.isascii() and wanted.isdecimal():
        return Choice(int(wanted), "as asked for")
    if wanted != "last-good":
        raise BadInput("neither last-good nor an iteration", field="--from", value=wanted, remedy="Give one of them")
    snapshots = list(iterations_of(run / "snapshots"))
    with Recording(run) as recording:
        iterations = recording.iterations
        span = display_interval(recorded_training_spec(run / "run.json", info).solver)
        onset = detect(recording, span, limits).onset
    last = int(iterations[-1]) if len(iterations) else info.first - 1
    choice = last_good(snapshots, onset, span, info.first, last)
    if choice is None:
        if onset:
            why = f"training went wrong at iteration {onset.iteration} ({onset.reason})"
        else:
            why = f"its recording ends at iteration {last}, before its snapshots" if snapshots else "it has no snapshot"
        begin = "" if info.first else "--from 0 to train from the beginning, or "
        raise BadInput(
            f"nothing good to restart from: {why}; snapshots: {', '.join(map(str, sorted(snapshots))) or 'none'}",
            file=run,
            remedy=f"Restart the run that it came from, {info.parent.run}"
            if info.parent
            else f"Give {begin}--from an iteration of a snapshot",
        )
    return choice


def _skip(text: str | None, start: Start, options: Options, max_iter: int) -> tuple[int, int] | None:
    if text is None:
        return None
    window = parse_watch(text, "--skip")
    if window.start < start.iteration:
        raise BadInput(
            f"the run goes on at iteration {start.iteration}: what comes before was learned already",
            field="--skip",
            value=text,
            remedy=f"Begin at {start.iteration} or later, or give --from an earlier iteration",
        )
    until = options.until or max_iter
    if window.start >= until:
        raise BadInput(
            f"the run ends at iteration {until}", field="--skip", value=text, remedy="Skip earlier, or train longer"
        )
    if options.data == "caffe":
        raise BadInput("needs --data exact", field="--skip", value=text, remedy="Leave --data caffe out")
    return window.start, window.stop
