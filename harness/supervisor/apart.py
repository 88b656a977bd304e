"""Call a function that reads images in a process of its own: OpenCV may crash at what it cannot decode."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

_PATIENCE = 60.0  # seconds

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def call_apart(function: Callable[[Argument], Result], argument: Argument) -> Result | None:
    """Return `function(argument)`; None if its process is killed, or takes a minute."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork"), initializer=_silence) as pool:
        try:
            return pool.submit(function, argument).result(_PATIENCE)
        except (BrokenProcessPool, TimeoutError):
            return None


def _silence() -> None:
    """Discard what the image libraries, written in C, print."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
