"""Common parts of the commands that train: their options, and the steps from a plan to an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from harness.budget import parse_budget
from harness.caffe_files.messages import caffe_directory
from harness.caffe_files.solver import display_interval
from harness.diagnosis.live.health import Health
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.live.rows import rows_before
from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.output import print_result
from harness.processes import return_large_blocks
from harness.reports.listeners import RunListeners
from harness.reports.terminal_process import TerminalProcess
from harness.schemas.layout import CAPTURES
from harness.schemas.listener import RunListener
from harness.supervisor.alarm_command import OUTPUT, AlarmCommand
from harness.supervisor.options import Options
from harness.supervisor.plan import Plan
from harness.supervisor.process_limits import raise_file_limit
from harness.supervisor.session import Session
from harness.supervisor.signals import Interrupts
from harness.supervisor.snapshot_advice import SnapshotAdvice

EXIT_CODES = """
Exit codes: 0 done, 1 the recording could not be written any further, 2 bad input (nothing was trained),
3 diverged and stopped (--on-alarm), 4 the worker, which runs Caffe, died, 130 interrupted.
"""


def add_options(parser: argparse.ArgumentParser, default_out: str) -> None:
    """Add the options of every run, however it starts. `default_out` describes the run directory without --out."""
    how = parser.add_argument_group("how to run")
    device = how.add_mutually_exclusive_group()
    device.add_argument("--cpu", action="store_true", help="run on the CPU, whatever the solver says")
    device.add_argument("--gpu", type=int, metavar="N", help="run on GPU N")
    how.add_argument("--until", type=int, metavar="N", help="stop at iteration N (default: the solver's max_iter)")
    how.add_argument(
        "--seed", type=int, metavar="N", help="random seed (default: the solver's random_seed, else one is drawn)"
    )
    how.add_argument(
        "--data",
        choices=("exact", "caffe"),
        default="exact",
        help="where a resumed run continues in its data and random numbers: exactly where the old run was, or at the "
        "first record as caffe train does (default: %(default)s)",
    )
    how.add_argument(
        "--skip-records",
        metavar="KEYS",
        help="leave these records of the training data out for good, also in all restarts: the next ones follow in "
        "their place. Keys of an LMDB (or the path in a key of convert_imageset), paths of a list of images, FILE:ROW "
        "of HDF5 files; separated by commas or line breaks, or @FILE with one a line",
    )
    how.add_argument(
        "--on-alarm",
        choices=("non_finite", "stop", "rescue", "continue"),
        default="non_finite",
        help="at which divergence to take a snapshot and stop: at the first NaN or infinity, at any that a rule finds, "
        "at any and then go on as `rescue` does, or never. Caffe cannot train on after a NaN: it spreads to every "
        "weight, and where it reaches a MAX pooling layer, Caffe writes outside of its memory, and crashes sooner or "
        "later (default: %(default)s)",
    )
    how.add_argument(
        "--budget",
        metavar="LIMIT",
        help="with --on-alarm rescue: for finding out why it broke, as for `explain`",
    )
    how.add_argument(
        "--on-alarm-exec",
        metavar="CMD",
        help="command for the shell, started once when a rule finds a divergence, whether the run stops or "
        "not. The training does not wait for it. Its environment has CAFFE_HARNESS_RUN, _ITERATION, _RULE, _MESSAGE "
        f"and _ONSET; its output goes to DIR/{OUTPUT}",
    )
    how.add_argument(
        "--on-hangup",
        choices=("continue", "stop"),
        default="continue",
        help="what to do when the terminal is closed (SIGHUP): continue without it, or take a snapshot and stop "
        "(default: %(default)s)",
    )
    how.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="limits of the alarm rules: a changed copy of harness/diagnosis/thresholds.toml",
    )

    keep = parser.add_argument_group("what to record")
    keep.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="A:B",
        help="record all weights, gradients, updates and inputs of iterations A … B-1; may be given several times",
    )
    keep.add_argument(
        "--capture",
        default=",".join(CAPTURES),
        metavar="LIST",
        help="the arrays that --watch records: some of weight, gradient, update, input and history (the solver's, with "
        "which every iteration of a window can be restarted, whatever the type of the solver; default: %(default)s)",
    )
    keep.add_argument("--out", type=Path, metavar="DIR", help=f"run directory (default: {default_out})")
    keep.add_argument("--snapshot-every", type=int, metavar="N", help="snapshot interval (default: the solver's)")
    keep.add_argument(
        "--keep-snapshots",
        type=int,
        metavar="N",
        help="keep the newest N snapshots, and in any case the last good one (default: all)",
    )
    keep.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write losses, norms and (in windows) histograms for TensorBoard, to DIR/tensorboard/",
    )
    keep.add_argument(
        "--black-box-mib",
        type=int,
        default=256,
        metavar="MIB",
        help="memory for the most recent iterations: at a divergence, those around it become a window; 0 switches this "
        "off (default: %(default)s)",
    )
    keep.add_argument(
        "--ring-mib",
        type=int,
        default=128,
        metavar="MIB",
        help="size of the ring buffer between worker and supervisor (default: %(default)s)",
    )


def options_of(args: argparse.Namespace, command: Sequence[str]) -> Options:
    """Return the values of the options that `add_options` added."""
    return Options(
        watch=tuple(args.watch),
        out=args.out,
        cpu=args.cpu,
        gpu=args.gpu,
        until=args.until,
        seed=args.seed,
        capture=args.capture,
        snapshot_every=args.snapshot_every,
        keep_snapshots=args.keep_snapshots,
        ring_mib=args.ring_mib,
        black_box_mib=args.black_box_mib,
        data=args.data,
        on_alarm=args.on_alarm,
        command=tuple(command),
    )


Make = Callable[[Callable[[int, int], None], Callable[[str], None]], Plan]


def train(make: Make, args: argparse.Namespace) -> int:
    """Carry out a run as `record` does, print its directory, and rescue it if that is asked for.

    Returns the exit code.

    Raises:
        BadInput: --budget is not a budget, or nothing is to be rescued.
    """
    budget = parse_budget(args.budget)
    if args.budget is not None and args.on_alarm != "rescue":
        raise BadInput("goes with --on-alarm rescue", field="--budget", value=args.budget, remedy="Leave it out")
    code, directory = record(make, args)
    if directory is not None:
        print_result(str(directory))
    if code == Exit.DIVERGED and args.on_alarm == "rescue" and directory is not None:
        from harness.rescuing.command import rescue_on_screen  # loaded where a run broke
        from harness.rescuing.request import RescueRequest

        return rescue_on_screen(directory, RescueRequest(until=args.until, budget=budget))
    return code


def record(make: Make, args: argparse.Namespace) -> tuple[int, Path | None]:
    """Plan a run and carry it out. Returns the exit code, and the run directory; None if nothing was trained.

    Args:
        make: makes the plan; it is given a function that receives how many of how many labels were read, and one that
            receives sentences for the user.
        args: the values of the options that `add_options` added.

    Raises:
        BadInput, RecordingError: something cannot be used. Nothing was trained.
    """
    return_large_blocks()
    interrupts = Interrupts(args.on_hangup)
    with (
        closing(TerminalProcess()) as terminal,
        closing(_listener(terminal, args)) as listener,
        terminal.showing_errors(),
    ):
        with interrupts.planning():
            raise_file_limit()
            caffe_directory()
            limits = read_limits(args.rules)
            plan = make(terminal.reading, terminal.message)
            for remark in plan.remarks:
                terminal.message(remark)
            run = plan.info.goes_on_from
            earlier = rows_before(Path(run), plan.first) if run else None
            health = Health(display_interval(plan.solver), plan.first, limits, earlier)
        following = RunListeners(SnapshotAdvice(plan, terminal.message), listener)
        session = Session(plan, following, health, interrupts)
        outcome = session.run()
    return outcome.code, None if outcome.code == Exit.BAD_INPUT else session.out


def _listener(terminal: TerminalProcess, args: argparse.Namespace) -> RunListener:
    listener: RunListener = terminal
    if args.on_alarm_exec is not None:
        listener = RunListeners(AlarmCommand(args.on_alarm_exec, terminal.message), listener)
    if args.tensorboard:
        from harness.reports.tensorboard.listener import TensorBoard  # loaded for those who ask for it

        listener = RunListeners(TensorBoard(terminal.message), listener)
    return listener
