"""Decide how exactly a run repeats the training that it continues.

Everything that users read about exactness (terminal, run.json, report, comparison, suggestions) is rendered from here
by `reports.text.exactness`. A new reason for inexactness goes into `_reasons`, a new assumption into `_conditions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from harness.caffe_files.drawing_layers import drawing_layers, may_change_size
from harness.caffe_files.layer_types import is_input_without_position
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import net_phase
from harness.caffe_files.stateful_layers import is_recurrent, stateful_layers
from harness.schemas.data_position import Place, TrainingPosition, numbered
from harness.schemas.run_info import Gpu, RunInfo, TrainingSetup

_AS_CAFFE = (
    "as Caffe resumes (--data caffe), weights and momentum are restored, the position in the data and the random state "
    "are not (BVLC/caffe#1059), so this is not what an uninterrupted run would do"
)
_PLANNED = Path("run.json")  # of a run that is only planned
_NO_SEED = "the solver has no random_seed: crops, mirrors, dropout and the order of shuffled images differ"


@dataclass(frozen=True)
class Exactness:
    """How exactly a run repeats a training, as far as it is known before their digests are compared.

    Attributes:
        reasons: what keeps it from repeating the training bit for bit.
        conditions: what must hold besides and cannot be seen from outside.
    """

    reasons: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Nothing is known that keeps the run from repeating the training."""
        return not self.reasons


@dataclass(frozen=True)
class Restarts:
    """How exactly restarts of a run repeat it: from iteration 0 (None: it did not begin there), and from snapshots."""

    from_start: Exactness | None
    from_snapshots: Exactness


def exactness(
    now: RunInfo,
    then: TrainingSetup | None,
    layer_state: bool = True,
    *,
    as_caffe: bool = False,
    file: Path = _PLANNED,
) -> Exactness:
    """Tell how exactly the run `now` repeats the training `then` before it changes anything.

    Args:
        now: as planned, with its position. A run from iteration 0 that continues nothing repeats itself.
        then: what the training computed with; None for a snapshot that Caffe alone wrote, and for a new training.
        layer_state: the state that layers keep outside their params is stored where `now` begins.
        as_caffe: data and random numbers start as in Caffe's own resume (`--data caffe`).
        file: the run.json that `now` was read from.

    Raises:
        BadInput: a prototxt in `now` cannot be parsed.
    """
    if as_caffe and now.first:
        return Exactness((_AS_CAFFE,))
    nets = [parse_text(text, pb.NetParameter, file) for text in (now.net, *now.test_nets)]
    reasons = [*_reasons(now, then, nets), *(() if layer_state or not now.first else _without_state(now, then, nets))]
    return Exactness(tuple(dict.fromkeys(reasons)), tuple(dict.fromkeys(_conditions(now, then, nets))))


def recorded_exactness(info: RunInfo) -> Exactness:
    """Return how exactly a run repeats the training that it continues: by its settings, and as its digests showed."""
    return Exactness(info.not_exact + _shown(info), info.exact_if)


def of_restarts(info: RunInfo, file: Path = _PLANNED) -> Restarts:
    """Tell how exactly restarts of a run on the same machine repeat it. `file` is the run.json that `info` is from.

    Raises:
        BadInput: a prototxt in `info` cannot be parsed.
    """
    unexplained = () if info.not_exact else _shown(info)
    later = exactness(msgspec.structs.replace(info, first=info.until), info, file=file)
    start = exactness(info, info, file=file) if info.first == 0 else None
    return Restarts(start and _with(start, unexplained), _with(later, unexplained))


def _with(found: Exactness, reasons: tuple[str, ...]) -> Exactness:
    return replace(found, reasons=found.reasons + reasons)


def _shown(info: RunInfo) -> tuple[str, ...]:
    """State a difference that the comparison of digests has shown."""
    verified = info.verified
    if verified is None or verified.first_difference is None:
        return ()
    return (
        f"its weights differ from those that {verified.against[-1]} recorded, at iteration {verified.first_difference}",
    )


def _reasons(now: RunInfo, then: TrainingSetup | None, nets: Sequence[pb.NetParameter]) -> Iterator[str]:
    if now.first:  # at iteration 0 every layer starts as it did in the training
        yield from layers_without_place(nets)
    if then is not None:
        yield from other_data(now.point, then)
        yield from differences(then, now)
    elif now.first and now.random_seed_drawn:
        yield _NO_SEED
    if now.first and now.point.generator.words is None:
        yield from _draws_of_filtered(nets)


def _conditions(now: RunInfo, then: TrainingSetup | None, nets: Sequence[pb.NetParameter]) -> Iterator[str]:
    if now.first and then is None:
        yield from _native_conditions(now)
    if now.first and now.point.generator.words is None:
        yield from _draws_of_images(nets)
    if now.first == 0 and then is not None:
        for name in dict.fromkeys(layer.name for net in nets for layer in net.layer if layer.type == "Python"):
            yield f"layer {name} (Python) does the same in every run, which only its code tells"


