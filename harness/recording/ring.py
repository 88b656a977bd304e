"""Ring buffer in shared memory: messages from the worker to the supervisor.

One producer, one consumer, no locks. A lock held by a process that gets killed would block the other one for good; two
counters cannot. The memory is an anonymous file (memfd): it has no name that could leak, and it lives as long as either
process does, so messages of a worker that died can still be recorded.

Each message is a 32-byte header and its payload, contiguous, aligned to 64 bytes. The counters `head` and `tail` are
bytes since the start and only ever grow. Each is written by one side with a single aligned 8-byte store, after the
bytes that it publishes; x86-64 keeps stores in order, so the other side never sees a counter before the data.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

_PAGE = 4096
_ALIGN = 64
MADV_POPULATE_WRITE = 23  # madvise(2)
_HEADER = struct.Struct("<IIqqQ")  # kind, index, iteration, start, size
_POLL = 0.0005  # seconds between two looks at a full ring


class RemoteArray(Protocol):
    """An array in other memory, for example a GPU's, that can copy itself straight into the ring."""

    @property
    def nbytes(self) -> int: ...

    @property
    def data(self) -> memoryview:
        """A copy of its bytes, as numpy's `data`."""
        ...

    def copy_into(self, target: npt.NDArray[np.uint8]) -> None:
        """Fill `target`, which has `nbytes` bytes."""
        ...

    def __getitem__(self, rows: slice) -> RemoteArray: ...


Part = npt.NDArray[np.generic] | RemoteArray
MessagePayload = bytes | npt.NDArray[np.generic] | Sequence[Part]


class Kind(IntEnum):
    """Kind of a message."""

    PAD = 0  # no content: fills the ring up to its end
    LAYOUT = 1  # a Layout in MessagePack; the first message
    SLAB = 2  # rows `start`… of window array `index` at `iteration`; if there is more, the arrays after it, whole
    ACTIVATION = 3  # (A, 4) float64
    TEST = 4  # float32 outputs of test net `index`, averaged over its pass
    FRAME = 5  # one Layout.frame_dtype record: completes the iteration
    NOTE = 6  # a Note in MessagePack; End is the last message


class Request(IntEnum):
    """Request of the supervisor to the worker."""

    WAIT = 0  # build the nets, send the layout, and wait
    GO = 1  # train
    STOP = 2  # finish the iteration, take a snapshot, exit
    QUIT = 3  # finish the iteration, exit


class _Counter(IntEnum):
    """Index of each 8-byte counter in the ring's first page; each has a cache line (64 bytes) of its own."""

    HEAD = 0  # bytes ever put in; written by the producer
    TAIL = 8  # bytes ever released; written by the consumer
    REQUEST = 16  # a Request; written by the consumer
    SNAPSHOT_REQUESTS = 24  # snapshots requested so far; written by the consumer
    CHECKED_UNTIL = 32  # the first iteration whose health was not checked yet; written by the consumer
    DRAIN = 40  # the head up to which the producer wants the ring drained; written by the producer


@dataclass(frozen=True)
class Message:
    """A message that is still in the ring: `payload` is valid until its bytes are released."""

    kind: Kind
    index: int
    iteration: int
    start: int
    payload: memoryview


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


