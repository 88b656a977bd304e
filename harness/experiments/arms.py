"""Arms of a run: each is replayed once, and its result kept in the run directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from harness.caffe_files.arm_edits import edited
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.paths import is_directory
from harness.errors import BadInput
from harness.experiments.batch_store import LIMIT, BatchStore
from harness.experiments.engine import Engine, Engines, Notice, Setting
from harness.experiments.local_pool import LocalPool, default_workers
from harness.experiments.results import DIRECTORY, Results
from harness.experiments.run_state import state_before, why_not_exact
from harness.recording.run_directory import read_info
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.arm_task import Progress, Task
from harness.schemas.listener import RunListener
from harness.supervisor.signals import Interrupts
from harness.training_data.batches import train_batches

_CONTROL = 3  # iterations of the control that a worker of another machine has to pass


class Arms:
    """Arms of the run in the directory `run`, which start at iteration `first` or later. Use it as a context manager.

    Nothing is prepared before an arm is asked for that has no result yet.

    Args:
        engines: makes the engine that replays them.
        listener, interrupts: of the replay that goes to `first` where the run kept no state.
        limit: bytes of the batches of all arms.
        follow: is told how far arms are, while `results` waits for them.
        directory: where results and batches are stored; None for the run's own folder.

    Raises:
        BadInput: run.json cannot be read, or results cannot be stored.
    """

    def __init__(
        self,
        run: Path,
        first: int,
        engines: Engines,
        listener: RunListener,
        interrupts: Interrupts,
        limit: int = LIMIT,
        follow: Callable[[Progress], None] = lambda progress: None,
        directory: Path | None = None,
    ) -> None:
        self._run, self._first, self._engines = run.resolve(), first, engines
        self._listener, self._interrupts, self._limit, self._follow = listener, interrupts, limit, follow
        self._info = read_info(run)
        self._solver = parse_text(self._info.solver, pb.SolverParameter, self._run / "run.json")
        self._net = parse_text(self._info.net, pb.NetParameter, self._run / "run.json")
        self._directory = directory or self._run / DIRECTORY
        self._results = Results(self._directory)
        self._engine: Engine | None = None
        self._store: BatchStore | None = None
        self._submitted: set[str] = set()
        self._found: list[ArmResult] = []
        self._open = ExitStack()

    def __enter__(self) -> Arms:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End all work, and let go of what it needed."""
        self._open.close()

    @property
    def not_exact(self) -> tuple[str, ...]:
        """Sentences on what may keep a replay from the recorded bits; some are known once a worker has started."""
        ready = self._engine.ready if self._engine is not None else None
        return (*why_not_exact(self._run, self._info), *(ready.not_exact if ready is not None else ()))

    def stored(self, arm: Arm) -> ArmResult | None:
        """Return the result of an arm that is in the run directory; None if there is none."""
        return self._results.load(arm)

    def prepare(self) -> None:
        """Go to `first` now, and find out which batches the data layers give, instead of with the first new arm.

        Raises:
            BadInput, RecordingError, RecordingFailed: as `submit`, of what concerns every arm.
        """
        self._prepared()

    def submit(self, arms: Iterable[Arm]) -> None:
        """Add arms to those whose results are wanted; an arm that was submitted before is left out.

        Raises:
            BadInput: an arm is not possible; there is no room for its batches.
            RecordsUnknown: what it reads cannot be told for certain, or cannot be read.
            RecordingError, RecordingFailed: the state of the run cannot be restored, or the disk is full.
        """
        for arm in arms:
            self._check(arm)
            if arm.key in self._submitted:
                continue
            stored = self._results.load(arm)
            if stored is not None:
                self._found.append(stored)
            else:
                engine, store = self._prepared()
                edited(self._solver, self._net, arm.changes, store.layers)
                engine.submit(Task(arm, store.feed(arm), store.lead(self._first, arm.start)))
            self._submitted.add(arm.key)

    def results(self) -> Iterator[ArmResult]:
        """Yield the result of each arm that was submitted and has not been yielded, those that were stored first.

        Raises:
            RecordingError: the run cannot be replayed.
            RecordingFailed: a result cannot be stored.
        """
        yield from self._stored()
        if self._engine is not None:
            for event in self._engine.events():
                if isinstance(event, Progress):
                    self._follow(event)
                elif isinstance(event, Notice):
                    self._listener.message(event.text)
                else:
                    self._results.save(event)
                    yield event
                    yield from self._stored()

    def _stored(self) -> Iterator[ArmResult]:
        """Yield the results that were found in the run directory and have not been yielded."""
        while self._found:
            yield self._found.pop(0)

    def rest(self) -> None:
        """Leave the machine to others until the next arm is submitted; all results must have been taken."""
        if self._engine is not None:
            self._engine.rest()

    def cancel(self) -> None:
        """End all work now. Signal handlers may call it."""
        if self._engine is not None:
            self._engine.cancel()

    def _control(self) -> Task:
        assert self._store is not None
        arm = Arm(self._first, _CONTROL)
        return Task(arm, self._store.feed(arm))

    def _check(self, arm: Arm) -> None:
        if arm.start < self._first:
            raise BadInput(
                f"arms start at iteration {self._first:,} or later",
                field="start",
                value=arm.start,
                remedy="Give a later start",
            )

    def _prepared(self) -> tuple[Engine, BatchStore]:
        """Return the engine and the batch store, which are made now if there are none yet."""
        if self._engine is None or self._store is None:
            layers = train_batches(self._run)
            room = self._open.enter_context(self._engines.room(self._directory))
            self._store = store = BatchStore(layers, self._solver, self._directory, room.store, self._limit)
            feed = store.feed(Arm(self._first, 1))
            payload = state_before(self._first, self._run, room.home / "replay", self._listener, self._interrupts)
            directory = self._info.directory if is_directory(Path(self._info.directory)) else str(Path.cwd())
            setting = Setting(payload, feed, room.store, directory, room.home, self._control)
            self._engine = self._engines.start(setting)
            self._open.callback(self._engine.close)
        return self._engine, self._store


def local(workers: int | None = None) -> Engines:
    """Return what makes engines of `workers` replay workers on this machine; None for as many as fill it."""
    return Engines(
        start=lambda setting: LocalPool(setting, workers or default_workers(setting.payload.info)),
        count=lambda setup: workers or default_workers(setup),
    )
