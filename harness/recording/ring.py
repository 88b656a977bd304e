"""The ring: messages from the solver process to the harness process through shared memory.

One producer, one consumer, no locks. A lock held by a process that gets killed would stop the other for good; two
counters cannot. The memory is an anonymous file (memfd): it has no name that could leak, and it lives as long as either
process does, so what the solver process had put in before it died is still there to be written.

Each message is a 32-byte header and its payload, contiguous, aligned to 64 bytes. `head` and `tail` count bytes since
the start and only ever grow. Each is written by one side with a single aligned 8-byte store, after the bytes that it
publishes; x86-64 keeps stores in order, so the other side never sees a counter before the data.
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
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_PAGE = 4096
_ALIGN = 64
_MADV_POPULATE_WRITE = 23  # madvise(2)
_HEADER = struct.Struct("<IIqqQ")  # kind, index, iteration, start, size


class RemoteArray(Protocol):
    """An array in other memory, a GPU's for one, that copies itself straight into the ring."""

    @property
    def nbytes(self) -> int: ...

    @property
    def data(self) -> memoryview:
        """Its bytes, as numpy's `data`; a copy."""
        ...

    def copy_into(self, target: npt.NDArray[np.uint8]) -> None:
        """Fill `target`, which has `nbytes` bytes."""
        ...

    def __getitem__(self, rows: slice) -> RemoteArray: ...


Part = npt.NDArray[Any] | RemoteArray
Payload = bytes | npt.NDArray[Any] | Sequence[Part]


class Kind(IntEnum):
    """What a message carries."""

    PAD = 0  # nothing: the rest of the ring up to its end
    LAYOUT = 1  # JSON of a Layout; the first message
    SLAB = 2  # rows `start`… of window array `index` at `iteration`; if there is more, the arrays after it, whole
    ACTIVATION = 3  # (A, 4) float64
    TEST = 4  # float32 outputs of test net `index`, averaged over its pass
    FRAME = 5  # one Layout.frame_dtype record: completes the iteration
    NOTE = 6  # JSON: something to say on the screen and in run.json
    END = 7  # JSON: how the run ended; the last message


class Request(IntEnum):
    """What the harness process asks of the solver process."""

    WAIT = 0  # build the nets, say what they are, and wait
    GO = 1  # train
    STOP = 2  # finish the iteration, snapshot, leave
    QUIT = 3  # finish the iteration, leave


@dataclass(frozen=True)
class Message:
    """A message still lying in the ring: `payload` is valid until its bytes are released."""

    kind: Kind
    index: int
    iteration: int
    start: int
    payload: memoryview


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


class Ring:
    """A ring of `capacity` bytes over the shared file `fd`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        self._memory = memoryview(self._map)
        self.capacity = len(self._map) - _PAGE
        # head, tail, request, snapshots asked for, iterations judged, what is waited for: on cache lines of their own
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8)
        self._counters: npt.NDArray[np.uint64] = self._bytes[:_PAGE].view(np.uint64)
        self._read = self.tail

    @classmethod
    def create(cls, capacity: int) -> Ring:
        """A new ring of at least `capacity` bytes; its `fd` can be passed to a child process."""
        fd = os.memfd_create("caffe-harness-ring")
        os.ftruncate(fd, _PAGE + -(-capacity // _PAGE) * _PAGE)
        return cls(fd)

    def populate(self) -> None:
        """Take all memory now: a page that this process touches first costs as much again as the copy of it."""
        with suppress(OSError):  # a kernel before 5.14 gives them one by one, as ever
            self._map.madvise(_MADV_POPULATE_WRITE)

    @property
    def head(self) -> int:
        """Bytes ever put in."""
        return int(self._counters[0])

    @property
    def tail(self) -> int:
        """Bytes ever released."""
        return int(self._counters[8])

    @property
    def request(self) -> Request:
        """What the harness process asks for."""
        return Request(int(self._counters[16]))

    @request.setter
    def request(self, value: Request) -> None:
        self._counters[16] = value

    @property
    def snapshot_requests(self) -> int:
        """How many snapshots the harness process has ever asked for."""
        return int(self._counters[24])

    def request_snapshot(self) -> None:
        """Ask for one after the iteration that is being made."""
        self._counters[24] = self.snapshot_requests + 1

    @property
    def checked_until(self) -> int:
        """Before this iteration, the harness process knows of every iteration how it went."""
        return int(self._counters[32])

    @checked_until.setter
    def checked_until(self, iteration: int) -> None:
        self._counters[32] = iteration

    def request_drain(self) -> None:
        """Let the consumer know that the producer goes no further before what it has put in is read."""
        self._counters[40] = self.head

    @property
    def drain_requested(self) -> bool:
        """Does the producer wait for the consumer to read?"""
        return self._read < int(self._counters[40])

    @property
    def max_payload(self) -> int:
        """Bytes of the largest payload that always fits, wherever the ring stands."""
        return self.capacity // 2 - _ALIGN

    @property
    def unread(self) -> int:
        """Bytes that the consumer has not looked at yet."""
        return self.head - self._read

    def put(
        self,
        kind: Kind,
        payload: Payload,
        *,
        iteration: int = 0,
        index: int = 0,
        start: int = 0,
        alive: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Append one message, waiting while the ring is full. Several arrays are put one after the other.

        `alive` is asked while it waits; when it says no (nobody will ever make room), nothing is put in and the
        result is False.

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
            time.sleep(0.0005)
        if pad:
            offset = _PAGE + head % self.capacity
            _HEADER.pack_into(self._map, offset, Kind.PAD, 0, 0, 0, left - _HEADER.size)
        at = head + pad
        offset = _PAGE + at % self.capacity
        _HEADER.pack_into(self._map, offset, kind, index, iteration, start, size)
        offset += _HEADER.size
        for part in parts:
            place = self._bytes[offset : offset + part.nbytes]
            if isinstance(part, np.ndarray):
                place[:] = part
            else:
                part.copy_into(place)
            offset += part.nbytes
        self._counters[0] = at + need
        return True

    def take_over(self) -> None:
        """Become the consumer in the place of one that died: read on from where it last released."""
        self._read = self.tail

    def messages(self) -> Iterator[Message]:
        """Messages that are in the ring now and were not read yet, oldest first. They stay there until `release`."""
        head = self.head
        while self._read < head:
            offset = _PAGE + self._read % self.capacity
            kind, index, iteration, start, size = _HEADER.unpack_from(self._map, offset)
            body = offset + _HEADER.size
            self._read += _aligned(_HEADER.size + size)
            if kind != Kind.PAD:
                payload = self._memory[body : body + size].toreadonly()
                yield Message(Kind(kind), index, iteration, start, payload)

    @property
    def unreleased(self) -> int:
        """Bytes read but still held."""
        return self._read - self.tail

    def release(self) -> None:
        """Give the space of everything read so far back to the producer."""
        self._counters[8] = self._read


def _bytes_of(part: bytes | Part) -> npt.NDArray[np.uint8] | RemoteArray:
    if isinstance(part, bytes):
        return np.frombuffer(part, np.uint8)
    if isinstance(part, np.ndarray):
        return np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    return part
