"""The position of a training in data and random numbers where a run starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from google.protobuf import text_format

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS, is_input_without_position
from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, data_param_of, numbered_layers
from harness.caffe_files.passes import schedule
from harness.caffe_files.sources import Sources, with_mean
from harness.errors import BadInput
from harness.prefetch.positions import moved, with_orders
from harness.prefetch.seeds import first_place
from harness.schemas.data_position import (
    GeneratorState,
    Place,
    RowsPosition,
    StreamPosition,
    TrainingPosition,
    numbered,
)
from harness.supervisor.resume import Start
from harness.supervisor.training_spec import TrainingSpec


def point_of(spec: TrainingSpec, start: Start, seed: int, sources: Sources, exact: bool) -> TrainingPosition:
    """Find the position of `spec` in data and random numbers at `start`: `exact`, or as Caffe's own resume has it.

    All inputs of a net are in step. If one of them cannot be positioned, or reads other data than before, all of that
    net start at their first record.

    Raises:
        BadInput: data are no longer those that the snapshot was made with; data are to be skipped in a net with an
            input that cannot be positioned.
    """
    first = TrainingPosition(
        start.iteration,
        seed,
        GeneratorState(start.iteration),
        tuple(_places(spec, sources)),
        tuple(_rows(spec, sources)),
    )
    if not exact:
        if start.setup is not None and leaves_out(start.setup.point):
            raise BadInput(
                "the run that this one continues leaves records out, which needs --data exact",
                field="--data",
                value="caffe",
                remedy="Leave --data caffe out",
            )
        return first
    if start.setup is None:
        begun = start.native_start.iteration if start.native_start else 0
        old = replace(first, iteration=begun, generator=GeneratorState(begun))
        solver = spec.solver
    else:
        old = start.setup.point
        solver = text_format.Parse(start.setup.solver, pb.SolverParameter())
    if seed != old.seed:  # other random numbers, from the beginning
        old = replace(old, seed=seed, generator=GeneratorState(0), places=tuple(p.unseeded() for p in old.places))
    anew = _starting_anew(spec, first, old)
    kept = replace(old, places=_kept(old.places, first.places, anew), rows=_kept(old.rows, first.rows, anew))
    try:
        before = moved(kept, schedule(solver, old.iteration, start.iteration))
    except ValueError as error:
        raise BadInput(
            f"the position in the JSON of this snapshot or run is damaged ({error})",
            file=start.state.path if start.state else start.window or spec.path,
            remedy="Start from another snapshot",
        ) from None
    here = replace(
        before, places=_placed(first.places, before.places, anew), rows=_placed(first.rows, before.rows, anew)
    )
    if start.iteration > 0 or start.skip is not None:
        here = with_orders(here)
    here = replace(here, iteration=start.iteration, generator=old.generator)
    _check_pending(here, start, spec.solver.iter_size != solver.iter_size)
    return here if start.skip is None else _skipping(here, spec, start.iteration, start.skip)


def _starting_anew(spec: TrainingSpec, first: TrainingPosition, old: TrainingPosition) -> set[int]:
    """Return the numbers of the nets in which not every input has a position in `old`."""
    without = (number for number, net in enumerate(spec.nets) if not is_positioned(net))
    return {*without, *_unknown(first.places, old.places), *_unknown(first.rows, old.rows)}


def _unknown(places: tuple[Place, ...], old: tuple[Place, ...]) -> Iterator[int]:
    """Yield the net of each of `places` that has no position in `old`."""
    then = numbered(old)
    for key, place in numbered(places).items():
        before = then.get(key)
        if before is not None and before.source == place.source and before.fingerprint != place.fingerprint:
            raise _other_data(place, before)
        if before is None or not place.continues(before):
            yield place.net


def _kept(old: tuple[Place, ...], places: tuple[Place, ...], anew: set[int]) -> tuple[Place, ...]:
    """Return those of `old` that are positions of `places`, without the nets that start `anew`."""
    here = numbered(places)
    return tuple(before for key, before in numbered(old).items() if key in here and before.net not in anew)


def _placed(places: tuple[Place, ...], before: tuple[Place, ...], anew: set[int]) -> tuple[Place, ...]:
    """Return `places` moved to where they stood `before`, without the nets that start `anew`."""
    then = numbered(before)
    return tuple(place if place.net in anew else place.moved_to(then[key]) for key, place in numbered(places).items())


def _other_data(place: StreamPosition | RowsPosition, before: StreamPosition | RowsPosition) -> BadInput:
    if isinstance(place, RowsPosition):
        what, changed = "HDF5 files", "the HDF5 files have changed since the snapshot was made"
    else:
        what = "LMDB" if Path(place.source).is_dir() else "list"
        changed = f"the {what} has changed since the snapshot was made, or its mean_file has"
    return BadInput(
        f"{changed}: layer {place.layer} would see other images "
        f"(fingerprint {place.fingerprint[:12]}, then {before.fingerprint[:12]})",
        file=place.source,
        remedy=f"Put the old {what} back (run and restart also go on with --data caffe, from the first record)",
    )


def is_positioned(net: NetFile) -> bool:
    """Check whether every input of `net` can start at any record."""
    return not any(map(is_input_without_position, net.layers))


def _skipping(here: TrainingPosition, spec: TrainingSpec, iteration: int, skip: tuple[int, int]) -> TrainingPosition:
    """Return the position with the gap of `skip`, in iterations, in the data of the train net."""
    check_inputs(spec.train, "--skip")
    at, passes = (spec.solver.iter_size * n for n in (skip[0] - iteration, skip[1] - skip[0]))
    return replace(
        here,
        places=tuple(p if p.net else replace(p, skip_at=at, skip=passes) for p in here.places),
        rows=tuple(p if p.net else replace(p, skip_at=at, skip=passes) for p in here.rows),
    )


def leaves_out(point: TrainingPosition) -> bool:
    """Check whether records are left out of the train net."""
    return any(place.excluded for place in point.inputs if place.net == 0)


def check_inputs(net: NetFile, field: str) -> None:
    """Check that data of `net` can be skipped, in all of its inputs or in none, as the option `field` asks for.

    Raises:
        BadInput: an input cannot be positioned.
    """
    for layer in net.layers:
        if is_input_without_position(layer):
            raise BadInput(
                f"the position of layer {layer.name} ({layer.type}) cannot be set, so that data cannot be skipped",
                file=net.source,
                field=field,
                remedy=f"Leave {field} out, or give the data of that layer as an LMDB, a list of images or HDF5 files",
            )


def _check_pending(here: TrainingPosition, start: Start, other_iter_size: bool) -> None:
    """Check that a gap in the data which the old run had still to skip fits: there is room for one, in its passes."""
    pending = [place for place in here.inputs if place.skip]
    if pending and (start.skip is not None or other_iter_size):
        raise BadInput(
            f"the run that this one continues had still to skip {pending[0].skip} batches after "
            f"{pending[0].skip_at} more, which allows neither another gap nor another iter_size",
            field="--skip" if start.skip is not None else "iter_size",
            remedy="Start after that gap, or from a run without one",
        )


def _places(spec: TrainingSpec, sources: Sources) -> Iterator[StreamPosition]:
    """Yield the position of each Data, ImageData and WindowData layer at its first record."""
    for number, net in enumerate(spec.nets):
        for index, layer in numbered_layers(net, IMAGES + WINDOWS):
            records = sources.all[data_param_of(layer).source]
            mean = layer.transform_param.mean_file
            fingerprint = with_mean(records.fingerprint, Path(mean) if mean else None)
            yield first_place(number, index, layer, fingerprint)


def _rows(spec: TrainingSpec, sources: Sources) -> Iterator[RowsPosition]:
    """Yield the position of each HDF5Data layer as Caffe sets it up, of the nets whose inputs can be positioned."""
    for number, net in enumerate(spec.nets):
        for index, layer in numbered_layers(net, ROWS) if is_positioned(net) else ():
            param = layer.hdf5_data_param
            files = sources.rows[param.source]
            yield RowsPosition(
                number,
                index,
                layer.name,
                param.source,
                files.fingerprint,
                param.batch_size,
                files.rows(layer.top[0]),
                param.shuffle,
            )
