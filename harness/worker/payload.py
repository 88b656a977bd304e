"""Payload: everything that the supervisor passes to a worker at its start."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from harness.schemas.data_position import TrainingPosition
from harness.schemas.layout import Head
from harness.schemas.run_info import Blas, RunInfo
from harness.schemas.stream import RowsStream, Stream
from harness.schemas.window import Window


@dataclass(frozen=True)
class Resume:
    """Weights and history to continue with before `iteration`: a snapshot's, or those kept in a window of a recording.

    Attributes:
        step: Caffe's current_step.
        state: the solverstate; None for a window.
        model: its caffemodel.
        digest: of the weights, as the JSON beside the snapshot has it; None if it is not known.
        layers: the file with the state that layers keep outside their params; None if there is none to restore.
        window: the run directory whose recording has the window; None for a snapshot.
        window_layers: the window has the state of layers, and it is to be restored.
        scale: the factor for the history; None leaves it as it is.
        as_is: Caffe can restore `state` itself. Otherwise the caffemodel is in another place than `state` says, or the
            history is multiplied by `scale` first.
    """

    iteration: int
    step: int
    state: str | None
    model: str | None
    digest: str | None
    layers: str | None
    window: str | None
    window_layers: bool
    scale: float | None
    as_is: bool


@dataclass(frozen=True)
class Payload:
    """One run, complete and checked.

    Attributes:
        run: the run directory, absolute.
        info: run.json, with the effective solver and the nets.
        solver_type: the solver's type in Caffe's registry.
        snapshot_name: the last part of the snapshot_prefix.
        native: the train net and the test nets as they were when the training began: their layers drew its seeds.
        as_written: Caffe reads the nets that the solver names; otherwise those of `info` are written for it.
        gpu: None for the CPU.
        replay: data and random numbers are brought to the position in `info`, by `streams` and `rows` in place of
            its data layers. Otherwise Caffe's own layers begin at their first record.
        blas: what OpenBLAS ran on when the snapshot was made; None if that does not matter or is not known.
        record_keys: a file that gives the keys and labels expected in the windows; None if the train net reads no LMDB.
        label_blob: the blob that has these labels.
    """

    run: str
    info: RunInfo
    solver_type: str
    snapshot_name: str
    native: tuple[str, ...]
    as_written: bool
    gpu: int | None
    windows: tuple[Window, ...]
    resume: Resume | None
    replay: bool
    streams: tuple[Stream, ...]
    rows: tuple[RowsStream, ...]
    blas: Blas | None
    record_keys: str | None
    label_blob: str | None

    @property
    def nets(self) -> tuple[str, ...]:
        """The prototxts of the train net and of the test nets."""
        return (self.info.net, *self.info.test_nets)

    @property
    def point(self) -> TrainingPosition:
        """The position in data and random numbers at which the run starts."""
        return self.info.point

    @property
    def until(self) -> int:
        return self.info.until

    @property
    def capture(self) -> tuple[str, ...]:
        return self.info.capture

    @property
    def weights(self) -> tuple[str, ...]:
        return self.info.weights

    @property
    def heads(self) -> tuple[Head, ...]:
        return self.info.heads

    def encode(self) -> bytes:
        """Encode as MessagePack."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, content: bytes) -> Payload:
        """Decode what `encode` returned."""
        return msgspec.msgpack.decode(content, type=cls)
