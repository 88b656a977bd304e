"""What the harness process tells the solver process to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from harness.schemas.data_position import Point
from harness.schemas.layout import Head
from harness.schemas.stream import Stream
from harness.schemas.window import Window


@dataclass(frozen=True)
class Resume:
    """Weights and history to go on with before `iteration`: a snapshot's, or those kept in a window of a recording.

    `as_is`: Caffe can restore `state` itself; otherwise its caffemodel is in another place than it says, or its history
    is multiplied by `scale` first.
    """

    iteration: int
    step: int  # Caffe's current_step
    state: str | None
    model: str | None
    digest: str | None  # of the weights, as the JSON beside the snapshot says
    window: str | None
    scale: float | None
    as_is: bool


@dataclass(frozen=True)
class Job:
    """One run, complete: everything in it was checked.

    `solver` is the effective solver's text; `solver_type` its type in Caffe's registry. `nets` are the texts of the
    train net and of the test nets; Caffe reads those that the solver names where `as_written`. `point` is where the
    data and the random numbers stand; with `replay` they are brought there, by `streams` in the place of the Data
    layers of `point`. `window_keys` is a file of the keys and labels expected inside the windows (None where the train
    net reads no LMDB). `ring`, `lifeline` and `lock` are inherited file descriptors: the lifeline's other end closes
    when the harness process dies; the lock on the run directory is both processes', so that nobody mends a recording
    which the solver process will go on with.
    """

    run: str
    solver: str
    solver_type: str
    nets: tuple[str, ...]
    native: tuple[str, ...]  # the nets as they were when the training began, whose layers drew its seeds
    as_written: bool
    gpu: int | None
    until: int
    windows: tuple[Window, ...]
    capture: tuple[str, ...]
    weights: tuple[str, ...]
    resume: Resume | None
    point: Point
    replay: bool
    streams: tuple[Stream, ...]
    blas: dict[str, Any] | None  # what OpenBLAS ran on when the snapshot was made
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
                "nets": tuple(raw["nets"]),
                "native": tuple(raw["native"]),
                "resume": Resume(**raw["resume"]) if raw["resume"] else None,
                "point": Point.from_json(raw["point"]),
                "streams": tuple(Stream.from_dict(s) for s in raw["streams"]),
            }
        )
