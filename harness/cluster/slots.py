"""Slots of a Dask worker: replay processes, one for each slot, each of which replays arm after arm."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from harness.cluster.shared_room import SharedSetting, batches_of, is_stopped, read_setting
from harness.experiments.replay_process import ReplayProcess
from harness.schemas.arm_task import Done, Progress, Ready, Task, Unfit, decode_task, encode

TOPIC = "caffe-harness progress"
_POLL = 0.2  # seconds between two looks at whether anybody waits for the result
_TELL = 1.0  # seconds between two messages on how far an arm is: the scheduler keeps them for a while
_IDLE = 20.0  # seconds after which a process without an arm ends
_VISIBLE = 30.0  # seconds in which what was stored on another machine has to be there


class Died(msgspec.Struct, frozen=True, tag=True):
    """A replay process died.

    Attributes:
        killed: by a signal from outside.
        was_ready: it had its checkpoint.
    """

    why: str
    killed: bool
    was_ready: bool


class Stopped(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for the arm any more."""


class Hidden(msgspec.Struct, frozen=True, tag=True):
    """This machine does not see what was stored on another one."""

    why: str


FromSlot = Done | Unfit | Died | Stopped | Hidden
decode_from_slot = msgspec.msgpack.Decoder(FromSlot).decode


def replay(key: str, home: str, task: bytes, size: int) -> bytes:
    """Replay an arm on this Dask worker, in a process that has replayed others of the same experiment, if one is free.

    Args:
        key: of this call, as Dask has it.
        home: the room of the experiment.
        task: a Task, encoded.
        size: bytes that the batch store has at least.

    Returns:
        A FromSlot, encoded.
    """
    return msgspec.msgpack.encode(_replay(key, Path(home), decode_task(task), size))


def _replay(key: str, home: Path, task: Task, size: int) -> FromSlot:
    if why := _hidden(home, size):
        return Stopped() if is_stopped(home) and home.is_dir() else Hidden(why)
    process = _PROCESSES.take(home)
    if process is None:
        try:
            process = _started(home, read_setting(home))
        except OSError as error:
            return Hidden(f"{error.filename}: {error.strerror}")
    else:
        process.give(task)
    try:
        found = _followed(process, task, _Teller(home.name), lambda: not is_stopped(home) and not is_released(key))
    except BaseException:
        process.end()
        raise
    if isinstance(found, Done):
        _PROCESSES.put(home, process)
    return found


def _followed(process: ReplayProcess, task: Task, tell: _Teller, is_wanted: Callable[[], bool]) -> FromSlot:
    """Follow a process while it replays an arm; if it gives no result, it is ended."""
    looked = time.monotonic()
    while True:
        arrived = process.connection.poll(_POLL)
        if time.monotonic() - looked > _POLL:
            if not is_wanted():
                process.end()
                return Stopped()
            looked = time.monotonic()
        if not arrived:
            continue
        message = process.receive()
        match message:
            case Ready():
                process.is_ready = True
                process.give(task)
            case Progress():
                tell(message)
            case Done():
                return message
            case Unfit():
                process.end()
                return message
            case None:
                why, killed = process.end()
                return Died(why, killed, process.is_ready)


def _started(home: Path, shared: SharedSetting) -> ReplayProcess:
    with batches_of(home).open("rb") as store:
        return ReplayProcess(shared.payload, shared.feed, store.fileno(), shared.directory)


def _hidden(home: Path, size: int) -> str:
    """Wait until the batch store is as large as it was when the arm was submitted. Says so if it is not.

    It is opened anew each time: that is when NFS asks its server for the size.
    """
    until = time.monotonic() + _VISIBLE
    path = batches_of(home)
    while True:
        try:
            with path.open("rb") as store:
                there = store.seek(0, 2)
        except OSError as error:
            return f"{path}: {error.strerror}"
        if there >= size:
            return ""
        if time.monotonic() > until or is_stopped(home):
            return f"{path}: {there:,} bytes of {size:,} are there"
        time.sleep(_POLL)


def is_released(key: str) -> bool:
    """Check whether the scheduler has given up a call, as when the command that made it was killed."""
    state = _worker().state.tasks.get(key)
    return state is None or state.state == "cancelled"


class _Teller:
    """Sends how far an arm of a room is, once a second: the name of the room, and a Progress."""

    def __init__(self, room: str) -> None:
        self._room = room
        self._waiting: Progress | None = None
        self._told = 0.0

    def __call__(self, progress: Progress) -> None:
        before = self._waiting
        if before is not None and before.first + len(before.losses) == progress.first:
            progress = Progress(before.key, before.first, before.losses + progress.losses)
        self._waiting = progress
        now = time.monotonic()
        if now - self._told >= _TELL:
            self._told, self._waiting = now, None
            _worker().log_event(TOPIC, (self._room, encode(progress)))


def _worker() -> Any:
    from distributed import get_worker

    return get_worker()


class _Processes:
    """Replay processes of this Dask worker that wait for an arm, by room."""

    def __init__(self) -> None:
        self._idle: dict[Path, list[tuple[ReplayProcess, float]]] = defaultdict(list)
        self._lock = threading.Lock()
        self._cleaner: threading.Thread | None = None

    def take(self, home: Path) -> ReplayProcess | None:
        """Take a process for an arm of the room; None if none waits. Those of rooms that are gone end."""
        with self._lock:
            self._end(lambda other, since: is_stopped(other))
            return self._idle[home].pop()[0] if self._idle[home] else None

    def put(self, home: Path, process: ReplayProcess) -> None:
        """Keep a process for the next arm of the room, for a while."""
        process.task = None
        with self._lock:
            self._idle[home].append((process, time.monotonic()))
            if self._cleaner is None:
                self._cleaner = threading.Thread(target=self._clean, daemon=True)
                self._cleaner.start()

    def _clean(self) -> None:
        while True:
            time.sleep(1.0)
            with self._lock:
                self._end(lambda home, since: is_stopped(home) or time.monotonic() - since > _IDLE)

    def _end(self, is_over: Callable[[Path, float], bool]) -> None:
        for home, idle in list(self._idle.items()):
            for process, since in list(idle):
                if is_over(home, since):
                    idle.remove((process, since))
                    process.end()
            if not idle:
                del self._idle[home]


_PROCESSES = _Processes()