class Ring:
    """A ring buffer of `capacity` bytes over the shared file `fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        self._memory = memoryview(self._map)
        self.capacity = len(self._map) - _PAGE
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8)
        # one array each, since looking up a member of an enum takes longer than reading a counter
        self._head, self._tail, self._request, self._snapshot_requests, self._checked_until, self._drain = (
            self._counter(counter) for counter in _Counter
        )
        self._read = self.tail

    def _counter(self, counter: _Counter) -> npt.NDArray[np.uint64]:
        """(1,) `counter`, in shared memory."""
        return self._bytes[8 * counter : 8 * counter + 8].view(np.uint64)

    @classmethod
    def create(cls, capacity: int) -> Ring:
        """Create a ring of at least `capacity` bytes; its `fd` can be passed to a child process."""
        fd = os.memfd_create("caffe-harness-ring")
        os.ftruncate(fd, _PAGE + -(-capacity // _PAGE) * _PAGE)
        return cls(fd)

    def populate(self, size: int) -> None:
        """Allocate the pages of the first `size` bytes now: the first touch of one costs as much as copying into it."""
        with suppress(OSError):  # a kernel before 5.14 allocates them one by one at the first touch
            self._map.madvise(MADV_POPULATE_WRITE, 0, min(size, self.capacity) + _PAGE)

    @property
    def head(self) -> int:
        """Bytes ever put in."""
        return int(self._head[0])

    @property
    def tail(self) -> int:
        """Bytes ever released."""
        return int(self._tail[0])

    @property
    def is_filling(self) -> bool:
        """Whether a quarter of it is taken, so that it is to be emptied soon."""
        return self.head - self.tail > self.capacity // 4

    # -- requests of the supervisor ---------------------------------------------------------------------------------

    @property
    def request(self) -> Request:
        """Current request of the supervisor."""
        return Request(int(self._request[0]))

    @request.setter
    def request(self, value: Request) -> None:
        self._request[0] = value

    @property
    def snapshot_requests(self) -> int:
        """Number of snapshots that the supervisor has requested so far."""
        return int(self._snapshot_requests[0])

    def request_snapshot(self) -> None:
        """Request a snapshot after the current iteration."""
        self._snapshot_requests[0] = self.snapshot_requests + 1

    @property
    def checked_until(self) -> int:
        """The supervisor has checked the health of every iteration before this one."""
        return int(self._checked_until[0])

    @checked_until.setter
    def checked_until(self, iteration: int) -> None:
        self._checked_until[0] = iteration

    # -- producer ---------------------------------------------------------------------------------------------------

    def request_drain(self) -> bool:
        """Tell the consumer that the producer waits until everything put in so far is read; False if it was told."""
        head = self.head
        is_new = int(self._drain[0]) != head
        self._drain[0] = head
        return is_new

    @property
    def max_payload(self) -> int:
        """Bytes of the largest payload that always fits, whatever the ring's position."""
        return self.capacity // 2 - _ALIGN

    def put(
        self,
        kind: Kind,
        payload: MessagePayload,
        *,
        iteration: int = 0,
        index: int = 0,
        start: int = 0,
        alive: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Append one message, waiting while the ring is full. Several arrays are put one after the other.

        Args:
            kind: kind of the message.
            payload: bytes, one array, or several.
            iteration, index, start: fields of the header, see `Kind`.
            alive: called while waiting; False means that nobody will ever make room.

        Returns:
            False if `alive` returned False; then nothing was put in.

        Raises:
            ValueError: the payload is larger than `max_payload`.
        """
        parts = [_bytes_of(part) for part in ([payload] if isinstance(payload, bytes | np.ndarray) else payload)]
        size = sum(part.nbytes for part in parts)
        if size > self.max_payload:
            raise ValueError(f"a message of {size} bytes does not fit a ring of {self.capacity}")
        need = _aligned(_HEADER.size + size)
        head = self.head
        left = self.capacity - head % self.capacity  # contiguous bytes up to the ring's end
        pad = left if left < need else 0
        while head + pad + need - self.tail > self.capacity:
            if not alive():
                return False
            time.sleep(_POLL)
        if pad:
            offset = _PAGE + head % self.capacity
            _HEADER.pack_into(self._map, offset, Kind.PAD, 0, 0, 0, left - _HEADER.size)
        position = head + pad
        offset = _PAGE + position % self.capacity
        _HEADER.pack_into(self._map, offset, kind, index, iteration, start, size)
        offset += _HEADER.size
        for part in parts:
            target = self._bytes[offset : offset + part.nbytes]
            if isinstance(part, np.ndarray):
                target[:] = part
            else:
                part.copy_into(target)
            offset += part.nbytes
        self._head[0] = position + need
        return True

    # -- consumer ---------------------------------------------------------------------------------------------------

    @property
    def drain_requested(self) -> bool:
        """Whether the producer waits for the consumer to read."""
        return self._read < int(self._drain[0])

    @property
    def unreleased(self) -> int:
        """Bytes read but not released."""
        return self._read - self.tail

    def take_over(self) -> None:
        """Become the consumer in place of one that died: continue after the last released message."""
        self._read = self.tail

    def messages(self) -> Iterator[Message]:
        """Yield the unread messages that are in the ring now, oldest first. They stay there until `release`."""
        head = self.head
        while self._read < head:
            offset = _PAGE + self._read % self.capacity
            kind, index, iteration, start, size = _HEADER.unpack_from(self._map, offset)
            body = offset + _HEADER.size
            self._read += _aligned(_HEADER.size + size)
            if kind != Kind.PAD:
                payload = self._memory[body : body + size].toreadonly()
                yield Message(Kind(kind), index, iteration, start, payload)

    def release(self) -> None:
        """Return the space of everything read so far to the producer."""
        self._tail[0] = self._read


def _bytes_of(part: bytes | Part) -> npt.NDArray[np.uint8] | RemoteArray:
    if isinstance(part, bytes):
        return np.frombuffer(part, np.uint8)
    if isinstance(part, np.ndarray):
        return np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    return part
