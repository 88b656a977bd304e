"""Arms: replays of a stretch of a run in which something is changed, and what they gave.

The content of an arm is its name: arms that say the same have the same `key`, whatever the machine and the version of
Python, and nothing that has a result is replayed again.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import xxhash

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Finite = Annotated[float, msgspec.Meta(ge=-3.4e38, le=3.4e38)]  # a float32; NaN is not, JSON has none

MEANING = 1  # of an arm; raised when the same arm comes to mean another replay, so that old results count no more


class ArmChange(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something that an arm changes."""


class SolverField(ArmChange, frozen=True):
    """A field of the solver is another one for the whole arm: FIELD and VALUE as for `restart.py --set`."""

    field: str
    value: str


class LayerField(ArmChange, frozen=True):
    """A field of one layer of the train net is another one, as for `restart.py --set-layer`, but no pattern."""

    layer: str
    field: str
    value: str


class RateHeld(ArmChange, frozen=True):
    """From iteration `first` on, the learning rate is `rate`, whatever the schedule says."""

    first: Count
    rate: Finite


class RateScaled(ArmChange, frozen=True):
    """In the iterations `first` … `stop` - 1 (None: to the end), the learning rate is `factor` times what it was."""

    factor: Finite
    first: Count
    stop: Count | None = None


class HistoryScaled(ArmChange, frozen=True):
    """At its start, the solver's history, or that of one layer, is multiplied by `factor`; 0 sets it to zero."""

    factor: Finite
    layer: str | None = None


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The place of a record: which one of those that a data layer reads in `iteration`, over all its passes."""

    iteration: Count
    position: Count


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The record at `place` of the arm is the one that the run read at `source`.

    Its image is cropped and mirrored as the one whose place it takes, and it brings its own label. `layers` are the
    data layers in which it is replaced; empty for all of them.
    """

    place: Place
    source: Place
    layers: tuple[str, ...] = ()


class RecordsReplaced(ArmChange, frozen=True):
    """Other records are in some places; all other images are the same, byte for byte."""

    replacements: tuple[Replacement, ...]


class StreamShifted(ArmChange, frozen=True):
    """The iterations `first` … `stop` - 1 (None: to the end) read the batches of the iterations from `source` on."""

    first: Count
    source: Count
    stop: Count | None = None


class UpdateWithheld(ArmChange, frozen=True):
    """The updates of `first` … `stop` - 1 (None: to the end) leave a layer's weights, or one param blob, as they are.

    The solver's history goes on as if they had been made.
    """

    layer: str
    first: Count
    stop: Count | None = None
    index: Count | None = None


class WeightsJittered(ArmChange, frozen=True):
    """At its start, each weight that learns is multiplied by a number drawn between 1 - `amount` and 1 + `amount`."""

    amount: Annotated[float, msgspec.Meta(ge=0, le=1)]


class WeightsLimited(ArmChange, frozen=True):
    """At its start, elements of a layer's params, or of one param blob, beyond ±`limit` become ±`limit`, and NaN 0.

    It mends weights of which a bit was flipped.
    """

    layer: str
    limit: Annotated[float, msgspec.Meta(ge=0, le=3.4e38)]
    index: Count | None = None


class WeightsScaled(ArmChange, frozen=True):
    """At its start, a layer's params, or one param blob, are multiplied by `factor`; their history is as it was."""

    layer: str
    factor: Finite
    index: Count | None = None


class LayerRedrawn(ArmChange, frozen=True):
    """At its start, a layer's params are as its fillers draw them with the arm's seed, and their history is zero."""

    layer: str


AnyChange = (
    SolverField
    | LayerField
    | RateHeld
    | RateScaled
    | HistoryScaled
    | RecordsReplaced
    | StreamShifted
    | UpdateWithheld
    | WeightsJittered
    | WeightsLimited
    | WeightsScaled
    | LayerRedrawn
)


class Arm(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A replay of the `horizon` iterations from `start` on, with `changes`, in this order; without any: a control.

    `seed` seeds what is random in the changes; arms that differ in it alone are repeats of each other. With `look`, the
    result has the extremes of all blobs: that costs time, so it is for short arms.
    """

    start: Count
    horizon: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    changes: tuple[AnyChange, ...] = ()
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    look: bool = False

    @property
    def until(self) -> int:
        """The iteration before which it ends."""
        return self.start + self.horizon

    @property
    def key(self) -> str:
        """The hash of its content, as 32 hexadecimal digits.

        Raises:
            msgspec.ValidationError: a number is out of its range.
        """
        canonical = msgspec.json.decode(msgspec.json.encode(self), type=Arm)  # 1 as a factor becomes 1.0
        content = msgspec.json.encode(canonical, order="sorted")
        return xxhash.xxh3_128_hexdigest(b"caffe-harness arm %d\n" % MEANING + content)


class ArmResult(msgspec.Struct, frozen=True, kw_only=True):
    """What an arm gave. Each list has a value for each iteration that was computed, from `arm.start` on.

    Attributes:
        ended: "completed"; "not finite", at the last of its iterations, after which nothing was computed; "died" with
            Caffe's process or in a layer; or "refused": its changes fit neither the net nor its history.
        why: a sentence for all but "completed".
        killed: it died of a signal from outside, such as that of the kernel when memory is short; another try may do.
        loss: the weighted total.
        rate: the learning rate.
        gradient_l2: of the raw gradient of all param blobs together; NaN where no backward pass was made.
        layer_gradient_l2: by layer, that of its own param blobs together.
        layer_update_l2: likewise, of the update that Caffe computed, also where an arm withheld it.
        blob_peak: with `arm.look`, by blob in the order of the forward pass, its largest magnitude in any pass once all
            layers that write it in place have run; NaN where it has a NaN.
        zero_fraction: with `arm.look`, by blob that a ReLU wrote, the share of zeros in it, over all passes.
        outputs: of the last pass, each output and each head of the train net that is one number.
        digest: of the weights before each iteration; `final_digest` of those after the last one.
        not_exact: sentences on what may keep its process from the recorded bits.
        seconds: that it took, without those of building the solver and of coming to its start.
        harness: the version.
    """

    arm: Arm
    ended: Literal["completed", "not finite", "died", "refused"]
    why: str = ""
    killed: bool = False
    loss: tuple[float, ...] = ()
    rate: tuple[float, ...] = ()
    gradient_l2: tuple[float, ...] = ()
    layer_gradient_l2: dict[str, tuple[float, ...]] = {}
    layer_update_l2: dict[str, tuple[float, ...]] = {}
    blob_peak: dict[str, tuple[float, ...]] = {}
    zero_fraction: dict[str, tuple[float, ...]] = {}
    outputs: dict[str, tuple[float, ...]] = {}
    digest: tuple[int, ...] = ()
    final_digest: int | None = None
    not_exact: tuple[str, ...] = ()
    seconds: float = 0.0
    harness: str = ""
