"""Find a run that repeats another bit for bit, and has a window where that has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import BadInput, RecordingError
from harness.recording.reader import Recording
from harness.recording.run_directory import read_info
from harness.schemas.run_info import RunInfo


@dataclass(frozen=True)
class Repeat:
    """A repeat of a run.

    Attributes:
        name: of its directory.
        iterations: (W,) those of its windows in which both runs had the same loss, and equal weights before and after,
            by their digests: what the window holds of them is what the first run computed.
    """

    name: str
    recording: Recording
    iterations: npt.NDArray[np.int64]


@contextmanager
def repeat_of(run: Path, recording: Recording, iteration: int) -> Iterator[Repeat | None]:
    """Find the oldest run beside `run` that trains the same net and has a window with the weights of `iteration`, in
    which it repeats `run`; None where there is none.

    Args:
        recording: that of `run`.
    """
    info = read_info(run)
    for other, known in _of_the_same_net(run, info):
        try:
            found = Recording(other, may_repair=False)
        except (BadInput, RecordingError):  # damaged
            continue
        with found:
            if "weight" not in found.window_arrays(iteration):
                continue
            same = _same(recording, info, found, known)
            if iteration in same:
                yield Repeat(other.name, found, same)
                return
    yield None


def _of_the_same_net(run: Path, info: RunInfo) -> list[tuple[Path, RunInfo]]:
    found = []
    for other in sorted(run.resolve().parent.iterdir()):
        if other == run.resolve() or not (other / "run.json").is_file() or not (other / "recording.h5").is_file():
            continue
        try:
            known = read_info(other)
        except (BadInput, OSError):  # another program's directory, or a damaged one
            continue
        if known.net == info.net:
            found.append((other, known))
    return sorted(found, key=lambda each: (each[1].started, each[0]))


def _same(one: Recording, info: RunInfo, other: Recording, known: RunInfo) -> npt.NDArray[np.int64]:
    """Return the iterations of the windows of `other` in which both runs did the same."""
    kept = other.window_iterations
    mine, others = (_weights(recording, of) for recording, of in ((one, info), (other, known)))
    losses = [dict(zip(r.iterations.tolist(), r.series("loss").tolist(), strict=False)) for r in (one, other)]

    def is_same(t: int) -> bool:
        weights = all(t + n in mine and mine[t + n] == others.get(t + n) for n in (0, 1))
        return weights and t in losses[0] and repr(losses[0][t]) == repr(losses[1].get(t))

    return np.array([t for t in kept.tolist() if is_same(t)], np.int64)


def _weights(recording: Recording, info: RunInfo) -> dict[int, int]:
    """Return the digest of the weights W_t, by t."""
    found = dict(zip(recording.iterations.tolist(), recording.series("digest").tolist(), strict=False))
    ended = info.ended
    if ended is not None and ended.iteration is not None and ended.weight_digest is not None:
        found[ended.iteration] = int(ended.weight_digest, 16)
    return found
