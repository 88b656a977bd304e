"""Digests of the weights that a run recorded, read in blocks while another run repeats it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.recording.reader import Recording
from harness.recording.run_directory import read_info

Iterations = npt.NDArray[np.int64]
Digests = npt.NDArray[np.uint64]

BLOCK = 1 << 16  # rows read at a time


class RecordedDigests:
    """The digests of the run directory `run`: finished, in progress, or left behind by a killed process.

    The recording is opened only while a block of it is read, and never repaired: other files name it.

    Raises:
        RecordingError: it cannot be read.

    Attributes:
        blobs: its param blobs, as (layer, index, shape); digests of other ones cannot be compared.
        kind: how they were hashed; nor can digests of another kind.
        live: a writer still held it when it was read last.
        last: the last iteration known to be in it; -1 for none.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.live = True
        self.last = -1
        self._first = 0
        self._iterations, self._digests = np.empty(0, np.int64), np.empty(0, np.uint64)
        with Recording(run, may_repair=False) as recording:
            self.blobs = tuple((param.layer, param.index, param.shape) for param in recording.params)
            self.kind = recording.digest_kind
            self._note(recording)

    def find(self, iterations: Iterations) -> tuple[Iterations, Digests]:
        """Return those of the ascending `iterations` (at most BLOCK of them) that are recorded, and their digests."""
        wanted = iterations[iterations >= self._first]
        if len(wanted) and not self._holds(int(wanted[0]), int(wanted[-1])):
            self._read(int(wanted[0]))
        rows = np.searchsorted(self._iterations, wanted)
        wanted, rows = wanted[rows < len(self._iterations)], rows[rows < len(self._iterations)]
        found = self._iterations[rows] == wanted
        return wanted[found], self._digests[rows[found]]

    @property
    def final(self) -> tuple[int, int] | None:
        """The iteration before which the run ended, and the digest of its weights then; None if it did not state it.

        Raises:
            BadInput: run.json cannot be read.
        """
        ended = read_info(self.run).ended
        if ended is None or ended.iteration is None or ended.weight_digest is None:
            return None
        return ended.iteration, int(ended.weight_digest, 16)

    def _holds(self, first: int, last: int) -> bool:
        """Check whether the block that was read holds all that is recorded of the iterations `first` … `last`."""
        if not len(self._iterations):
            return False
        begin, end = int(self._iterations[0]), int(self._iterations[-1])
        return begin <= first and (last <= end or (end == self.last and not self.live))

    def _read(self, first: int) -> None:
        with Recording(self.run, may_repair=False) as recording:
            self._note(recording)
            rows = slice(max(0, first - self._first), max(0, first - self._first) + BLOCK)
            iterations, digests = recording.series("iteration", rows), recording.series("digest", rows)
            self._iterations, self._digests = iterations[: len(digests)], digests[: len(iterations)]

    def _note(self, recording: Recording) -> None:
        self.live = recording.live
        first, last = (recording.series("iteration", rows) for rows in (slice(1), slice(-1, None)))
        self._first, self.last = (int(first[0]), int(last[0])) if len(first) and len(last) else (0, -1)
