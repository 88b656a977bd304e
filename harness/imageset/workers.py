"""Processes that read images, a few ahead of whoever writes the records."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any

import cv2

from harness.imageset import Stopped
from harness.imageset.mean import Sums
from harness.imageset.record import Converted, Form, convert, printable
from harness.imageset.stderr import Hearing

Line = tuple[int, bytes, int]  # number, path, label
CHUNK = 256  # images that a worker is given at once, at most: no more than Sums.packed takes…
CHUNK_BYTES = 1 << 23  # …and so many bytes of records
AHEAD_BYTES = 1 << 26  # what may wait for whoever writes it: more than is converted during a commit

Chunk = tuple[list[Line], Future[Any]]

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP = 1 << 25  # bytes: glibc's most
_hearing: Hearing  # of a worker


class Workers:
    """So many processes; a context manager. They must be started before threads are, and die with this process."""

    def __init__(self, count: int, root: str, form: Form) -> None:
        self._count, self._root, self._form = count, os.fsencode(root), form
        self._largest = CHUNK_BYTES  # bytes of a record, of late; nothing is known yet
        context = multiprocessing.get_context("fork")  # at once, with all that is imported here
        self._pool = ProcessPoolExecutor(count, context, _begin, (os.getpid(),))
        old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # they inherit it: Ctrl-C is for their parent
        try:
            self._pool.submit(os.getpid).result()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        # They end what they have begun, which is little: of one that is killed, the executor would wait for the rest of
        # the answer. What a second Ctrl-C does to this wait is up to harness.make_lmdb.
        self._pool.shutdown(cancel_futures=True)

    def convert(self, lines: Iterable[Line], summed: bool) -> Iterator[tuple[list[Converted], Sums]]:
        """What becomes of the images in `lines`, in their order; with the sums over those that became records, if
        `summed`.

        Raises:
            Stopped: a worker died.
        """
        lines = iter(lines)
        pending: deque[Chunk] = deque()
        try:
            while True:
                while len(pending) < self._ahead and (chunk := list(islice(lines, self._fitting))):
                    pending.append(self._given(chunk, summed))
                if not pending:
                    return
                chunk, future = pending[0]
                images, sums = future.result()
                pending.popleft()
                self._largest = max(self._largest // 2, *(len(image.record or b"") for image in images), 1)
                yield images, sums
                if rest := chunk[len(images) :]:  # they are larger than those before were
                    yield from self.convert(rest, summed)
        except (BrokenProcessPool, MemoryError):
            first = pending[0][0][0] if pending else chunk[0]
            raise Stopped(
                f"a worker was killed (out of memory, or an image that crashes the decoder) at one of the images from "
                f"{printable(first[1])} on. Run again to go on from there, with --workers 1 if memory is short"
            ) from None
        finally:
            for _, future in pending:
                future.cancel()

    @property
    def _fitting(self) -> int:
        """Images in a chunk, if they are no larger than those of late."""
        return min(max(1, CHUNK_BYTES // self._largest), CHUNK)

    @property
    def _ahead(self) -> int:
        """Chunks that are given away at a time: some for every worker, none for which there is no memory."""
        return min(max(self._count + 2, AHEAD_BYTES // (self._fitting * self._largest)), 8 * self._count + 2)

    def _given(self, chunk: list[Line], summed: bool) -> Chunk:
        return chunk, self._pool.submit(_convert, chunk, self._root, self._form, summed)


def _begin(parent: int) -> None:
    global _hearing  # an executor's workers have no other place
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for limit in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):  # memory that an image leaves serves the next one
        libc.mallopt(limit, _KEEP)
    if os.getppid() != parent:  # it died before
        os._exit(1)
    cv2.setNumThreads(1)  # there is a worker for every core
    _hearing = Hearing()


def _convert(chunk: list[Line], root: bytes, form: Form, summed: bool) -> tuple[list[Converted], Sums]:
    """What becomes of the images in a chunk, or of the first of them if they are too large for one."""
    sums, images, size = Sums(), [], 0
    for number, path, label in chunk:
        image, pixels = convert(root, number, path, label, form, _hearing)
        images.append(image)
        if summed and pixels is not None:
            sums.add(pixels)
        size += len(image.record or b"")
        if size >= 2 * CHUNK_BYTES:
            break
    return images, sums.packed()
