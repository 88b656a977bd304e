"""Restarts of a rescue: candidates, to shortly past a break, and the training that continues."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.diagnosis.robust_stats import Floats, Ints
from harness.errors import BadInput, HarnessError, RecordingError
from harness.exit_codes import Exit
from harness.recording import Recording
from harness.recording.lineage_reader import LineageReader
from harness.rescuing.healthy import last_test
from harness.rescuing.journal import State
from harness.rescuing.showing import Showing
from harness.rescuing.steps import next_leg
from harness.schemas.leg import Leg, LegResult
from harness.schemas.rescue import Candidate
from harness.studies.engine import LegEngine
from harness.studies.leg_runs import last_directory, stretches

_EVERY = 1.0  # seconds between two looks at what is under way
_LOOK = 8  # iterations at the end whose median is looked at
_SEEN = 400  # losses that are read in a look


@dataclass(frozen=True)
class Restarted:
    """A candidate that was restarted, to shortly past the break.

    Attributes:
        state: the state at its end; None if it did not get there.
        iterations, loss: (T,) what it trained, from where candidates begin.
        tests: the outputs of the first test net in its last pass; empty where none was made past the break.
        trained: iterations.
        why: a clause on why it did not get there.
    """

    candidate: Candidate
    state: State | None
    iterations: Ints
    loss: Floats
    tests: Mapping[str, float] = field(default_factory=dict)
    trained: int = 0
    why: str = ""


@dataclass(frozen=True)
class _Look:
    """A look at a leg that is under way: its last losses, and the iteration at which it is."""

    loss: tuple[float, ...]
    iteration: int


class TrainingEnded(HarnessError):
    """A restart has ended with an exit code that says nothing of its training, and why."""

    def __init__(self, code: int, why: str) -> None:
        goes_on = "" if code == Exit.BAD_INPUT else ". The same command goes on from the last snapshot"
        super().__init__(f"{why}{goes_on}")
        self.code = code


class Restarts:
    """Carries out legs with an engine, and shows them; those whose process died go on, as long as they get on.

    Attributes:
        trained: iterations that they have trained; those that were made before do not count.
    """

    def __init__(self, engine: LegEngine, showing: Showing) -> None:
        self.trained = 0
        self._engine, self._showing = engine, showing
        self._running: dict[str, tuple[Leg, str]] = {}  # and its name in what is shown, by directory
        self._made: dict[str, int] = {}  # iterations that a leg had when it was submitted, by directory
        self._poor = set[str]()  # directories of the legs that were stopped for their loss

    def run(self, leg: Leg, name: str) -> LegResult:
        """Carry out one leg."""
        self._submit(leg, name)
        not_begun = LegResult(leg=leg, directory="", code=Exit.INTERRUPTED, last=leg.start)
        return next(self._results(lambda look: False), not_begun)

    def run_candidates(
        self,
        candidates: Sequence[Candidate],
        origin: State,
        past: int,
        until: int,
        directory: Callable[[str], Path],
        poor: float,
    ) -> Iterator[Restarted]:
        """Carry out the candidates from `origin` on, until iteration `until`; yield each that has ended.

        One whose loss is above `poor` once half of the way is made is stopped. Test passes count from iteration `past`
        on, which is past the break.

        Raises:
            TrainingEnded: a recording cannot be written.
        """
        by_name = {candidate.name: candidate for candidate in candidates}
        reached: dict[str, State] = {}
        trained = dict.fromkeys(by_name, 0)
        names: dict[str, str] = {}  # by directory

        def go_on(name: str) -> bool:
            leg = next_leg(by_name[name], origin, reached.get(name), until, directory(name))
            if leg is not None:
                names[leg.directory] = name
                self._submit(leg, name)
            return leg is not None

        for name in by_name:
            go_on(name)
        half = origin.iteration + (until - origin.iteration) // 2
        for result in self._results(lambda look: _is_poor(look, half, poor)):
            name = names[result.leg.directory]
            trained[name] += result.iterations
            if result.code == Exit.RECORDING_FAILED:
                raise TrainingEnded(result.code, f"{result.directory}: {result.why}")
            why = "" if result.code == Exit.DONE else _why(result, result.leg.directory in self._poor)
            if not why:
                reached[name] = State(result.directory, result.last)
            if why or not go_on(name):
                self._showing.judged(name, not why)
                yield _restarted(by_name[name], origin, past, result, trained[name], why)

    def _submit(self, leg: Leg, name: str) -> None:
        self._running[leg.directory] = leg, name
        self._made[leg.directory] = _made(leg)
        self._engine.submit(leg)

    def _results(self, is_poor: Callable[[_Look], bool]) -> Iterator[LegResult]:
        """Yield the results of legs; those that are poor are stopped."""
        died: dict[str, int] = {}  # where the process of a leg died, by directory
        looked = 0.0
        for result in self._engine.results():
            if result is not None and _can_go_on(result, died):
                died[result.leg.directory] = result.last
                self._showing.message(f"{result.why} Going on from the last snapshot")
                self._engine.submit(result.leg)
            elif result is not None:
                _, name = self._running.pop(result.leg.directory)
                self.trained += result.iterations - self._made[result.leg.directory]
                self._showing.ended(name, result.iterations)
                yield result
            elif time.monotonic() - looked >= _EVERY:
                looked = time.monotonic()
                for leg, name in self._running.values():
                    look = _look(leg)
                    self._showing.progress(name, look.loss, look.iteration - leg.start)
                    if leg.directory not in self._poor and is_poor(look):
                        self._poor.add(leg.directory)
                        self._engine.stop(leg)
                self._showing.show()


def _made(leg: Leg) -> int:
    """Return how many iterations the run directories of a leg have."""
    with suppress(BadInput):  # the engine says why it cannot be made
        return sum(one.iterations for one in stretches(leg))
    return 0


def _can_go_on(result: LegResult, died: Mapping[str, int]) -> bool:
    """Check whether the process of a leg died, later than the one before if that died as well."""
    return result.code == Exit.WORKER_DIED and result.last > died.get(result.leg.directory, result.leg.start)


def problem(result: LegResult) -> str:
    """Say where a leg failed, and why."""
    if result.code == Exit.BAD_INPUT and result.why:
        return result.why  # it names the file
    why = result.why or f"ended with exit code {result.code}"
    return f"{result.directory or result.leg.directory}: {why}"


def _look(leg: Leg) -> _Look:
    try:
        with Recording(last_directory(leg), may_repair=False) as recording:
            count = len(recording.iterations)
            loss = recording.series("loss", slice(max(0, count - _SEEN), count))
            return _Look(tuple(loss.tolist()), int(recording.iterations[-1]) + 1 if count else leg.start)
    except (BadInput, RecordingError, OSError):  # it has not begun yet
        return _Look((), leg.start)


def _is_poor(look: _Look, half: int, limit: float) -> bool:
    last = look.loss[-_LOOK:]
    return look.iteration >= half and len(last) == _LOOK and not float(np.median(last)) <= limit


def _why(result: LegResult, was_poor: bool) -> str:
    if result.code == Exit.DIVERGED:
        return f"it diverged before iteration {result.last:,}"
    if result.code == Exit.INTERRUPTED:
        stopped = f"it was stopped at iteration {result.last:,}"
        return f"its loss stayed high, and {stopped}" if was_poor else stopped
    return result.why or f"it ended with exit code {result.code}"


def _restarted(candidate: Candidate, origin: State, past: int, result: LegResult, trained: int, why: str) -> Restarted:
    """Return what a candidate gave whose last leg has ended."""
    if not result.directory:
        return Restarted(candidate, None, np.empty(0, np.int64), np.empty(0), {}, trained, why)
    run = Path(result.directory)
    with LineageReader(Recording(run)) as lineage:
        iterations, loss = lineage.iterations, lineage.series("loss")
        kept = iterations >= origin.iteration
    state = None if why else State(result.directory, result.last)
    tests = last_test(run, past, result.last)
    return Restarted(candidate, state, iterations[kept], loss[kept], tests, trained, why)
