"""What the rules look at: the same numbers, whether they come from a live run or out of a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.recording import Recording, RecordingError
from harness.schemas.layout import STATS, Head, Layout

Floats = npt.NDArray[np.float64]
_EARLIER = 2000  # iterations of the run before that are looked at
_STAT = {name: row for row, name in enumerate(STATS)}


@dataclass(frozen=True)
class Rows:
    """n iterations one after the other."""

    iteration: npt.NDArray[np.int64]  # (n,)
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
        """Are these the columns?"""
        return (self.heads.shape[1], self.gradient_l2.shape[1]) == (len(names.heads), len(names.params))

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __add__(self, later: Rows) -> Rows:
        return Rows(*(np.concatenate([getattr(self, f.name), getattr(later, f.name)]) for f in fields(self)))


@dataclass(frozen=True)
class Names:
    """What the columns of Rows and of the activations stand for."""

    heads: tuple[Head, ...]
    params: tuple[str, ...]
    matrices: tuple[bool, ...]  # which of them are more than a vector
    blobs: tuple[str, ...]
    relus: tuple[str, ...]  # those of the blobs that a ReLU wrote

    @property
    def chance_loss(self) -> float | None:
        """The loss of a net to which all classes are the same: Σ weight · ln(classes); None without classes."""
        parts = [head.weight * math.log(head.classes) for head in self.heads if head.classes]
        return sum(parts) if parts and len(parts) == len(self.heads) else None


def no_rows(names: Names) -> Rows:
    """Nothing yet."""
    heads, params = np.empty((0, len(names.heads))), np.empty((0, len(names.params)))
    return Rows(np.empty(0, np.int64), np.empty(0), np.empty(0), heads, params, params, params, params)


def names_of(layout: Layout) -> Names:
    """The names behind `rows_of(frames, layout)`."""
    return Names(
        heads=tuple(head for head in layout.heads if head.name in layout.output_columns),
        params=tuple(p.label for p in layout.params),
        matrices=tuple(len(p.shape) > 1 for p in layout.params),
        blobs=tuple(blob.name for blob in layout.activations),
        relus=layout.relus,
    )


def rows_of(frames: npt.NDArray[np.void], layout: Layout) -> Rows:
    """Records of Layout.frame_dtype, as the rules look at them."""
    columns = [layout.output_columns[head.name] for head in names_of(layout).heads]
    stat = frames["stat"]
    return Rows(
        frames["iteration"],
        frames["lr"],
        frames["loss"],
        frames["output"][:, columns].astype(np.float64),
        *(stat[:, _STAT[f.name]] for f in fields(Rows)[4:]),
    )


def names_in(recording: Recording) -> Names:
    """The names behind `recorded_rows(recording)`."""
    outputs = recording.outputs
    return Names(
        heads=tuple(head for head in recording.heads if head.name in outputs),
        params=tuple(p.label for p in recording.params),
        matrices=tuple(len(p.shape) > 1 for p in recording.params),
        blobs=tuple(blob.name for blob in recording.blobs),
        relus=recording.relus,
    )


def recorded_rows(recording: Recording, rows: slice = slice(None)) -> Rows:
    """The iterations of a recording, all or those in `rows`."""
    heads = [recording.output(head.name, rows)[:, 0] for head in names_in(recording).heads]
    iterations = recording.series("iteration", rows)
    return Rows(
        iterations,
        recording.series("lr", rows),
        recording.series("loss", rows),
        np.array(heads, np.float64).reshape(len(heads), len(iterations)).T,
        *(recording.stat(f.name, rows).values for f in fields(Rows)[4:]),
    )


def rows_before(run: Path, first: int) -> Rows | None:
    """The last iterations before `first` that the run in the directory `run` recorded; None if it did not."""
    try:
        with Recording(run) as recording:
            stop = int(np.searchsorted(recording.iterations, first))
            return recorded_rows(recording, slice(max(0, stop - _EARLIER), stop)) if stop else None
    except RecordingError:
        return None
