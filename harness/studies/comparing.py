"""Compare the legs of a sweep with their parent, and with each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from harness.caffe_files.net_roles import accuracies
from harness.errors import BadInput, RecordingError
from harness.exit_codes import Exit
from harness.recording import Recording, run_directory
from harness.recording.lineage_reader import LineageReader
from harness.recording.readable import Readable
from harness.schemas.leg import LegResult
from harness.schemas.run_info import RunInfo
from harness.schemas.sweep import SweepLeg

LOSS = "loss"
_TEST = "test:"

Series = tuple[npt.NDArray[np.int64], npt.NDArray[Any]]


class ParentCurves:
    """The losses and test passes of the run in the directory `parent`, with which its legs are compared.

    Args:
        span: the iterations over which levels are taken.

    Raises:
        BadInput, RecordingError: it cannot be read.
    """

    def __init__(self, parent: Path, span: int) -> None:
        self._span = span
        with LineageReader(Recording(parent)) as line:
            self._losses: Series = line.iterations, line.series("loss")
            self._tests = _test_passes(line)

    def compared(self, leg: SweepLeg, result: LegResult) -> SweepLeg:
        """Return a leg with its result, compared with the parent.

        Raises:
            BadInput, RecordingError: a run of it cannot be read.
        """
        ended = msgspec.structs.replace(
            leg,
            run=Path(result.directory).name,
            code=result.code,
            last=result.last,
            why=result.why,
            iterations=result.iterations,
            seconds=result.seconds,
            worker=result.worker,
        )
        if not result.iterations:
            return ended
        start, stop = result.leg.start, min(result.last, result.leg.until)
        info = run_directory.read_info(Path(result.directory))
        onset = info.ended.onset if info.ended and info.ended.onset else None
        first = max(start, stop - self._span)
        if result.code == Exit.DIVERGED and onset is not None:
            first = max(first, min(onset.iteration, stop - 1))
        with LineageReader(Recording(result.directory)) as line:
            losses = line.iterations, line.series("loss")
            passes = {t: test for t, test in _test_passes(line).items() if start < t <= stop}
        tested = max(passes, default=None)
        return msgspec.structs.replace(
            ended,
            loss=_level(losses, first, stop),
            parent_loss=_level(self._losses, first, stop),
            test={} if tested is None else passes[tested],
            tested=tested,
            parent_test={} if tested is None else self._tests.get(tested, {}),
            onset=onset.iteration if onset else None,
        )


def best_of(legs: Sequence[SweepLeg], criterion: str, info: RunInfo) -> str | None:
    """Return the name of the best of the legs that are complete; None if none is. `info` is run.json of the parent."""
    score = _score(criterion, info)
    scored = [(score(leg), leg.name) for leg in legs if leg.code == Exit.DONE]
    known = [(value, name) for value, name in scored if value is not None and math.isfinite(value)]
    return min(known, key=lambda each: each[0])[1] if known else None


def check_criterion(criterion: str, parent: Path) -> None:
    """Check that legs can be judged by a criterion: "loss", or "test:NAME" with an output of the first test net.

    Raises:
        BadInput: they cannot.
    """
    outputs: tuple[str, ...] = ()
    with suppress(RecordingError), Recording(parent) as recording:
        outputs = recording.test_outputs() if recording.test_nets else ()
    known = [LOSS, *(f"{_TEST}{name}" for name in outputs)]
    if criterion not in known:
        raise BadInput(
            "is no criterion of this run", field="--best", value=criterion, remedy=f"Give {' or '.join(known)}"
        )


def in_words(criterion: str, info: RunInfo, span: int) -> str:
    """Say by what a leg is the best."""
    if criterion == LOSS:
        return f"lowest median loss over its last {span} iterations"
    name = criterion.removeprefix(_TEST)
    return f"{'highest' if name in accuracies(info.test_nets) else 'lowest'} {name} in its last test pass"


def _score(criterion: str, info: RunInfo) -> Callable[[SweepLeg], float | None]:
    """Return a function of legs that is lowest for the best."""
    if criterion == LOSS:
        return lambda leg: leg.loss
    name = criterion.removeprefix(_TEST)
    sign = -1 if name in accuracies(info.test_nets) else 1
    return lambda leg: sign * leg.test[name] if name in leg.test else None


def _level(series: Series, first: int, stop: int) -> float | None:
    """Return the median over the iterations `first` … `stop` - 1; None if one is missing, or it is not finite."""
    times, values = series
    rows = values[(times >= first) & (times < stop)]
    if not len(rows) or len(rows) < stop - first:
        return None
    level = float(np.median(rows))
    return level if math.isfinite(level) else None


def _test_passes(recording: Readable) -> dict[int, dict[str, float]]:
    """Return the scalar outputs of each pass of the first test net, by iteration."""
    found: dict[int, dict[str, float]] = {}
    for name in recording.test_outputs() if recording.test_nets else ():
        times, values = recording.test(name)
        if values.shape[1:] == (1,):
            for time, value in zip(times.tolist(), values[:, 0].tolist(), strict=True):
                if math.isfinite(value):
                    found.setdefault(time, {})[name] = value
    return found
