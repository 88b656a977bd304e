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

from imageset import Stopped
from imageset.mean import Sums
from imageset.record import Converted, Form, convert, printable
from imageset.stderr import Hearing

Line = tuple[int, bytes, int]  # number, path, label
CHUNK = 32  # images that a worker is given at once; no more than Sums.packed takes

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP = 1 << 25  # bytes: glibc's most
_hearing: Hearing  # of a worker


class Workers:
    """So many processes; a context manager. They must be started before threads are, and die with this process."""

    def __init__(self, count: int, root: str, form: Form) -> None:
        self._count, self._root, self._form = count, os.fsencode(root), form
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
        self._pool.shutdown(cancel_futures=True)

    def convert(self, lines: Iterable[Line], summed: bool) -> Iterator[tuple[list[Converted], Sums]]:
        """What becomes of the images in `lines`, in their order; with the sums over those that became records, if
        `summed`.

        Raises:
            Stopped: a worker died.
        """
        lines = iter(lines)
        pending: deque[tuple[list[Line], Future[Any]]] = deque()
        try:
            while True:
                while len(pending) < 2 * self._count + 2 and (chunk := list(islice(lines, CHUNK))):
                    pending.append((chunk, self._pool.submit(_convert, chunk, self._root, self._form, summed)))
                if not pending:
                    return
                chunk, future = pending.popleft()
                yield future.result()
        except BrokenProcessPool:
            raise Stopped(
                f"a worker was killed (out of memory, or an image that crashes the decoder) at one of the images from "
                f"{printable(chunk[0][1])} on. Run again to go on from there, with --workers 1 if memory is short"
            ) from None
        finally:
            for _, future in pending:
                future.cancel()


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
    sums, images = Sums(), []
    for number, path, label in chunk:
        image, pixels = convert(root, number, path, label, form, _hearing)
        images.append(image)
        if summed and pixels is not None:
            sums.add(pixels)
    return images, sums.packed()
