"""The replay worker: replay the arms that an engine sends, one after the other.

    python -P -m harness.worker.arms.main CONNECTION STORE DIRECTORY

The first two arguments are inherited file descriptors: a connection to the engine, and a batch store; the directory is
for files of this process. Over the connection come the Payload, one batch of each data layer (a Feed), then Tasks. Each
is answered (arm_task.py), after messages on how far it is. The process ends when the connection is closed, in the
middle of an arm as well.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from pathlib import Path

import harness.worker.lazy_caffe_io  # noqa: F401  # before caffe

# isort: split
import caffe
import msgspec
import numpy as np

from harness.errors import BadInput, RecordingError
from harness.processes import take_signals
from harness.schemas.arm_task import Done, Ready, Unfit, decode_task, encode
from harness.schemas.feed import Feed
from harness.worker.arms.replayer import Replayer
from harness.worker.arms.running import Abandoned
from harness.worker.arms.stored_batches import StoreReader
from harness.worker.payload import Payload


def serve(connection: Connection, store: StoreReader, directory: Path) -> None:
    """Replay arms until the connection is closed."""
    payload = Payload.decode(connection.recv_bytes())
    feed = msgspec.msgpack.decode(connection.recv_bytes(), type=Feed)
    try:
        # the engine sends an arm when the one before is done: something to read before that is the end
        replayer = Replayer(
            payload, feed, store, directory, lambda: not connection.poll(), lambda p: connection.send_bytes(encode(p))
        )
    except (BadInput, RecordingError) as error:
        connection.send_bytes(encode(Unfit(str(error))))
        return
    connection.send_bytes(encode(Ready(replayer.digest, tuple(replayer.not_exact))))
    while True:
        result = replayer.replay(decode_task(connection.recv_bytes()))
        connection.send_bytes(encode(Done(result)))


def main() -> None:
    caffe.init_log(2, True)  # errors only, to stderr: the engine shows what this process died of
    take_signals()
    np.seterr(all="ignore")  # losses overflow as Caffe's own do
    descriptor, store, directory = sys.argv[1:]
    with Connection(int(descriptor)) as connection:
        try:
            serve(connection, StoreReader(int(store)), Path(directory))
        except (EOFError, OSError, Abandoned):  # the engine has ended
            return


if __name__ == "__main__":
    main()
