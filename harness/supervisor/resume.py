"""Find the position from which a run starts: from scratch, from weights, or from where another training stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import xxhash
from google.protobuf import text_format

from harness.caffe_files.caffemodel import SolverState, read_caffemodel, read_solverstate
from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.layer_types import is_input_without_position
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.lr_policy import next_step
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import NetFile, data_param_of, net_phase, numbered_data_layers, phase_of
from harness.caffe_files.passes import passes_between
from harness.caffe_files.solver import solver_type
from harness.caffe_files.transformer_rng import draws_per_image
from harness.errors import BadInput
from harness.recording import Recording
from harness.recording.snapshots import iterations_of, read_snapshot
from harness.schemas.data_position import GeneratorState, StreamPosition, TrainingPosition, numbered
from harness.schemas.run_info import NativeStart, RunInfo, SnapshotInfo, TrainingSetup
from harness.schemas.stream import Files, Jump, Stream
from harness.schemas.window import Window, merge
from harness.supervisor.native_start import find_native_start
from harness.supervisor.training_spec import TrainingSpec


@dataclass(frozen=True)
class Start:
    """The start of a run, before `iteration`: with `weights` (caffemodels to fine-tune from) or another run's state.

    Attributes:
        state: the snapshot to continue from.
        setup: what that training computed with; None for one of Caffe's own snapshots.
        window: the run directory whose recording has a window that holds `iteration`, where there is no snapshot.
        native_start: where the process began that wrote `state`, if Caffe alone wrote it.
        step: Caffe's current_step.
        scale: a factor for the momentum history.
        skip: iterations whose data is left out, as (first, stop).
    """

    iteration: int = 0
    weights: tuple[str, ...] = ()
    state: SolverState | None = None
    setup: TrainingSetup | None = None
    window: Path | None = None
    native_start: NativeStart | None = None
    step: int = 0
    scale: float | None = None
    skip: tuple[int, int] | None = None


def from_weights(given: str | None, solver: pb.SolverParameter) -> Start:
    """Start at iteration 0, from the caffemodels `given`, else from those that the solver names, as `caffe train`.

    Raises:
        BadInput: one cannot be read.
    """
    parts = [given] if given is not None else list(solver.weights)
    names = tuple(name.strip() for part in parts for name in part.split(","))
    for name in names:
        read_caffemodel(Path(name))
    return Start(weights=names)


def from_solverstate(path: Path, native_start: int | None = None, interval: int = 0) -> Start:
    """Start from the solverstate `path`, one of ours or of Caffe's own.

    Args:
        native_start: where the process of `caffe train` began that wrote it; None finds out as far as possible.
        interval: between two snapshots of the solver.

    Raises:
        BadInput: it is missing or damaged, or its caffemodel is gone; `native_start` is not possible.
    """
    state = read_solverstate(path)
    setup = read_info_beside(path)
    if setup is None:
        _check_native_start(native_start, state.iteration)
        begun = find_native_start(path, state.iteration, native_start, interval)
        return Start(state.iteration, state=state, native_start=begun, step=state.step)
    if native_start is not None:
        raise BadInput(
            "is for snapshots of caffe train; the JSON beside this one states its position",
            field="--native-start",
            value=native_start,
            remedy="Leave it out",
        )
    return Start(state.iteration, state=state, setup=setup, step=state.step)


def _check_native_start(given: int | None, iteration: int) -> None:
    if given is not None and not 0 <= given <= iteration:
        raise BadInput(
            f"not between 0 and the iteration of the snapshot, {iteration}",
            field="--native-start",
            value=given,
            remedy="Give the iteration of the snapshot that caffe train was last resumed from",
        )


def from_run(run: Path, info: RunInfo, iteration: int) -> Start:
    """Start from where the run in the directory `run` stood before `iteration`; `info` is its run.json.

    Raises:
        BadInput: the run kept nothing of that iteration.
    """
    snapshots = iterations_of(run / "snapshots")
    if iteration in snapshots:
        snapshot = read_snapshot(snapshots[iteration])
        state = read_solverstate(snapshots[iteration].with_name(snapshot.solverstate))
        if state.iteration != iteration:
            raise BadInput(
                f"the file is of iteration {state.iteration}, and {snapshots[iteration].name} says {iteration}",
                file=state.path,
                remedy="One of them is damaged, or from another snapshot: restart from another one",
            )
        return Start(iteration, state=state, setup=snapshot, step=state.step)
    if iteration == info.first == 0:
        return Start(weights=info.weights, setup=info)
    return _from_window(run, info, iteration, snapshots)


def _from_window(run: Path, info: RunInfo, iteration: int, snapshots: Mapping[int, Path]) -> Start:
    with Recording(run) as recording:
        kept = {int(t) for t in recording.window_iterations}
    if not {iteration - 1, iteration} <= kept:
        have = ", ".join(map(str, sorted({*snapshots, *([0] if info.first == 0 else [])}))) or "none"
        raise BadInput(
            "nothing was kept of that iteration: no snapshot, and no window that holds it and the one before",
            file=run,
            field="--from",
            value=iteration,
            remedy=f"Snapshots: {have}. {_windows_remedy(kept)}",
        )
    solver = parse_text(info.solver, pb.SolverParameter, run / "run.json")
    kind = solver_type(solver)
    if kind != "SGD":
        raise BadInput(
            f"no snapshot, and the updates kept in the window are not the history of a {kind} solver, only of SGD",
            file=run,
            field="--from",
            value=iteration,
            remedy=f"Snapshots: {', '.join(map(str, sorted(snapshots))) or 'none'}",
        )
    before = max((t for t in snapshots if t <= iteration), default=None)
    setup: TrainingSetup = info
    step, at = info.step, info.first
    if before is not None:
        snapshot = read_snapshot(snapshots[before])
        setup, at = snapshot, before
        step = read_solverstate(snapshots[before].with_name(snapshot.solverstate)).step
    for t in range(at, iteration):
        step = next_step(solver, t, step)
    return Start(iteration, setup=setup, window=run, step=step)


def _windows_remedy(kept: set[int]) -> str:
    windows = merge(Window(t, t + 1) for t in kept)
    spans = ", ".join(f"{w.start + 1} … {w.stop - 1}" for w in windows if len(w) > 1)
    return f"In windows: {spans}" if spans else "A run with --watch A:B can be restarted at every iteration of it"


def read_info_beside(state: Path) -> SnapshotInfo | None:
    """Read the JSON beside the solverstate `state`; None if there is none: the snapshot is one of Caffe's own.

    Raises:
        BadInput: it is damaged, and with it what only it holds.
    """
    path = state.with_name(state.name.removesuffix(".h5").removesuffix(".solverstate") + ".json")
    return read_snapshot(path) if path.exists() else None


def check_snapshot(start: Start) -> None:
    """Check that the solverstate of `start` is the one that the JSON beside it describes.

    Its history is not looked at if it will be set to zero. The weights are checked once Caffe has read them.

    Raises:
        BadInput: it is damaged, or belongs to another snapshot.
    """
    info, state = start.setup, start.state
    if state is None or not isinstance(info, SnapshotInfo):
        return
    for field, value, described in (
        ("iter", state.iteration, info.iteration),
        ("current_step", state.step, state.step if info.step is None else info.step),
    ):
        if value != described:
            raise BadInput(
                f"damaged, or of another snapshot: the JSON beside it says {described}",
                file=state.path,
                field=field,
                value=value,
                remedy="Restart from another snapshot",
            )
    if info.history_digest is not None and start.scale != 0:
        found = digest_history(state.path).history
        if found != info.history_digest:
            raise BadInput(
                f"its momentum is damaged, or of another snapshot: the JSON beside it has the digest "
                f"{info.history_digest}",
                file=state.path,
                field="history",
                value=found,
                remedy="Restart from another snapshot, or with the momentum set to zero: restart.py … --history reset",
            )


def point_of(
    spec: TrainingSpec, start: Start, seed: int, records: Mapping[str, Records], exact: bool
) -> TrainingPosition:
    """Find the position of `spec` in data and random numbers at `start`: `exact`, or as Caffe's own resume has it.

    All inputs of a net are in step. If one of them cannot be positioned, all of that net start at their first record.

    Raises:
        BadInput: an LMDB is no longer the one that the snapshot was made with; data are to be skipped in a net with an
            input that cannot be positioned.
    """
    places = tuple(_places(spec, records))
    if not exact:
        return TrainingPosition(start.iteration, seed, GeneratorState(start.iteration), places)
    if start.setup is None:
        begun = start.native_start.iteration if start.native_start else 0
        old = TrainingPosition(begun, seed, GeneratorState(begun), places)
        solver = spec.solver
    else:
        old = start.setup.point
        solver = text_format.Parse(start.setup.solver, pb.SolverParameter())
    if seed != old.seed:  # other random numbers, from the beginning
        old = replace(old, seed=seed, generator=GeneratorState(0), places=tuple(p.unseeded() for p in old.places))
    moved = numbered(old.after(passes_between(solver, old.iteration, start.iteration)))
    here = tuple(
        _moved(place, moved.get(key)) if is_positioned(spec.nets[place.net]) else place
        for key, place in numbered(places).items()
    )
    _check_pending(here, start, spec.solver.iter_size != solver.iter_size)
    if start.skip is not None:
        _check_inputs(spec.train)
        first, last = start.skip
        passes = [spec.solver.iter_size * n for n in (first - start.iteration, last - first)]
        here = tuple(replace(p, skip_at=passes[0], skip=passes[1]) if p.net == 0 else p for p in here)
    return TrainingPosition(start.iteration, seed, old.generator, here)


def is_positioned(net: NetFile) -> bool:
    """Check whether every input of `net` can start at any record."""
    return not any(map(is_input_without_position, net.layers))


def _check_inputs(net: NetFile) -> None:
    """Check that data of `net` can be skipped, in all of its inputs or in none."""
    for layer in net.layers:
        if is_input_without_position(layer):
            raise BadInput(
                f"the position of layer {layer.name} ({layer.type}) cannot be set, so that data cannot be skipped",
                file=net.source,
                field="--skip",
                remedy="Leave --skip out; a LMDB, a list of images or HDF5 files in place of that layer can be skipped",
            )


def _check_pending(places: Sequence[StreamPosition], start: Start, other_iter_size: bool) -> None:
    """Check that a gap in the data which the old run had still to skip fits: there is room for one, in its passes."""
    pending = [place for place in places if place.skip]
    if pending and (start.skip is not None or other_iter_size):
        raise BadInput(
            f"the run that this one continues had still to skip {pending[0].skip} batches after "
            f"{pending[0].skip_at} more, which allows neither another gap nor another iter_size",
            field="--skip" if start.skip is not None else "iter_size",
            remedy="Start after that gap, or from a run without one",
        )


def _places(spec: TrainingSpec, records: Mapping[str, Records]) -> list[StreamPosition]:
    return [
        StreamPosition(
            number,
            layer.name,
            data_param_of(layer).source,
            _fingerprint(layer, records),
            data_param_of(layer).batch_size,
            draws_per_image(layer.transform_param, phase_of(layer, net_phase(number))),
            shuffle=layer.image_data_param.shuffle,
            rand_skip=layer.image_data_param.rand_skip,
            index=index,
        )
        for number, net in enumerate(spec.nets)
        for index, layer in numbered_data_layers(net)
    ]


def _fingerprint(layer: pb.LayerParameter, records: Mapping[str, Records]) -> str:
    """Hash the records that a layer reads and, if it has one, its mean_file."""
    fingerprint, mean = records[data_param_of(layer).source].fingerprint, layer.transform_param.mean_file
    return xxhash.xxh3_128(fingerprint.encode() + Path(mean).read_bytes()).hexdigest() if mean else fingerprint


def _moved(place: StreamPosition, before: StreamPosition | None) -> StreamPosition:
    """Move `place` to where its layer stood `before`. A new layer, or one with other data, starts at record 0."""
    if before is not None and before.source == place.source and before.fingerprint != place.fingerprint:
        kind = "LMDB" if Path(place.source).is_dir() else "list"
        raise BadInput(
            f"the {kind} has changed since the snapshot was made, or its mean_file has: layer {place.layer} would see "
            f"other images (fingerprint {place.fingerprint[:12]}, then {before.fingerprint[:12]})",
            file=place.source,
            remedy=f"Put the old {kind} back, or go on with --data caffe, which starts the data from its first record",
        )
    if before is None or before.fingerprint != place.fingerprint:
        return place
    return replace(
        place,
        records=before.records,
        draws=before.draws,
        seed=before.seed if place.image_draws else None,
        skip_at=before.skip_at,
        skip=before.skip,
        list_seed=before.list_seed if place.shuffle else None,
        skipped=before.skipped if place.rand_skip else None,
    )


def streams_of(spec: TrainingSpec, point: TrainingPosition, records: Mapping[str, Records]) -> tuple[Stream, ...]:
    """Return the streams that the layers read from `point` on; seeds that are not known yet are None.

    Nets with an input that cannot be positioned keep their own layers.
    """
    streams = []
    for place in point.places:
        assert place.index is not None
        if not is_positioned(spec.nets[place.net]):
            continue
        layer = spec.nets[place.net].layers[place.index]
        beyond = place.after(place.skip_at) if place.skip else None
        streams.append(
            Stream(
                layer=place.layer,
                source=place.source,
                first_key=_key(layer, place, records),
                batch_size=place.batch_size,
                phase=phase_of(layer, net_phase(place.net)),
                transform=text_format.MessageToString(layer.transform_param),
                seed=place.seed,
                draws=place.draws,
                labels=len(layer.top) > 1,
                prefetch=layer.data_param.prefetch,
                jump=Jump(place.skip_at, _key(layer, beyond, records), beyond.draws) if beyond else None,
                files=_files(layer) if layer.type == "ImageData" else None,
                net=place.net,
                index=place.index,
            )
        )
    return tuple(streams)


def _key(layer: pb.LayerParameter, place: StreamPosition, records: Mapping[str, Records]) -> str | int:
    if layer.type == "ImageData":
        return place.records
    keys = records[place.source].keys
    return bytes(keys[place.records % len(keys)]).hex()


def _files(layer: pb.LayerParameter) -> Files:
    param = layer.image_data_param
    return Files(param.root_folder, param.is_color, param.new_height, param.new_width, param.shuffle)
