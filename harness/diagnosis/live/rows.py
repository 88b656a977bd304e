"""The numbers that the rules examine, from a live run or from its recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net_roles import net_roles
from harness.diagnosis.conditions import total_chance_loss
from harness.diagnosis.robust_stats import Bools, Floats, Ints
from harness.errors import BadInput
from harness.recording import Recording, RecordingError
from harness.schemas.layout import INPUT_STATS, STATS, Activation, Head, Layout, NetRoles, Param

_EARLIER = 2000  # iterations of the preceding run that make a baseline
_STAT = {name: row for row, name in enumerate(STATS)}
_INPUT = {name: row for row, name in enumerate(INPUT_STATS)}


@dataclass(frozen=True)
class Names:
    """The names behind the columns of Rows, and of the statistics of activations.

    Attributes:
        heads: (H) the losses of the train net.
        params: (P) labels of the param blobs.
        matrices: (P) whether a param blob has more than one axis.
        blobs: (A) the net's blobs.
        relus: those of the blobs that a ReLU wrote, and before which something learns.
        inputs: (I) the blobs that data layers fill.
        labels: those of the inputs that are labels of classes.
        frozen: those of the param blobs that are not to learn: with lr_mult 0, or where no gradient arrives.
    """

    heads: tuple[Head, ...]
    params: tuple[str, ...]
    matrices: tuple[bool, ...]
    blobs: tuple[str, ...]
    relus: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    @cached_property
    def learning(self) -> Bools:
        """(P,) Whether a param blob is to learn."""
        return np.array([param not in self.frozen for param in self.params], bool)

    @cached_property
    def measured(self) -> Bools:
        """(I,) Whether the range of an input's values says something: not that of labels of classes."""
        return np.array([name not in self.labels for name in self.inputs], bool)

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
        """(I + 4 P + H + 1) the quantities of an iteration; but for activations, in the order in which it has them."""
        return (
            *(f"input {name}" for name in self.inputs),
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
    inputs: Floats  # (n, 4, I) statistics of what data layers filled, in the order of INPUT_STATS; NaN if not known

    def __len__(self) -> int:
        return len(self.iteration)

    @property
    def nonfinite_inputs(self) -> Floats:
        """(n, I) numbers of NaN or infinite elements; 0 where they are not known."""
        count = self.inputs[:, _INPUT["nonfinite"]]
        return np.where(np.isnan(count), 0.0, count)

    @property
    def largest_inputs(self) -> Floats:
        """(n, I) the largest magnitudes of the inputs."""
        return np.maximum(np.abs(self.inputs[:, _INPUT["minimum"]]), np.abs(self.inputs[:, _INPUT["maximum"]]))

    def with_columns_of(self, names: Names) -> Rows:
        """Return these iterations of another run with the columns of `names`; none where their numbers differ.

        Statistics of inputs, which runs from before 0.3.0 have not recorded, are then not known.
        """
        if (self.heads.shape[1], self.gradient_l2.shape[1]) != (len(names.heads), len(names.params)):
            return no_rows(names)
        if self.inputs.shape[2] == len(names.inputs):
            return self
        return replace(self, inputs=np.full((len(self), len(_INPUT), len(names.inputs)), np.nan))

    def __getitem__(self, rows: slice) -> Rows:
        return Rows(*(getattr(self, name)[rows] for name in _FIELDS))

    def __add__(self, later: Rows) -> Rows:
        return Rows(*(np.concatenate([getattr(self, name), getattr(later, name)]) for name in _FIELDS))


_FIELDS = tuple(field.name for field in fields(Rows))
_NORMS = ("weight_l2", "gradient_l2", "gradient_nonfinite", "update_l2")


def no_rows(names: Names) -> Rows:
    """Return zero iterations with the columns of `names`."""
    heads, params = np.empty((0, len(names.heads))), np.empty((0, len(names.params)))
    inputs = np.empty((0, len(_INPUT), len(names.inputs)))
    return Rows(np.empty(0, np.int64), np.empty(0), np.empty(0), heads, params, params, params, params, inputs)


# -- a live run ------------------------------------------------------------------------------------------------------


def names_of(layout: Layout) -> Names:
    """Return the names of a run with this layout."""
    heads = tuple(head for head in layout.heads if head.name in layout.output_columns)
    return _names(heads, layout.params, layout.activations, layout.relus, layout.inputs, layout.roles)


def _names(
    heads: tuple[Head, ...],
    params: Sequence[Param],
    blobs: Sequence[Activation],
    relus: Sequence[str],
    inputs: Sequence[Activation],
    roles: NetRoles,
) -> Names:
    filled = tuple(blob.name for blob in inputs)
    return Names(
        heads=heads,
        params=tuple(p.label for p in params),
        matrices=tuple(len(p.shape) > 1 for p in params),
        blobs=tuple(blob.name for blob in blobs),
        relus=tuple(relu for relu in relus if relu not in roles.fixed),
        inputs=filled,
        labels=tuple(name for name in roles.labels if name in filled),
        frozen=tuple(p.label for p in params if p.lr_mult == 0 or p.layer in roles.idle),
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
            **{name: stat[:, _STAT[name]] for name in _NORMS},
            inputs=frames["input"],
        )


# -- a recording -----------------------------------------------------------------------------------------------------


def names_in(recording: Recording) -> Names:
    """Return the names of a recorded run."""
    outputs = recording.outputs
    heads = tuple(head for head in recording.heads if head.name in outputs)
    roles = _roles_in(recording)
    return _names(heads, recording.params, recording.blobs, recording.relus, recording.inputs, roles)


def _roles_in(recording: Recording) -> NetRoles:
    """Return the roles in the recorded net; none where that cannot be read."""
    try:
        return net_roles(parse_text(str(recording.attributes.get("net", "")), pb.NetParameter, recording.path))
    except BadInput:
        return NetRoles()


def recorded_rows(recording: Recording, names: Names, rows: slice = slice(None)) -> Rows:
    """Return the iterations of a recording, all or those in `rows`; `names` are those of the recording."""
    heads = [recording.output(head.name, rows)[:, 0] for head in names.heads]
    iterations = recording.series("iteration", rows)
    return Rows(
        iterations,
        recording.series("lr", rows),
        recording.series("loss", rows),
        np.array(heads, np.float64).reshape(len(heads), len(iterations)).T,
        **{name: recording.stat(name, rows).values for name in _NORMS},
        inputs=np.stack([recording.input_stat(name, rows).values for name in INPUT_STATS], axis=1),
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
