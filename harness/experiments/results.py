"""Results of arms in a run directory, a file each, named by the arm's key."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from harness.atomic_write import write_whole
from harness.errors import BadInput, RecordingFailed
from harness.recording.locks import only_command
from harness.schemas.arm import Arm, ArmResult

DIRECTORY = "experiments"
_SUFFIX, _LOCK = ".arm", "lock"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ArmResult).decode


class Results:
    """The results in the folder `directory`, which is made if there is none.

    Raises:
        BadInput: it cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        make_directory(directory)

    def load(self, arm: Arm) -> ArmResult | None:
        """Return the result of an arm; None if there is none, or if its file is damaged."""
        return _load(self._path(arm))

    def save(self, result: ArmResult) -> None:
        """Store a result, unless another try may give another one: a process that was killed, changes that do not fit.

        Raises:
            RecordingFailed: it cannot be written.
        """
        if result.killed or result.ended == "refused":
            return
        try:
            write_whole(self._path(result.arm), _encode(result))
        except OSError as error:
            raise RecordingFailed(
                f"{self._directory}: the result of an arm cannot be written ({error.strerror}). Free some space on "
                "that disk and give the same command again: what is stored is not replayed a second time"
            ) from None

    def _path(self, arm: Arm) -> Path:
        return self._directory / f"{arm.key}{_SUFFIX}"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other commands from replaying arms of the run in the directory `run` until the block, or this process, ends.

    Raises:
        BadInput: another one replays some, or results cannot be stored there.
    """
    make_directory(run / DIRECTORY)
    with only_command(run / DIRECTORY / _LOCK, "another command replays arms of this run", run):
        yield


def make_directory(directory: Path) -> None:
    """Make the folder of results, if there is none.

    Raises:
        BadInput: it cannot be made or written.
    """
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise _unusable(directory, str(error.strerror)) from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise _unusable(directory, "no write access")


def find(directory: Path, prefix: str) -> ArmResult:
    """Find the result in `directory` whose arm has a key that begins with `prefix`.

    Raises:
        BadInput: there is none, there are several, or its file is damaged.
    """
    found = sorted(path for path in directory.glob(f"*{_SUFFIX}") if path.stem.startswith(prefix.lower()))
    if not prefix or not found:
        remedy = "Give a key of explain.json, or its first digits"
        raise BadInput("no arm has a key like that", file=directory, field="key", value=prefix, remedy=remedy)
    if len(found) > 1:
        keys = ", ".join(path.stem[: len(prefix) + 6] for path in found[:3]) + (", …" if len(found) > 3 else "")
        problem = f"the keys of {len(found)} arms begin with that ({keys})"
        raise BadInput(problem, file=directory, field="key", value=prefix, remedy="Give more digits")
    result = _load(found[0])
    if result is None:
        remedy = "Remove it: explain.py makes it anew"
        raise BadInput("the result of an arm is damaged, or of another version", file=found[0], remedy=remedy)
    return result


def _load(path: Path) -> ArmResult | None:
    """Load a result; None if there is none, or if its file is damaged or of another arm."""
    try:
        found = _decode(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError):
        return None
    return found if path.stem == found.arm.key else None


def _unusable(directory: Path, why: str) -> BadInput:
    return BadInput(
        f"results of replays cannot be stored there ({why})",
        file=directory,
        remedy="Give yourself write access, or work on a copy of the run",
    )
