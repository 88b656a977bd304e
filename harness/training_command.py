"""Common parts of the commands that train: the steps from their options to an exit code."""

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
from harness.schemas.listener import RunListener
from harness.supervisor.alarm_command import AlarmCommand
from harness.supervisor.options import Options
from harness.supervisor.plan import Plan
from harness.supervisor.process_limits import raise_file_limit
from harness.supervisor.session import Session
from harness.supervisor.signals import Interrupts
from harness.supervisor.snapshot_advice import SnapshotAdvice
from harness.supervisor.spawn import WaitingWorker


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


def train(make: Make, args: argparse.Namespace, worker: WaitingWorker) -> int:
    """Carry out a run as `record` does, print its directory, and rescue it if that is asked for.

    Returns the exit code.

    Raises:
        BadInput: --budget is not a budget, or nothing is to be rescued.
    """
    budget = parse_budget(args.budget)
    if args.budget is not None and args.on_alarm != "rescue":
        raise BadInput("goes with --on-alarm rescue", field="--budget", value=args.budget, remedy="Leave it out")
    code, directory = record(make, args, worker)
    if directory is not None:
        print_result(str(directory))
    if code == Exit.DIVERGED and args.on_alarm == "rescue" and directory is not None:
        from harness.rescuing.command import rescue_on_screen  # loaded where a run broke
        from harness.rescuing.request import RescueRequest

        return rescue_on_screen(directory, RescueRequest(until=args.until, budget=budget))
    return code


def record(make: Make, args: argparse.Namespace, worker: WaitingWorker) -> tuple[int, Path | None]:
    """Plan a run and carry it out. Returns the exit code, and the run directory; None if nothing was trained.

    Args:
        make: makes the plan; it is given a function that receives how many of how many labels were read, and one that
            receives sentences for the user.
        args: the values of the options that `add_options` added.
        worker: carries the run out.

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
        session = Session(plan, following, health, interrupts, worker)
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
