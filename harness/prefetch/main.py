"""The prefetch process: make batches ahead of the solver. `client` starts it, and describes how the two communicate."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import IO

import cv2
import lmdb

from harness.prefetch.batches import fill_batches
from harness.prefetch.shared_batch import SharedBatch
from harness.schemas.stream import Stream


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Make batches until the client closes its pipe.

    Args:
        requests: the stream and the batches, then the numbers of free batches, a line of JSON each.
        replies: the numbers and shapes of filled batches, or an error.
    """

    def reply(message: dict[str, object]) -> None:
        replies.write(json.dumps(message).encode() + b"\n")
        replies.flush()

    first = json.loads(requests.readline())
    batches = [SharedBatch(fd) for fd in first["batches"]]
    filling = -1

    def free() -> Iterator[SharedBatch]:
        nonlocal filling
        for filling in range(len(batches)):
            yield batches[filling]
        for line in requests:  # waits for the client to return one; ends with the client
            filling = json.loads(line)
            yield batches[filling]

    try:
        for shape in fill_batches(Stream.from_json(first["stream"]), free()):
            reply({"batch": filling, "shape": shape})
    except BrokenPipeError:
        raise
    except (ValueError, OSError, lmdb.Error, MemoryError) as error:
        reply({"error": str(error) or type(error).__name__})


def main() -> None:
    cv2.setNumThreads(1)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the replies
    try:
        serve(sys.stdin.buffer, replies)
    except BrokenPipeError:  # the client has ended
        os._exit(0)


if __name__ == "__main__":
    main()
