"""Call a function that reads images in a process of its own: OpenCV may crash at what it cannot decode."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from harness.processes import signals_blocked

_PATIENCE = 60.0  # seconds

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def call_apart(
    function: Callable[[Argument], Result], argument: Argument, patience: float = _PATIENCE
) -> Result | None:
    """Return `function(argument)`; None if its process fails or is killed, or takes longer than `patience` seconds."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(function, argument, sender), daemon=True)
    try:
        with signals_blocked():  # Python ignores a KeyboardInterrupt that is raised while it forks
            child.start()
        sender.close()
        result: Result | None = receiver.recv() if receiver.poll(patience) else None
    except EOFError:
        return None
    finally:
        if child.pid is not None:
            child.kill()
            child.join()
        receiver.close()
    return result


def _call(function: Callable[[Argument], Result], argument: Argument, sender: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the image libraries, written in C, print what they think of them
    sender.send(function(argument))
