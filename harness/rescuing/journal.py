"""The study directory of a rescue, and its journal: what was decided at each break."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from harness.atomic_write import sync, write_whole
from harness.diagnosis.rescue.candidates import plain_name
from harness.diagnosis.rescue.trend import Healthy
from harness.errors import BadInput, RecordingFailed
from harness.recording.result_files import rescue_study
from harness.schemas.explanation import Levels
from harness.schemas.rescue import Attempt, Candidate
from harness.schemas.run_info import PathName
from harness.studies.held_directory import held

_JOURNAL = "journal.jsonl"
_LONGEST = 60  # characters of a name that become part of that of a directory
_MARK = 8  # of them tell longer names apart


class State(msgspec.Struct, frozen=True):
    """The state of a training before `iteration`, which the run directory `run` keeps."""

    run: PathName
    iteration: int


class Decision(msgspec.Struct, frozen=True):
    """What was decided at a break: a line of the journal.

    Attributes:
        number: of the break, from 1 on; a break that comes again at the same place has the same one.
        origin: the state from which training goes on.
        candidate: the change that was chosen; None if nothing helped.
        reached: the state past the break, at the end of its restart there.
        levels: of the loss, before and after the break.
        healthy: the training before it, or before an earlier one; None where that is not known.
    """

    number: int
    attempt: Attempt
    origin: State
    levels: Levels
    candidate: Candidate | None = None
    reached: State | None = None
    healthy: Healthy | None = None


class Study:
    """The study directory `directory` of the run `run`. Use `opened`.

    Attributes:
        decisions: those of the journal, in their order.
    """

    def __init__(self, directory: Path, run: Path) -> None:
        self.directory, self.run = directory, run
        decisions = list(self._read())
        self.decisions = [self._here(one, Path(decisions[0].attempt.run)) for one in decisions]

    def add(self, decision: Decision) -> None:
        """Write a decision to the disk, without outputs of test passes that are not finite: JSON has no such numbers.

        Raises:
            RecordingFailed: it cannot be written.
        """
        decision = _with_finite_tests(decision)
        try:
            with (self.directory / _JOURNAL).open("ab") as file:
                file.write(msgspec.json.encode(decision) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            sync(self.directory)
        except OSError as error:
            raise RecordingFailed(
                f"{self.directory / _JOURNAL}: cannot be written ({error.strerror}). Free some space on that disk and "
                "give the same command again: it goes on where it was"
            ) from None
        self.decisions.append(decision)

    def path(self, number: int, name: str) -> Path:
        """Return the run directory of the part `name` of what is done at break `number`: another one for each name."""
        plain = plain_name(name)
        if len(plain) > _LONGEST:
            mark = hashlib.sha256(plain.encode(errors="surrogateescape")).hexdigest()[:_MARK]
            plain = f"{plain[: _LONGEST - _MARK - 1]}-{mark}"
        return self.directory / f"{number:02d}-{plain}"

    def _here(self, decision: Decision, first: Path) -> Decision:
        """Return a decision with the runs where they are now, if this study and its run were moved or copied.

        `first` is the run, as it was when the study began.
        """

        def here(run: str) -> str:
            path = Path(run)
            if path == first:
                return str(self.run)
            return str(self.directory / path.name) if path.parent == rescue_study(first) else run

        def state(kept: State) -> State:
            return State(here(kept.run), kept.iteration)

        attempt = msgspec.structs.replace(decision.attempt, run=here(decision.attempt.run))
        reached = None if decision.reached is None else state(decision.reached)
        return msgspec.structs.replace(decision, attempt=attempt, origin=state(decision.origin), reached=reached)

    def _read(self) -> Iterator[Decision]:
        """Read the decisions of the journal; a last line that was cut short is none.

        Raises:
            BadInput: another line is damaged.
        """
        path = self.directory / _JOURNAL
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        for number, line in enumerate(lines[:-1], 1):
            try:
                yield msgspec.json.decode(line, type=Decision)
            except (msgspec.DecodeError, msgspec.ValidationError) as error:
                remedy = "Move the directory away: what it has is not used any more, and the rescue begins anew"
                raise BadInput(f"line {number} is damaged ({error})", file=path, remedy=remedy) from None
        if lines and lines[-1]:  # a power failure cut it short
            write_whole(path, b"".join(line + b"\n" for line in lines[:-1]))


def _with_finite_tests(decision: Decision) -> Decision:
    healthy, attempt = decision.healthy, decision.attempt
    tried = tuple(msgspec.structs.replace(one, test=_finite(one.test)) for one in attempt.tried)
    return msgspec.structs.replace(
        decision,
        attempt=msgspec.structs.replace(attempt, tried=tried),
        healthy=None if healthy is None else replace(healthy, test=_finite(healthy.test)),
    )


def _finite(outputs: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in outputs.items() if math.isfinite(value)}


@contextmanager
def opened(run: Path) -> Iterator[Study]:
    """Open the study directory of a run, RUN-rescue, which is made if there is none; no other process can meanwhile.

    Raises:
        BadInput: it cannot be made or written, another command rescues this run, or its journal is damaged.
    """
    directory = rescue_study(run)
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        remedy = "Give yourself write access, or work on a copy of the run"
        raise BadInput(f"cannot be made ({error.strerror})", file=directory, remedy=remedy) from None
    with held(directory, "another command rescues this run", run):
        yield Study(directory, run)
