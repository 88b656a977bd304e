"""Batches for a Data layer, made ahead in a process of its own: Caffe holds the GIL for the whole of a step.

The two share memory in slots, one batch each. The client sends the number of a slot that is free, one byte; the worker
fills the slots in that order and answers a line of JSON for each. When either dies the other sees its pipe end.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import numpy.typing as npt

import harness
from harness.solver.replay.stream import Stream, generator

Floats = npt.NDArray[np.float32]

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Batch:
    """`data` (batch_size, channels, height, width) and `labels` (batch_size,), both float32 as Caffe has them."""

    data: Floats
    labels: Floats


class Slot:
    """Shared memory for one batch; it grows as needed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None

    def batch(self, shape: tuple[int, ...]) -> Batch:
        """The slot's memory, for a batch of that shape."""
        count = int(np.prod(shape))
        size = 4 * (count + shape[0])
        if os.fstat(self.fd).st_size < size:
            os.ftruncate(self.fd, size)
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.fd, 0)
        numbers = np.frombuffer(self._map, np.float32, count + shape[0])
        return Batch(numbers[:count].reshape(shape), numbers[count:])


class Feed:
    """The batches of `stream`, one after the other; the worker process starts at once.

    Args:
        stream: `prefetch` batches are made ahead of the one that is in use.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._slots = [Slot(os.memfd_create("caffe-harness-batch")) for _ in range(stream.prefetch + 1)]
        fds = [slot.fd for slot in self._slots]
        paths = [str(Path(harness.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.solver.replay.feed", *map(str, fds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
            env=dict(os.environ) | {"PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # Ctrl-C is for the harness process
        )
        job = stream.to_json().encode()
        self._send(_LENGTH.pack(len(job)) + job + bytes(range(len(fds))))
        self._used: int | None = None

    def next(self) -> Batch:
        """The next batch, valid until the next call (as BasePrefetchingDataLayer gives its batches back).

        Raises:
            RuntimeError: the worker cannot go on, or is gone.
        """
        if self._used is not None:
            self._send(bytes([self._used]))
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        answer: dict[str, Any] = json.loads(line or "{}")
        if "slot" not in answer:
            gone = f"the process that reads {self._stream.source} is gone"
            raise RuntimeError(f"layer {self._stream.layer}: {answer.get('error') or gone}")
        self._used = int(answer["slot"])
        return self._slots[self._used].batch(tuple(answer["shape"]))

    def close(self) -> None:
        """End the worker."""
        for pipe in (self._worker.stdin, self._worker.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._worker.wait()
        for slot in self._slots:
            os.close(slot.fd)
        self._slots = []

    def _send(self, data: bytes) -> None:
        assert self._worker.stdin is not None
        with suppress(BrokenPipeError):  # a worker that is gone is found out about when it is asked for its answer
            self._worker.stdin.write(data)
            self._worker.stdin.flush()


# -- the worker -------------------------------------------------------------------------------------------------------


def batches(stream: Stream, slots: Iterator[Slot]) -> Iterator[tuple[int, ...]]:
    """Fill one slot after the other; yields the shape of each batch.

    Raises:
        ValueError: a record is not what the layer can take; the message names its key.
    """
    from harness.solver.replay.images import Transformer

    transformer = Transformer(stream.transform, stream.phase)
    draws = transformer.draws
    with lmdb.open(stream.source, readonly=True, lock=False) as environment, environment.begin(buffers=True) as reading:
        cursor = reading.cursor()
        for leg in stream.legs:
            if not cursor.set_key(bytes.fromhex(leg.key)):
                raise ValueError(f"{stream.source}: no record {bytes.fromhex(leg.key)!r}")
            numbers = generator(stream.seed, leg.draws) if stream.seed is not None else np.random.MT19937()
            done = 0
            while leg.batches is None or done < leg.batches:
                slot = next(slots, None)
                if slot is None:
                    return
                drawn = numbers.random_raw(stream.batch_size * draws).reshape(stream.batch_size, draws)
                yield _fill(stream.batch_size, cursor, transformer, drawn, slot)
                done += 1


def _fill(size: int, cursor: Any, transformer: Any, numbers: npt.NDArray[np.uint64], slot: Slot) -> tuple[int, ...]:
    from harness.solver.messages import pb

    datum: Any = pb.Datum()
    batch: Batch | None = None
    for item in range(size):
        try:
            datum.ParseFromString(bytes(cursor.value()))
            pixels = transformer.decode(datum)
            if batch is None:  # the first image says how large all are (DataLayer::load_batch)
                batch = slot.batch((size, *transformer.shape(pixels)))
            transformer.transform(pixels, numbers[item], batch.data[item])
        except Exception as error:  # protobuf's and OpenCV's are of no common kind
            raise ValueError(f"record {bytes(cursor.key()).decode(errors='replace')}: {error}") from error
        batch.labels[item] = datum.label
        if not cursor.next():
            cursor.first()
    assert batch is not None
    return batch.data.shape


def main(fds: list[int]) -> None:
    import cv2

    cv2.setNumThreads(1)  # Caffe's prefetching is one thread as well
    stdin = os.fdopen(0, "rb", buffering=0)
    (size,) = _LENGTH.unpack(_exactly(stdin, _LENGTH.size))
    stream = Stream.from_json(_exactly(stdin, size).decode())
    slots = [Slot(fd) for fd in fds]
    asked: deque[int] = deque()

    def free() -> Iterator[Slot]:
        while number := stdin.read(1):
            asked.append(number[0])
            yield slots[number[0]]

    try:
        for shape in batches(stream, free()):
            _say({"slot": asked.popleft(), "shape": shape})
    except (ValueError, OSError, lmdb.Error) as error:
        _say({"error": str(error)})
        sys.exit(1)


def _exactly(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            sys.exit(0)
        data += part
    return data


def _say(answer: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the solver process is gone
        os._exit(0)


if __name__ == "__main__":
    main([int(fd) for fd in sys.argv[1:]])
