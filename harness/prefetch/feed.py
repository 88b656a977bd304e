"""Batches made ahead of the solver, in a process of their own: Caffe holds the GIL while it computes.

The worker (this module, run) decodes into slots of shared memory: anonymous files (memfd) that both processes map, and
that grow with the batches. Lines of JSON go both ways. To the worker's standard input: the job, then the number of each
slot that is free again. From it: each slot as it is filled, with its shape; or an error, and the end. A process that
dies closes its pipes, which ends the worker and makes the client raise.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import lmdb
import numpy as np
import numpy.typing as npt
from google.protobuf import text_format

from harness.caffe_files.image_list import parse_lines
from harness.caffe_files.messages import pb
from harness.prefetch.epochs import Epochs
from harness.processes import child_environment
from harness.schemas.stream import Files, Stream, draws_per_image, generator

if TYPE_CHECKING:  # not imported by the client, whose Caffe has another OpenCV
    from harness.prefetch.images import Image

Floats = npt.NDArray[np.float32]
BatchShape = tuple[int, int, int, int]  # images, channels, height, width

_FLOAT = 4  # bytes


class Slot:
    """Room for one batch in the shared file `fd`: its images, and its labels after them."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None

    def arrays(self, shape: BatchShape) -> tuple[Floats, Floats]:
        """Images float32 of `shape` and labels float32 (images,) over the shared memory, which grows as needed."""
        count = int(np.prod(shape))
        size = _FLOAT * (count + shape[0])
        if self._map is None or len(self._map) < size:
            if os.fstat(self.fd).st_size < size:
                os.ftruncate(self.fd, size)
            self._map = mmap.mmap(self.fd, 0)  # the old one stays mapped for as long as an array uses it
        values = np.frombuffer(self._map, np.float32, count + shape[0])
        return values[:count].reshape(shape), values[count:]


class Feed:
    """The batches of `stream`, in the solver process. `next` waits for a batch where none is ready.

    Raises RuntimeError where the worker failed: at the batch which it could not make, and from then on.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._ready: deque[tuple[int, BatchShape]] = deque()
        self._lent: int | None = None
        self._failure: str | None = None
        # one more than are ready, because the solver keeps the one it computes with
        self._slots = [Slot(os.memfd_create("caffe-harness-batch")) for _ in range(stream.prefetch + 1)]
        fds = [slot.fd for slot in self._slots]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.prefetch.feed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=fds,
            env=child_environment(blas_threads=1),
            start_new_session=True,  # Ctrl-C is for the harness process, which ends all others in order
        )
        self._send({"stream": stream.to_json(), "slots": fds})

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def peek(self) -> BatchShape:
        """The shape of the next batch, which stays to be taken."""
        if not self._ready:
            self._ready.append(self._receive())
        return self._ready[0][1]

    def next(self) -> tuple[Floats, Floats]:
        """The next batch: images float32 (batch, channels, height, width), labels float32 (batch,).

        Both lie in shared memory and are valid until the next call.
        """
        if self._lent is not None:
            self._send(self._lent)
            self._lent = None
        self.peek()
        self._lent, shape = self._ready.popleft()
        return self._slots[self._lent].arrays(shape)

    def close(self) -> None:
        """End the worker and give the memory back. Arrays that `next` gave stay readable."""
        if self._failure is None:
            self._failure = f"layer {self.stream.layer}: its feed was closed"
        self._ready.clear()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        try:  # it ends by itself, and gives its place in the LMDB's table of readers back
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for slot in self._slots:
            os.close(slot.fd)
        self._slots.clear()

    def _send(self, what: Any) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # a dead worker is noticed when its next batch does not come
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()

    def _receive(self) -> tuple[int, BatchShape]:
        if self._failure is None:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            message: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {"error": self._death()}
            if "error" not in message:
                return message["slot"], tuple(message["shape"])
            self._failure = f"layer {self.stream.layer}: {message['error']}"
        raise RuntimeError(self._failure)

    def _death(self) -> str:
        code = self._process.wait()
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        return f"the process that reads {self.stream.source} {how}"


# -- the worker -------------------------------------------------------------------------------------------------------


def _records(source: str, first_key: str) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values for ever, from the first key (hex) on in the order of the keys (data_layer.cpp: Next).

    Locked, as Caffe opens it (db_lmdb.cpp): a writer must not reuse pages that are being read.
    """
    key = bytes.fromhex(first_key)
    with lmdb.open(source, readonly=True, create=False) as environment, environment.begin() as transaction:
        cursor = transaction.cursor()
        if not cursor.set_key(key):
            raise ValueError(f"{source} has no record {key.decode(errors='backslashreplace')}")
        while True:
            yield cursor.item()
            if not cursor.next():
                cursor.first()


