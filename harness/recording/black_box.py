"""The black box: the most recent iterations of a run, whole, in shared memory that outlives either process.

The worker writes, and the supervisor reads while it goes on: no locks, as in the ring. Iteration t lies in slot t
modulo the number of slots. Its number is published after its bytes and withdrawn before they are overwritten; x86-64
keeps stores in order. So a copy is whole if the number is the same before and after it was made.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from harness.recording.ring import MADV_POPULATE_WRITE
from harness.schemas.window import Window

MOST_SLOTS = 1024  # iterations: what is seen late, after half a second or 200 iterations, must still be there
_HEADER = 4096 + 16 * MOST_SLOTS  # bytes: the counters; the iteration of each slot, -1 if it is not whole; its digest
_ALIGN = 64
_LIBC = ctypes.CDLL(None)


class _Counter(IntEnum):
    """Index of each 8-byte counter in the first page, each in a cache line of its own."""

    VERSION = 0  # odd while the slots are laid out; written by the worker, as the next three
    SLOTS = 8
    SLOT_BYTES = 16
    HAS_PARAMS = 24  # whether slots hold weights, gradients and updates before the inputs
    WANTED_START = 32  # iterations that are to become a window; written by the supervisor
    WANTED_STOP = 40


@dataclass(frozen=True)
class KeptIteration:
    """A copy of one iteration in the black box: its arrays one after the other, and the digest of its weights."""

    iteration: int
    digest: int
    arrays: memoryview


class BlackBox:
    """A black box over the shared file `fd`. One of capacity 0 keeps nothing.

    Attributes:
        capacity: bytes for iterations.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self.capacity = len(self._map) - _HEADER
        self._counters = self._bytes[:4096].view(np.int64)
        numbers, digests = np.split(self._bytes[4096:_HEADER], 2)
        self._numbers, self._digests = numbers.view(np.int64), digests.view(np.uint64)

    @classmethod
    def create(cls, capacity: int) -> BlackBox:
        """Create a black box of `capacity` bytes; its `fd` can be passed to a child process."""
        fd = os.memfd_create("caffe-harness-black-box")
        os.ftruncate(fd, _HEADER + capacity)
        box = cls(fd)
        box._numbers[:] = -1
        return box

    @property
    def version(self) -> int:
        """Number that changes whenever the slots are laid out anew, and with them what they hold."""
        return int(self._counters[_Counter.VERSION])

    @property
    def is_being_laid_out(self) -> bool:
        """Whether the worker is dividing the memory now."""
        return bool(self.version % 2)

    @property
    def slots(self) -> int:
        """Iterations that have room."""
        return int(self._counters[_Counter.SLOTS])

    @property
    def has_params(self) -> bool:
        """Whether weights, gradients and updates are kept; if not, only inputs are."""
        return bool(self._counters[_Counter.HAS_PARAMS])

    @property
    def wanted(self) -> Window | None:
        """The iterations that are to become a window and are in no file yet."""
        start, stop = (int(self._counters[n]) for n in (_Counter.WANTED_START, _Counter.WANTED_STOP))
        return Window(start, stop) if start < stop else None

    @wanted.setter
    def wanted(self, window: Window | None) -> None:
        self._counters[_Counter.WANTED_STOP] = 0
        self._counters[_Counter.WANTED_START] = window.start if window else 0
        self._counters[_Counter.WANTED_STOP] = window.stop if window else 0

    # -- worker -----------------------------------------------------------------------------------------------------

    def room(self, nbytes: int) -> int:
        """Count the iterations of `nbytes` bytes that there is room for."""
        return min(MOST_SLOTS, self.capacity // _aligned(nbytes)) if nbytes else 0

    def lay_out(self, nbytes: int, has_params: bool, upcoming: range = range(0)) -> None:
        """Divide the memory into slots of `nbytes` bytes; what was in it is gone.

        Args:
            upcoming: iterations that will be kept; their memory is allocated in the background.
        """
        counters = self._counters
        counters[_Counter.VERSION] += 1
        self._numbers[:] = -1
        counters[_Counter.SLOTS] = self.room(nbytes)
        counters[_Counter.SLOT_BYTES] = nbytes
        counters[_Counter.HAS_PARAMS] = has_params
        counters[_Counter.VERSION] += 1
        if self.slots and upcoming:
            # the first touch of a page costs as much again as copying into it
            threading.Thread(target=self._allocate, args=(upcoming,), daemon=True).start()

    def begin(self, iteration: int) -> npt.NDArray[np.uint8]:
        """Return the memory of `iteration`, in place of that of the oldest one, to be filled."""
        slot = iteration % self.slots
        self._numbers[slot] = -1
        return self._slot(slot)

    def complete(self, iteration: int, digest: int) -> None:
        """Declare `iteration` whole; `digest` is that of its weights."""
        slot = iteration % self.slots
        self._digests[slot] = digest
        self._numbers[slot] = iteration

    def _allocate(self, upcoming: range) -> None:
        """Allocate the pages of these iterations; a kernel before 5.14 does so at their first touch."""
        slots, size = self.slots, _aligned(int(self._counters[_Counter.SLOT_BYTES]))
        first, count = upcoming.start % slots, min(len(upcoming), slots)
        for start, stop in ((first, min(first + count, slots)), (0, first + count - slots)):
            if start < stop:
                begin = (_HEADER + start * size) // mmap.PAGESIZE * mmap.PAGESIZE
                address = ctypes.c_void_p(self._bytes.ctypes.data + begin)
                length = ctypes.c_size_t(_HEADER + stop * size - begin)
                _LIBC.madvise(address, length, MADV_POPULATE_WRITE)  # not that of mmap: it holds the GIL

    # -- supervisor -------------------------------------------------------------------------------------------------

    @property
    def iterations(self) -> list[int]:
        """The iterations that are whole now, ascending."""
        return sorted(int(number) for number in self._numbers[: self.slots] if number >= 0)

    def read(self, iteration: int) -> KeptIteration | None:
        """Copy an iteration; None if it is not there, or no longer."""
        version, slots = self.version, self.slots  # each is looked up once: the worker may be changing them
        if version % 2 or not slots:
            return None
        slot = iteration % slots
        if self._numbers[slot] != iteration:
            return None
        found = KeptIteration(iteration, int(self._digests[slot]), memoryview(self._slot(slot).tobytes()))
        return found if self._numbers[slot] == iteration and self.version == version else None

    def _slot(self, slot: int) -> npt.NDArray[np.uint8]:
        nbytes = int(self._counters[_Counter.SLOT_BYTES])
        start = _HEADER + slot * _aligned(nbytes)
        return self._bytes[start : start + nbytes]


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN
