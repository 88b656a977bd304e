"""The numbers that the rules examine, from a live run or from its recording."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.diagnosis.conditions import total_chance_loss
from harness.diagnosis.robust_stats import Floats, Ints
from harness.recording import Recording, RecordingError
from harness.schemas.layout import STATS, Head, Layout

_EARLIER = 2000  # iterations of the preceding run that make a baseline
_STAT = {name: row for row, name in enumerate(STATS)}


@dataclass(frozen=True)
class Names:
    """The names behind the columns of Rows, and of the statistics of activations.

    Attributes:
        heads: (H) the losses of the train net.
        params: (P) labels of the param blobs.
        matrices: (P) whether a param blob has more than one axis.
        blobs: (A) the net's blobs.
        relus: those of the blobs that a ReLU wrote.
    """

    heads: tuple[Head, ...]
    params: tuple[str, ...]
    matrices: tuple[bool, ...]
    blobs: tuple[str, ...]
    relus: tuple[str, ...]

    @cached_property
    def chance_loss(self) -> float | None:
        """The chance level of the total loss; None where the classes of a head are not known."""
        return total_chance_loss(self.heads)

    @cached_property
    def classes(self) -> Floats:
        """(H,) the number of classes of each head; NaN for a loss without classes."""
        return np.array([head.classes or np.nan for head in self.heads], np.float64)

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """(4 P + H + 1) the quantities of an iteration in the order in which it computes them (but activations)."""
        return (
            *(f"weight {param}" for param in self.params),
            *(f"loss {head.name}" for head in self.heads),
            "loss",
            *(f"gradient {param}" for param in self.params),
            *(f"update {param}" for param in self.params),
        )


@dataclass(frozen=True)
class Rows:
    """n consecutive iterations."""

    iteration: Ints  # (n,)
    lr: Floats  # (n,)
    loss: Floats  # (n,) weighted totals of single iterations
    heads: Floats  # (n, H) the losses in it
    weight_l2: Floats  # (n, P)
    gradient_l2: Floats  # (n, P)
    gradient_nonfinite: Floats  # (n, P) elements
    update_l2: Floats  # (n, P)

    def __len__(self) -> int:
        return len(self.iteration)

    def fits(self, names: Names) -> bool:
        """Check whether the columns are those of `names`, by their number."""
        return (self.heads.shape[1], self.gradient_l2.shape[1]) == (len(names.heads), len(names.params))

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(*(getattr(self, name)[rows] for name in _FIELDS))

    def __add__(self, later: Rows) -> Rows:
        return Rows(*(np.concatenate([getattr(self, name), getattr(later, name)]) for name in _FIELDS))


_FIELDS = tuple(field.name for field in fields(Rows))
_NORMS = _FIELDS[4:]


def no_rows(names: Names) -> Rows:
    """Return zero iterations with the columns of `names`."""
    heads, params = np.empty((0, len(names.heads))), np.empty((0, len(names.params)))
    return Rows(np.empty(0, np.int64), np.empty(0), np.empty(0), heads, params, params, params, params)


# -- a live run ------------------------------------------------------------------------------------------------------


def names_of(layout: Layout) -> Names:
    """Return the names of a run with this layout."""
    return Names(
        heads=tuple(head for head in layout.heads if head.name in layout.output_columns),
        params=tuple(p.label for p in layout.params),
        matrices=tuple(len(p.shape) > 1 for p in layout.params),
        blobs=tuple(blob.name for blob in layout.activations),
        relus=layout.relus,
    )


class FrameReader:
    """Reads the frames of one run."""

    def __init__(self, layout: Layout) -> None:
        columns = layout.output_columns
        self.names = names_of(layout)
        self._heads = [columns[head.name] for head in self.names.heads]

    def rows(self, frames: npt.NDArray[np.void]) -> Rows:
        """Return frames (a structured array of Layout.frame_dtype) as the rules examine them."""
        stat = frames["stat"]
        return Rows(
            frames["iteration"],
            frames["lr"],
            frames["loss"],
            frames["output"][:, self._heads].astype(np.float64),
            *(stat[:, _STAT[name]] for name in _NORMS),
        )


# -- a recording -----------------------------------------------------------------------------------------------------


def names_in(recording: Recording) -> Names:
    """Return the names of a recorded run."""
    outputs = recording.outputs
    params = recording.params
    return Names(
        heads=tuple(head for head in recording.heads if head.name in outputs),
        params=tuple(p.label for p in params),
        matrices=tuple(len(p.shape) > 1 for p in params),
        blobs=tuple(blob.name for blob in recording.blobs),
        relus=recording.relus,
    )


def recorded_rows(recording: Recording, names: Names, rows: slice = slice(None)) -> Rows:
    """Return the iterations of a recording, all or those in `rows`; `names` are those of the recording."""
    heads = [recording.output(head.name, rows)[:, 0] for head in names.heads]
    iterations = recording.series("iteration", rows)
    return Rows(
        iterations,
        recording.series("lr", rows),
        recording.series("loss", rows),
        np.array(heads, np.float64).reshape(len(heads), len(iterations)).T,
        *(recording.stat(name, rows).values for name in _NORMS),
    )


def rows_before(run: Path, first: int) -> Rows | None:
    """Return the last iterations before `first` that the run in the directory `run` recorded; None if it has none."""
    try:
        with Recording(run, may_repair=False) as recording:  # what a file names is only read
            stop = int(np.searchsorted(recording.iterations, first))
            rows = slice(max(0, stop - _EARLIER), stop)
            return recorded_rows(recording, names_in(recording), rows) if stop else None
    except RecordingError:
        return None
