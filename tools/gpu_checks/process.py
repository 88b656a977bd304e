"""Run a check in a process of its own, which may hang or die."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from tools.gpu_checks.checks import Check
from tools.gpu_checks.place import Place
from tools.gpu_checks.results import Result, Unexpected

_FORK = multiprocessing.get_context("fork")  # nothing has to be imported again
_LAST_LINES = 25


def run(check: Check, place: Place, seconds: float) -> Result:
    """Run `check` for at most `seconds`. Whatever happens to it becomes its result."""
    started = time.monotonic()
    log = place.home / f"{check.name}.log"
    receiving, sending = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_child, args=(check, place, log, sending))
    process.start()
    sending.close()
    try:
        result = _wait(receiving, process, seconds)
    finally:
        end_family(process.pid)
        process.join()
    took = time.monotonic() - started
    if result.status == "failed" and not result.output:
        result = replace(result, output="\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:]))
    return replace(result, seconds=took)


def _wait(receiving: Connection, process: multiprocessing.process.BaseProcess, seconds: float) -> Result:
    if not receiving.poll(max(0.0, seconds)):
        return Result("failed", f"it was stopped after {seconds:.0f} s: its share of --time-limit.")
    try:
        result: Result = receiving.recv()
    except EOFError:
        process.join()
        return Result("failed", f"its process ended with exit code {process.exitcode}.")
    return result


def _child(check: Check, place: Place, log: Path, sending: Connection) -> None:
    with log.open("w") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    try:
        result = check.run(place)
    except Unexpected as error:
        result = Result("failed", f"{error}.", output=error.output)
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        result = Result("failed", f"{type(error).__name__}: {error}")
    sending.send(result)


def end_family(pid: int | None) -> None:
    """Kill a process and all that it started, if they still run."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
