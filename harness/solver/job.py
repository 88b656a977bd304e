"""What the harness process tells the solver process to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from harness.recording.layout import Head
from harness.recording.window import Window


@dataclass(frozen=True)
class Job:
    """One run, complete: everything in it was checked.

    `solver` is the effective solver's text; `solver_type` its type in Caffe's registry. `window_keys` is a file of the
    keys and labels expected inside the windows (None where the train net reads no LMDB). `ring`, `lifeline` and `lock`
    are inherited file descriptors: the lifeline's other end closes when the harness process dies; the lock on the run
    directory is both processes', so that nobody mends a recording which the solver process will go on with.
    """

    run: str
    solver: str
    solver_type: str
    gpu: int | None
    until: int
    windows: tuple[Window, ...]
    capture: tuple[str, ...]
    weights: tuple[str, ...]
    resume: str | None
    heads: tuple[Head, ...]
    window_keys: str | None
    label_blob: str | None
    facts: dict[str, Any]
    ring: int
    lifeline: int
    lock: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        raw = json.loads(text)
        return cls(
            **raw
            | {
                "windows": tuple(Window(**w) for w in raw["windows"]),
                "heads": tuple(Head(**h) for h in raw["heads"]),
                "capture": tuple(raw["capture"]),
                "weights": tuple(raw["weights"]),
            }
        )
