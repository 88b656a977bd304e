"""Commands that run to their end, and processes that do not outlive the test that started them."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import psutil

from tests.helpers.paths import ROOT

T = TypeVar("T")
# seconds: much longer than any step of a test takes; a test that waits this long hangs
PATIENCE = 300.0


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


def command(
    *arguments: object, cwd: Path = ROOT, timeout: float = PATIENCE, env: Mapping[str, str] | None = None
) -> Finished:
    """Run a command to its end. `env` is added to this process's environment."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        env=os.environ | (env or {}),
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@contextmanager
def started(
    *arguments: object,
    cwd: Path = ROOT,
    timeout: float = PATIENCE,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[str] | None = None,
    stdout: int | IO[str] | None = None,
    stderr: int | IO[str] | None = None,
    new_session: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Start a command; kill it and its descendants at the end of the block, or after `timeout` seconds.

    Reading from its pipes therefore ends as well. `env` is added to this process's environment.
    """
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        cwd=cwd,
        env=os.environ | (env or {}),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=new_session,
    )
    deadline = threading.Timer(timeout, kill_tree, [process])
    deadline.start()
    try:
        yield process
    finally:
        deadline.cancel()
        kill_tree(process)
        process.wait(PATIENCE)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):  # of buffered input
                    pipe.close()
        deadline.join()


def kill_tree(process: subprocess.Popen[str]) -> None:
    """Kill a process and its descendants if it has not ended."""
    if process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()


def wait_for(look: Callable[[], T | None], process: subprocess.Popen[str] | None = None, pause: float = 0.005) -> T:
    """Call `look` until its result is true, and return the result. `process` must not end before."""
    give_up = time.monotonic() + PATIENCE
    while not (found := look()):
        assert process is None or process.poll() is None, f"ended with exit code {process.returncode}"
        assert time.monotonic() < give_up, "waited too long"
        time.sleep(pause)
    return found


def has_ended(process: psutil.Process) -> bool:
    """Check whether a process has ended, even if nobody has waited for it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
