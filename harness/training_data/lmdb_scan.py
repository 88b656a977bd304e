"""Scan an LMDB in another process, which a damaged LMDB may kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb

from harness.caffe_files.lmdb_file import REMEDY, Progress, ScanResult, same_pid_error, scan_lmdb
from harness.errors import BadInput


def scan_apart(source: Path, progress: Progress) -> ScanResult:
    """Read all records of the LMDB `source` in another process.

    Raises:
        BadInput: that process was killed, or a record cannot be read.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_scan, args=(source, sender), daemon=True)
    resource_tracker.ensure_running()  # started later, it would undo the next line
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by the child: Ctrl-C is for its parent
    try:
        child.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    sender.close()
    try:
        while isinstance(message := receiver.recv(), tuple):
            progress(*message)
    except EOFError:
        message = "damaged: reading it killed the reading process"
    except BaseException:  # Ctrl-C
        child.kill()
        child.join()
        raise
    child.join()
    if isinstance(message, int):
        raise same_pid_error(source, message)
    if isinstance(message, str):
        raise BadInput(message, file=source, remedy=REMEDY)
    result: ScanResult = message
    return result


def _scan(source: Path, sender: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries that decode images print what they think of them
    try:
        sender.send(scan_lmdb(source, lambda *progress: sender.send(progress)))
    except lmdb.LockError:
        sender.send(os.getpid())
    except lmdb.Error as error:
        sender.send(f"damaged ({error})")
    except ValueError as error:
        sender.send(str(error))
