"""The worker's side of prefetching: start a prefetch process, and take batches from it.

Batches are made in a process of their own because Caffe holds the GIL while it computes. It decodes into shared memory
that both processes map (`SharedBatch`). They exchange lines of JSON. To the prefetch process: the stream, then the
number of each batch that is free again. From it: the number and shape of each batch that is filled, or an error and the
end. A process that dies closes its pipes, which ends the prefetch process and makes the client raise.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress

from harness.prefetch.shared_batch import BatchShape, Floats, SharedBatch
from harness.processes import child_environment, signals_blocked
from harness.schemas.stream import Stream


class PrefetchClient:
    """The batches of `stream`, in the worker. `next` waits for a batch if none is ready.

    Raises RuntimeError if the prefetch process has failed: at the batch that it could not make, and from then on.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._ready: deque[tuple[int, BatchShape]] = deque()
        self._in_use: int | None = None
        self._failure: str | None = None
        # one more than are ready, because the solver keeps the one it computes with
        self._batches = [SharedBatch(os.memfd_create("caffe-harness-batch")) for _ in range(stream.prefetch + 1)]
        fds = [batch.fd for batch in self._batches]
        with signals_blocked():  # the supervisor stops all other processes in order
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.prefetch.main"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=fds,
                env=child_environment(blas_threads=1),
                start_new_session=True,
            )
        self._send({"stream": stream.to_json(), "batches": fds})

    @property
    def pid(self) -> int:
        """The id of the prefetch process."""
        return self._process.pid

    def peek(self) -> BatchShape:
        """Return the shape of the next batch, which stays the next one."""
        if not self._ready:
            self._ready.append(self._receive())
        return self._ready[0][1]

    def next(self) -> tuple[Floats, Floats]:
        """Return the next batch: images float32 (batch, channels, height, width), labels float32 (batch,).

        Both are in shared memory and valid until the next call.
        """
        if self._in_use is not None:
            self._send(self._in_use)
            self._in_use = None
        self.peek()
        self._in_use, shape = self._ready.popleft()
        return self._batches[self._in_use].arrays(shape)

    def close(self) -> None:
        """Stop the prefetch process and release the memory. Arrays that `next` returned stay readable."""
        if self._failure is None:
            self._failure = f"layer {self.stream.layer}: its prefetch process was stopped"
        self._ready.clear()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        try:  # it ends by itself, and releases its slot in the LMDB's table of readers
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for batch in self._batches:
            os.close(batch.fd)
        self._batches.clear()

    def _send(self, message: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # a dead process is noticed when its next batch does not arrive
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def _receive(self) -> tuple[int, BatchShape]:
        if self._failure is None:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            message = json.loads(line) if line.endswith(b"\n") else None
            if message is not None and "error" not in message:
                return message["batch"], tuple(message["shape"])
            error = self._cause_of_death() if message is None else message["error"]
            self._failure = f"layer {self.stream.layer}: {error} (in {self.stream.source})"
        raise RuntimeError(self._failure)

    def _cause_of_death(self) -> str:
        code = self._process.wait()
        how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
        return f"the process that reads {self.stream.source} {how}"