def _native_conditions(now: RunInfo) -> Iterator[str]:
    """State what a snapshot of `caffe train` does not tell: where the process began that wrote it."""
    begun = now.native_start
    if begun is None or begun.known_from is None:
        hint = "the iteration at which it was last resumed"
        if begun is not None and begun.suspected is not None:
            hint = f"which the snapshots beside it suggest, for example --native-start {begun.suspected}"
        yield (
            f"caffe train reached iteration {now.first} without interruption from iteration 0, which cannot be known "
            f"from the snapshot (if it was resumed, give --native-start N, {hint})"
        )
    elif begun.known_from == "--native-start":
        where = f"was last resumed at iteration {begun.iteration}" if begun.iteration else "was never resumed"
        yield f"caffe train {where}, as --native-start says"


def _draws_of_filtered(nets: Sequence[pb.NetParameter]) -> Iterator[str]:
    """Name the Filter layers whose outputs' size, other in each batch, is that of a later layer's random numbers."""
    for number, net in enumerate(nets):
        drawing = [position for position in drawing_layers(net, net_phase(number)) if net.layer[position].bottom]
        for position, layer in enumerate(net.layer):
            if layer.type == "Filter" and drawing and position < drawing[-1]:
                yield (
                    f"layer {net.layer[drawing[-1]].name} draws a random number for each value, and how many values "
                    f"layer {layer.name} (Filter) let through is not known: other random numbers"
                )


def _draws_of_images(nets: Sequence[pb.NetParameter]) -> Iterator[str]:
    """Name the layers whose images may differ in size where a layer draws a random number for each value."""
    for number, net in enumerate(nets):
        drawing = [position for position in drawing_layers(net, net_phase(number)) if net.layer[position].bottom]
        for layer in net.layer:
            if drawing and may_change_size(layer):
                yield (
                    f"all images of layer {layer.name} have one size, since layer {net.layer[drawing[-1]].name} draws "
                    "a random number for each value"
                )


def _without_state(now: RunInfo, then: TrainingSetup | None, nets: Sequence[pb.NetParameter]) -> Iterator[str]:
    """Name the layers of `nets` that keep a state outside their params, where it is not known."""
    if then is None:
        lacks = "Caffe's snapshots do not hold"
    elif now.resume is None:
        lacks = "this window does not hold"
    else:
        lacks = "this snapshot does not hold"
    for layer in (net.layer[position] for net in nets for position in stateful_layers(net)):
        if is_recurrent(layer):
            yield (
                f"layer {layer.name} ({layer.type}) keeps its hidden state from batch to batch, which {lacks}: it "
                "begins at zero, and that differs where `cont` is 1 at the start of a batch"
            )
        else:
            yield (
                f"layer {layer.name} ({layer.type}) fills its top once, a layer above changes that in place in every "
                f"pass, and {lacks} what it has become"
            )


def layers_without_place(nets: Sequence[pb.NetParameter]) -> list[str]:
    """Say which layers of `nets` cannot be positioned and will not repeat, and what follows for their nets."""
    found: dict[str, None] = {}
    for number, net in enumerate(nets):
        for layer in net.layer:
            if is_input_without_position(layer):
                found[
                    f"layer {layer.name} ({layer.type}) cannot be positioned: all inputs of {_net(number)} start "
                    "together, at their first record"
                ] = None
            elif layer.type == "Python":
                found[f"layer {layer.name} (Python) may keep a state of its own"] = None
    return list(found)


def other_data(point: TrainingPosition, then: TrainingSetup) -> list[str]:
    """Name the layers of `point` that read other data than in the training `then`, or have no position in it."""
    inputs = Counter(place.net for place in point.inputs)
    found = [*_other(point.places, then.point.places), *_other(point.rows, then.point.rows)]
    return [what + (f"; so do all inputs of {_net(net)}" if inputs[net] > 1 else "") for net, what in found]


def _other(now: tuple[Place, ...], then: tuple[Place, ...]) -> Iterator[tuple[int, str]]:
    """Yield the net of each layer of `now` that does not go on from `then`, and what it does."""
    before = numbered(then)
    for key, place in numbered(now).items():
        if key not in before:
            yield (
                place.net,
                f"layer {place.layer} has no position in the training that goes on: it starts at its first record",
            )
        elif not place.continues(before[key]):
            yield place.net, f"layer {place.layer} reads other data, from its first record on"


def _net(number: int) -> str:
    return f"test net #{number - 1}" if number else "the train net"


def differences(then: TrainingSetup, now: TrainingSetup) -> list[str]:
    """List how `now` computes otherwise than `then`."""
    found = []
    if then.random_seed != now.random_seed:
        found.append(f"seed {now.random_seed} instead of {then.random_seed}: other crops, mirrors and dropout")
    if then.blas_threads != now.blas_threads:
        found.append(f"{now.blas_threads} BLAS threads instead of {then.blas_threads}")
    if _without_path(then) != _without_path(now):
        found.append("another build of Caffe")
    if then.mode != now.mode:
        found.append(f"{now.mode} instead of {then.mode}")
    elif now.mode != "CPU":
        found.append(
            "a GPU: its random numbers can only be drawn again, and whether its sums repeat their bits was never tried"
        )
        if then.gpu != now.gpu:
            found.append(f"{_card(now.gpu)} instead of {_card(then.gpu)}")
    return found


def _without_path(setup: TrainingSetup) -> dict[str, object]:
    return {name: value for name, value in setup.caffe.items() if name != "path"}


def _card(gpu: Gpu | None) -> str:
    return f"{gpu.name} (driver {gpu.driver}, CuPy {gpu.cupy})" if gpu else "another GPU"
