"""A Dask scheduler and its workers on this machine, each a process as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.helpers.processes import started, wait_for

QUIET = ("--no-dashboard",)


@dataclass(frozen=True)
class Scheduler:
    """A scheduler that runs.

    Attributes:
        home: a directory for files of it and its workers.
        file: its scheduler file.
    """

    home: Path
    file: Path

    @contextmanager
    def worker(
        self, name: str, env: Mapping[str, str] | None = None, slots: int = 1, resource: str = "caffe"
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a worker, and wait until it is registered; it is killed at the end of the block."""
        with self.workers([name], env, slots, resource) as (process,):
            yield process

    @contextmanager
    def workers(
        self, names: list[str], env: Mapping[str, str] | None = None, slots: int = 1, resource: str = "caffe"
    ) -> Iterator[list[subprocess.Popen[str]]]:
        """Start several workers at once."""
        with ExitStack() as stack:
            found = []
            for name in names:
                home = self.home / name
                home.mkdir()
                log = stack.enter_context((home / "log").open("w"))
                options: tuple[object, ...] = (
                    "--scheduler-file",
                    self.file,
                    "--no-nanny",
                    "--nthreads",
                    slots,
                    "--name",
                    name,
                )
                options += ("--resources", f"{resource}={slots}", "--local-directory", home, *QUIET)
                process = started(
                    *(sys.executable, "-m", "distributed.cli.dask_worker", *options), env=env, cwd=home, stderr=log
                )
                found.append(stack.enter_context(process))
            for name in names:
                wait_for(lambda name=name: "Registered to" in (self.home / name / "log").read_text())  # type: ignore[misc]
            yield found


@contextmanager
def scheduler(home: Path) -> Iterator[Scheduler]:
    """Start a scheduler whose files are in the directory `home`; it is killed at the end of the block."""
    file = home / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", 0, "--scheduler-file", file, *QUIET)
    command = (sys.executable, "-m", "distributed.cli.dask_scheduler", *options)
    with started(*command, cwd=home, stderr=subprocess.DEVNULL):
        wait_for(file.exists)
        yield Scheduler(home, file)


def worker_of(directory: Path, workers: list[subprocess.Popen[str]]) -> subprocess.Popen[str] | None:
    """Return the worker that has the process of the leg in `directory`; None if none has."""
    name = f'"{directory}"'

    def makes(worker: subprocess.Popen[str]) -> bool:
        try:
            return any(name in word for child in psutil.Process(worker.pid).children() for word in child.cmdline())
        except psutil.NoSuchProcess:  # one has just ended
            return False

    return next((worker for worker in workers if worker.poll() is None and makes(worker)), None)
