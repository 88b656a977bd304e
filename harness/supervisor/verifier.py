"""Compare the weights of a run with those that the run before it recorded, by digest, while its frames arrive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from harness.diagnosis.first_change import unchanged_through
from harness.errors import BadInput, RecordingError
from harness.recording.digests import BLOCK, Digests, Iterations, RecordedDigests
from harness.recording.lineage import continuations
from harness.recording.run_directory import read_info
from harness.schemas.events import End, Event, Frames
from harness.schemas.layout import Layout
from harness.schemas.run_info import RunInfo, Verification

_UNREADABLE = (BadInput, RecordingError, OSError, RuntimeError, LookupError, ValueError)  # h5py's, of damaged files


class Verifier:
    """Compares the run of `info`, in the directory `out`, for as long as nothing was changed.

    Where the run that it continues ends, an unchanged continuation of that run takes its place. A run that
    cannot be read is no error: `result` says so.

    Attributes:
        result: the comparison so far; None for a new training.
    """

    def __init__(self, info: RunInfo, out: Path) -> None:
        self._info, self._out = info, out
        self._other: RecordedDigests | None = None
        self._end: End | None = None
        self.result: Verification | None = None
        if info.goes_on_from is not None:
            self.result = Verification(against=(info.goes_on_from,))
        elif info.first:
            self.result = Verification(problem="no recording of the training that it continues is known")

    def receive(self, event: Event) -> bool:
        """Receive an event from the worker. Returns True if it brought the first difference."""
        match event:
            case Layout():
                return self._shows_difference(lambda: self._begin(event))
            case Frames(rows):
                return self._shows_difference(lambda: self._compare_rows(rows))
            case End():
                self._end = event  # may arrive before the last frames
        return False

    def finish(self) -> bool:
        """Compare the final weights, after all frames. Returns True if they are the first that differ."""
        end = self._end
        return end is not None and self._shows_difference(
            lambda: self._compare_final(end.iteration, int(end.weight_digest, 16))
        )

    def _shows_difference(self, compare: Callable[[], None]) -> bool:
        if self.result is None or self.result.problem is not None:
            return False
        before = self.result.first_difference
        try:
            compare()
        except _UNREADABLE as error:
            self._note(problem=str(error))
        return before is None and self.result.first_difference is not None

    def _begin(self, layout: Layout) -> None:
        run = Path(self._info.goes_on_from or "")
        files = run / "run.json", self._out / "run.json"
        self._note(unchanged_through=unchanged_through(read_info(run), self._info, files))
        self._other = RecordedDigests(run)
        if self._other.blobs != tuple((param.layer, param.index, param.shape) for param in layout.params):
            self._note(problem=f"{run} trains other param blobs")
        elif self._other.kind != self._info.digest_kind:
            self._note(
                problem=f"{run} hashed its weights by {self._other.kind}, and this run by {self._info.digest_kind}"
            )

    def _compare_rows(self, rows: npt.NDArray[np.void]) -> None:
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            self._compare(part["iteration"].astype(np.int64), part["digest"].astype(np.uint64))

    def _compare(self, iterations: Iterations, digests: Digests) -> None:
        kept = self._in_range(iterations)
        iterations, digests = iterations[kept], digests[kept]
        while self._other is not None and len(iterations):
            found, theirs = self._other.find(iterations)
            self._count(found, digests[np.isin(iterations, found)] == theirs)
            if self._other.live:
                return
            later = iterations > self._other.last
            iterations, digests = iterations[later], digests[later]
            if len(iterations):
                done = self._compare_with_final(int(iterations[0]), int(digests[0]))
                iterations, digests = iterations[done:], digests[done:]
                self._other = self._continuation(self._other)

    def _in_range(self, iterations: Iterations) -> npt.NDArray[np.bool_]:
        assert self.result is not None
        last = self.result.unchanged_through
        return np.full(len(iterations), True) if last is None else iterations <= last

    def _compare_with_final(self, iteration: int, digest: int) -> int:
        """Compare with the final weights of the other run. Returns the number of iterations compared: one or none."""
        assert self._other is not None
        final = self._other.final
        if final is None or final[0] != iteration:
            return 0
        self._count(np.array([iteration]), np.array([final[1] == digest]))
        return 1

    def _compare_final(self, iteration: int, digest: int) -> None:
        """Compare the weights after the last iteration of the run."""
        if self._other is None or not self._in_range(np.array([iteration])).all():
            return
        found, theirs = self._other.find(np.array([iteration]))
        final = self._other.final
        if len(found):
            equal = int(theirs[0]) == digest
        elif final is not None and final[0] == iteration:
            equal = final[1] == digest
        else:
            return
        self._note(final=equal)
        if not equal:
            self._differ(iteration)

    def _count(self, iterations: Iterations, equal: npt.NDArray[np.bool_]) -> None:
        if not len(iterations):
            return
        result = self.result
        assert result is not None
        assert self._other is not None
        self._note(
            against=tuple(dict.fromkeys([*result.against, str(self._other.run)])),
            first=int(iterations[0]) if result.first is None else result.first,
            through=int(iterations[-1]),
            compared=result.compared + len(iterations),
            equal=result.equal + int(equal.sum()),
        )
        if not equal.all():
            self._differ(int(iterations[~equal][0]))

    def _differ(self, iteration: int) -> None:
        assert self.result is not None
        if self.result.first_difference is None:
            self._note(first_difference=iteration)

    def _continuation(self, other: RecordedDigests) -> RecordedDigests | None:
        """Find an unchanged relative of `other` that recorded what comes after its end."""
        seen, queue = {self._out.resolve(), other.run.resolve()}, [other.run]
        while queue:
            for run in _unchanged_relatives(queue.pop(0)):
                if run.resolve() not in seen:
                    seen.add(run.resolve())
                    queue.append(run)
                    with suppress(*_UNREADABLE):
                        found = RecordedDigests(run)
                        if found.kind == other.kind and (found.last > other.last or found.live):
                            return found
        return None

    def _note(self, **fields: object) -> None:
        assert self.result is not None
        self.result = msgspec.structs.replace(self.result, **fields)


def _unchanged_relatives(run: Path) -> list[Path]:
    """List the runs that continue `run` with nothing changed, and the run that it continues itself in this way."""
    found = []
    with suppress(*_UNREADABLE):
        info = read_info(run)
        for later in continuations(run):
            with suppress(*_UNREADABLE):
                if _repeats(info, read_info(later)):
                    found.append(later)
        if info.goes_on_from is not None and _repeats(read_info(Path(info.goes_on_from)), info):
            found.append(Path(info.goes_on_from))
    return found


def _repeats(then: RunInfo, now: RunInfo) -> bool:
    return not now.not_exact and unchanged_through(then, now) is None