def _images(stream: Stream, first_key: str | int, transform: Any) -> Iterator[Image]:
    """The images of `stream` for ever, from the record `first_key` on."""
    from harness.prefetch.images import decode

    if stream.files is not None:
        assert isinstance(first_key, int)
        yield from _listed(stream.source, stream.files, first_key)
    else:
        assert isinstance(first_key, str)
        for key, value in _records(stream.source, first_key):
            yield decode(key, value, transform)


def _listed(source: str, files: Files, first: int) -> Iterator[Image]:
    from harness.prefetch.images import read_file

    lines = list(parse_lines(Path(source).read_bytes()))
    for number in Epochs(len(lines), files.seed if files.shuffled else None).lines_from(files.skipped + first):
        yield read_file(*lines[number], files)


def batches(stream: Stream, slots: Iterator[Slot]) -> Iterator[BatchShape]:
    """Fill one slot after the other, and yield the shape of each when it is full (DataLayer::load_batch,
    ImageDataLayer::load_batch).

    Raises:
        ValueError: a record that Caffe could not use either.
        OSError, lmdb.Error: the list or the LMDB cannot be read.
    """
    jump = stream.jump
    before = slots if jump is None else itertools.islice(slots, jump.after)
    yield from _leg(stream, stream.first_key, stream.draws, before)
    if jump is not None:
        yield from _leg(stream, jump.key, jump.draws, slots)


def _leg(stream: Stream, first_key: str | int, drawn: int, slots: Iterator[Slot]) -> Iterator[BatchShape]:
    from harness.prefetch.images import Transformer

    transform = text_format.Parse(stream.transform, pb.TransformationParameter())
    transformer = Transformer(transform, stream.phase)
    per_image = draws_per_image(transform, stream.phase)
    random = generator(stream.seed or 0, drawn if per_image else 0)
    draws = np.zeros((stream.batch_size, 0), np.uint64)
    records = _images(stream, first_key, transform)
    for slot in slots:
        if per_image:
            draws = random.random_raw((stream.batch_size, per_image))
        first = next(records)
        shape = transformer.shape(first)
        images, labels = slot.arrays((stream.batch_size, *shape))
        for place in range(stream.batch_size):
            image = next(records) if place else first
            if transformer.shape(image) != shape:
                found, wanted = ("×".join(map(str, s)) for s in (transformer.shape(image), shape))
                raise ValueError(f"record {image.key}: {found}, in a batch whose first record {first.key} is {wanted}")
            transformer(image, draws[place], images[place])
            labels[place] = image.label
        yield (stream.batch_size, *shape)


def _work(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Serve one client until it goes."""

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message).encode() + b"\n")
        replies.flush()

    job = json.loads(requests.readline())
    slots = [Slot(fd) for fd in job["slots"]]
    filling = -1

    def free() -> Iterator[Slot]:
        nonlocal filling
        for filling in range(len(slots)):
            yield slots[filling]
        for line in requests:  # waits for the client to give one back; ends with it
            filling = json.loads(line)
            yield slots[filling]

    try:
        for shape in batches(Stream.from_json(job["stream"]), free()):
            reply({"slot": filling, "shape": shape})
    except BrokenPipeError:
        raise
    except (ValueError, OSError, lmdb.Error, MemoryError) as error:
        reply({"error": str(error) or type(error).__name__})


def main() -> None:
    """The worker process: job and free slots on standard input, filled slots on standard output."""
    import cv2

    cv2.setNumThreads(1)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the replies
    try:
        _work(sys.stdin.buffer, replies)
    except BrokenPipeError:  # the client is gone
        os._exit(0)


if __name__ == "__main__":
    main()
