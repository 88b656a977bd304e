"""The answer of explain to a planted run, as JSON beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.atomic_write import write_whole

NAME = "result.json"


class Answer(msgspec.Struct, frozen=True):
    """What `explain --json` said.

    Attributes:
        code: its exit code; `error` has the end of what it printed where it printed no JSON.
        kind: of the verdict; empty without JSON.
        conditions: their kinds.
        records: the keys of the culprits.
        identical: the control had the recorded digests; None where there was none.
        seconds: of the whole command.
        iterations: that were replayed.
        healing: the kinds of the arms that healed, for the baseline of a random search.
    """

    code: int
    kind: str
    conditions: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    iteration: int | None = None
    identical: bool | None = None
    seconds: float = 0.0
    iterations: int = 0
    arms: int = 0
    healing: tuple[str, ...] = ()
    sentence: str = ""
    error: str = ""


class Result(msgspec.Struct, frozen=True):
    """The answers about a run.

    Attributes:
        answer: without options; of a control, with --at in its middle.
        unasked: of a control, without --at.
        divided: whether the run heals from its last snapshot on with a tenth of the learning rate; None for a control.
    """

    answer: Answer
    unasked: Answer | None = None
    divided: bool | None = None


def read_result(home: Path) -> Result | None:
    """Read the result of the fault in `home`; None if there is none yet."""
    path = home / NAME
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else None


def write_result(home: Path, result: Result) -> None:
    write_whole(home / NAME, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
