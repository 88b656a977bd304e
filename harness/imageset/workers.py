"""Convert images in worker processes, ahead of the process that writes the records."""

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

import cv2

from harness.caffe_files.formatting import printable
from harness.imageset import Stopped
from harness.imageset.image_format import ImageFormat
from harness.imageset.mean import Sums
from harness.imageset.native_stderr import CapturedStderr
from harness.imageset.record import ConvertedImage, convert

Line = tuple[int, bytes, int]  # number, path, label
CHUNK = 256  # most images that a worker is given at once; no more than Sums.packed allows
CHUNK_BYTES = 1 << 23  # approximate bytes of records in a chunk
AHEAD_BYTES = 1 << 26  # bytes of records that may wait to be written: more than is converted during a commit

Chunk = tuple[list[Line], Future[tuple[list[ConvertedImage], Sums]]]

_PR_SET_PDEATHSIG = 1  # sys/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP = 1 << 25  # bytes; the maximum in glibc
_stderr: CapturedStderr  # of a worker


class Workers:
    """`count` worker processes; a context manager. Start it before any thread. The workers die with this process."""

    def __init__(self, count: int, root: str, image_format: ImageFormat) -> None:
        self._count, self._root, self._format = count, os.fsencode(root), image_format
        self._largest = CHUNK_BYTES  # bytes of the largest recent record; not known yet
        context = multiprocessing.get_context("fork")  # starts at once, with everything imported
        self._pool = ProcessPoolExecutor(count, context, _initialize, (os.getpid(),))
        old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited: Ctrl-C is for their parent
        try:
            self._pool.submit(os.getpid).result()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        # They finish their chunks, which are small: if one were killed, the executor would wait for the rest of its
        # result. harness.make_lmdb decides what a second Ctrl-C does to this wait.
        self._pool.shutdown(cancel_futures=True)

    def convert(self, lines: Iterable[Line], summed: bool) -> Iterator[tuple[list[ConvertedImage], Sums]]:
        """Convert the images in `lines`, in their order; with the sums over those that became records, if `summed`.

        Raises:
            Stopped: a worker died.
        """
        lines = iter(lines)
        pending: deque[Chunk] = deque()
        try:
            while True:
                while len(pending) < self._ahead and (chunk := list(islice(lines, self._chunk_size))):
                    pending.append(self._submit(chunk, summed))
                if not pending:
                    return
                chunk, future = pending[0]
                images, sums = future.result()
                pending.popleft()
                self._largest = max(self._largest // 2, *(len(image.record or b"") for image in images), 1)
                yield images, sums
                if rest := chunk[len(images) :]:  # the images were larger than those before
                    yield from self.convert(rest, summed)
        except (BrokenProcessPool, MemoryError):
            first = pending[0][0][0] if pending else chunk[0]
            raise Stopped(
                f"a worker was killed (out of memory, or an image that crashes the decoder) at one of the images from "
                f"{printable(first[1])} on. Run the same command to continue from there, with --workers 1 if memory is "
                "short"
            ) from None
        finally:
            for _, future in pending:
                future.cancel()

    @property
    def _chunk_size(self) -> int:
        """Number of images in a chunk, assuming that they are no larger than the recent ones."""
        return min(max(1, CHUNK_BYTES // self._largest), CHUNK)

    @property
    def _ahead(self) -> int:
        """Number of chunks in progress: several for every worker, within the memory limit."""
        return min(max(self._count + 2, AHEAD_BYTES // (self._chunk_size * self._largest)), 8 * self._count + 2)

    def _submit(self, chunk: list[Line], summed: bool) -> Chunk:
        return chunk, self._pool.submit(_convert_chunk, chunk, self._root, self._format, summed)


def _initialize(parent: int) -> None:
    """Set a worker process up."""
    global _stderr  # an executor's workers have no other place for it
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for limit in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):  # freed memory is kept for the next image
        libc.mallopt(limit, _KEEP)
    if os.getppid() != parent:  # it has died already
        os._exit(1)
    cv2.setNumThreads(1)  # there is a worker for every core
    _stderr = CapturedStderr()


def _convert_chunk(
    chunk: list[Line], root: bytes, image_format: ImageFormat, summed: bool
) -> tuple[list[ConvertedImage], Sums]:
    """Convert the images of a chunk, or only the first of them if they are too large for one."""
    sums, images, size = Sums(), [], 0
    for number, path, label in chunk:
        image, pixels = convert(root, number, path, label, image_format, _stderr)
        images.append(image)
        if summed and pixels is not None:
            sums.add(pixels)
        size += len(image.record or b"")
        if size >= 2 * CHUNK_BYTES:
            break
    return images, sums.packed()
