"""Replay a stretch of a run into a temporary run directory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness.caffe_files.messages import pb
from harness.caffe_files.solver import display_interval
from harness.diagnosis.first_change import acts_in_tests
from harness.diagnosis.live.health import Health
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.live.rows import rows_before
from harness.recording.run_directory import read_info
from harness.replay.starts import start_of
from harness.schemas.captures import CAPTURES
from harness.schemas.events import Event
from harness.schemas.layout import Alarm
from harness.schemas.listener import RunListener
from harness.schemas.outcome import Divergence, Opening, Outcome
from harness.schemas.run_info import Parent, RunInfo, Verification
from harness.schemas.window import Window
from harness.supervisor.options import Options
from harness.supervisor.plan import Plan, make_plan
from harness.supervisor.process_limits import raise_file_limit
from harness.supervisor.session import Session
from harness.supervisor.signals import Interrupts
from harness.supervisor.spawn import WaitingWorker
from harness.supervisor.training_spec import TrainingSpec, recorded_training_spec

_NEVER = (1 << 31) - 1  # the largest int: an iteration that no training reaches


@dataclass(frozen=True)
class Replay:
    """A stretch of a run that is to be repeated as it was.

    Attributes:
        run: the run directory whose training is repeated; it is only read.
        first: an iteration from which it can be repeated (`nearest` finds one).
        until: the iteration before which the replay ends; `first` to take a snapshot of what is there.
        watch: iterations whose arrays are kept.
        capture: the kinds of these arrays.
        snapshot: take a snapshot at the end, of the state before iteration `until`.
        stop_at_difference: end at the first digest that differs from the recorded one.
    """

    run: Path
    first: int
    until: int
    watch: tuple[Window, ...] = ()
    capture: tuple[str, ...] = CAPTURES
    snapshot: bool = False
    stop_at_difference: bool = True


@dataclass(frozen=True)
class Replayed:
    """What a replay has left.

    Attributes:
        directory: a run directory with recording.h5 and snapshots/, for the caller to remove; it is gone already where
            Caffe refused the input (`outcome.code` is BAD_INPUT, and `outcome.sentence` the message).
        verification: which iterations had the recorded digest.
        outcome: how the replay ended.
    """

    directory: Path
    verification: Verification
    outcome: Outcome


def replay(request: Replay, out: Path, listener: RunListener, interrupts: Interrupts) -> Replayed:
    """Repeat a stretch of a run.

    Alarms do not end a replay, and are shown to nobody; nor are the messages of the run itself. There is no black box,
    and test passes are left out where training does not depend on them.

    Args:
        out: the run directory to make, which is empty or does not exist.
        listener: receives `start`, `event` and `tick`.
        interrupts: may end it.

    Raises:
        BadInput: the run cannot be repeated from there: a file is missing or has changed. Nothing was started.
        RecordingError: the recording of the run cannot be read.
    """
    run, out = request.run.resolve(), out.absolute()
    info = read_info(run)
    raise_file_limit()
    with WaitingWorker() as worker, working_directory(info):
        plan = _plan(request, run, info, out)
        health = Health(display_interval(plan.solver), plan.first, read_limits(), rows_before(run, plan.first))
        session = Session(plan, _Progress(listener), health, interrupts, worker)
        outcome = session.run()
    found = session.verifier.result
    assert found is not None  # the replay continues a run
    return Replayed(session.out, found, outcome)


@contextmanager
def working_directory(info: RunInfo) -> Iterator[None]:
    """Work in the directory from which the paths of a run count inside the block, if it is still there."""
    if not Path(info.directory).is_dir():
        yield
        return
    with chdir(info.directory):
        yield


def _plan(request: Replay, run: Path, info: RunInfo, out: Path) -> Plan:
    start = start_of(run, info, request.first)
    options = Options(
        watch=tuple(map(str, request.watch)),
        out=out,
        until=max(request.until, request.first + 1),  # a run of no iteration is refused
        capture=",".join(request.capture),
        black_box_mib=0,
        snapshot_every=0,
        on_alarm="continue",
        on_difference="stop" if request.stop_at_difference else "continue",
    )
    spec = recorded_training_spec(run / "run.json", info)
    parent = Parent(str(run), request.first, "to repeat it")
    plan = make_plan(replace(spec, solver=_solver(spec, request.snapshot)), start, options, parent)
    info = msgspec.structs.replace(plan.info, until=request.until)
    return replace(plan, payload=replace(plan.payload, info=info))


def _solver(spec: TrainingSpec, snapshot: bool) -> pb.SolverParameter:
    """Return the solver of `spec` without test passes that training does not depend on; `snapshot`: take one at the
    end.
    """
    solver = pb.SolverParameter()
    solver.CopyFrom(spec.solver)
    solver.snapshot_after_train = snapshot
    if spec.tests and not any(acts_in_tests(net.param) for net in spec.tests):
        solver.test_interval = _NEVER
        solver.test_initialization = False
    return solver


class _Progress:
    """Passes on to `listener` how far a replay is."""

    def __init__(self, listener: RunListener) -> None:
        self._listener = listener

    @property
    def dropped(self) -> str | None:
        return self._listener.dropped

    def start(self, opening: Opening) -> None:
        self._listener.start(opening)

    def event(self, event: Event) -> None:
        self._listener.event(event)

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        """The run that is repeated has raised them itself."""

    def message(self, text: str) -> None:
        """What a run says to its user does not fit a replay."""

    def tick(self, recorded_bytes: int) -> None:
        self._listener.tick(recorded_bytes)

    def finish(self, outcome: Outcome) -> None:
        """The caller says how it ended."""

    def close(self) -> None:
        """The caller closes the listener."""
