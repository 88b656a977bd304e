"""The position of a run in its data before the training passes of an iteration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.caffe_files.layer_types import IMAGES, WINDOWS
from harness.caffe_files.messages import pb
from harness.caffe_files.passes import schedule
from harness.errors import BadInput
from harness.prefetch.positions import moved
from harness.prefetch.seeds import with_seeds
from harness.recording.snapshots import iterations_of, read_snapshot
from harness.schemas.data_position import StreamPosition, TrainingPosition
from harness.schemas.run_info import RunInfo


def position_at(
    run: Path, info: RunInfo, solver: pb.SolverParameter, net: pb.NetParameter, iteration: int
) -> TrainingPosition:
    """Return where the run stood before the training passes of `iteration`, after the test passes there.

    Args:
        run: the run directory, in whose snapshots are seeds that run.json does not have.
        info: its run.json.
        solver, net: its solver and its train net.

    Raises:
        ValueError: the position is damaged.
    """
    start = _with_indices(info.point, net)
    unknown = any(not place.known for place in start.places if place.net == 0)
    if unknown:  # written before 0.3.0, or behind a layer with a filler
        own_layers = info.first == 0 and not any(place.skip for place in start.places)
        start = with_seeds(start, net, net) if own_layers else _with_seeds_of_snapshots(start, run)
    passes = list(schedule(solver, info.first, iteration + 1))
    _, train = passes.pop()  # the last ones are those of this iteration
    return moved(start, [*passes, (0, train - solver.iter_size)])


def _with_indices(point: TrainingPosition, net: pb.NetParameter) -> TrainingPosition:
    """Complete positions from before 0.3.0, which name their layer only: they are in the order of the layers."""
    layers = [index for index, layer in enumerate(net.layer) if layer.type in IMAGES + WINDOWS]
    numbers = iter(layers)
    places = [
        replace(place, index=next(numbers, None)) if place.net == 0 and place.index is None else place
        for place in point.places
    ]
    return replace(point, places=tuple(places))


def _with_seeds_of_snapshots(point: TrainingPosition, run: Path) -> TrainingPosition:
    """Take the seeds from the snapshots of the run, which has drawn them all before the first."""
    known: dict[tuple[int, str, int | None], StreamPosition] = {}
    for path in iterations_of(run / "snapshots").values():
        try:
            places = read_snapshot(path).point.places
        except BadInput:
            continue
        known |= {(p.net, p.layer, p.index): p for p in places if p.known}
    found = []
    for place in point.places:
        then = known.get((place.net, place.layer, place.index)) or known.get((place.net, place.layer, None))
        if then is None:
            found.append(place)
        else:
            found.append(replace(place, seed=then.seed, list_seed=then.list_seed, skipped=then.skipped))
    return replace(point, places=tuple(found))
