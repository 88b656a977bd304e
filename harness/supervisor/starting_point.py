"""The starting point of a run in its data: where it stands, with which seeds, and what it leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.sources import Sources
from harness.errors import BadInput
from harness.prefetch.seeds import with_seeds
from harness.schemas.data_position import TrainingPosition
from harness.supervisor.excluded_records import exclude
from harness.supervisor.options import Options
from harness.supervisor.positions import check_inputs, is_positioned, leaves_out, point_of
from harness.supervisor.resume import Start
from harness.supervisor.skipped_data import return_of_skipped
from harness.supervisor.training_spec import TrainingSpec


@dataclass(frozen=True)
class StartingPoint:
    """The position of a run in data and random numbers at its start.

    Attributes:
        replay: the data layers are replaced by ones that start there; otherwise Caffe's begin at their first record.
        remarks: what the user should know about it.
    """

    point: TrainingPosition
    replay: bool
    remarks: tuple[str, ...]


def starting_point(
    spec: TrainingSpec, start: Start, options: Options, seed: int, sources: Sources, until: int
) -> StartingPoint:
    """Find where the run of `spec` starts in its data, which ends before iteration `until`.

    Raises:
        BadInput: see `point_of` and `exclude`.
    """
    if options.skip_records and not options.exact:
        raise BadInput("needs --data exact", field="--skip-records", remedy="Leave --data caffe out")
    remarks = []
    point = point_of(spec, start, seed, sources, options.exact)
    excludes = bool(options.skip_records) or leaves_out(point)
    skips = any(place.skip for place in point.inputs)  # asked for now, or still to come in the run that goes on
    replay = options.exact and (start.is_reached or skips or excludes)
    point = with_seeds(point, _built_with(spec, start, replay), spec.train.param)
    if excludes:
        check_inputs(spec.train, "--skip-records")
        point = exclude(point, sources, options.skip_records)
    elif start.setup is not None and leaves_out(start.setup.point):
        remarks.append("These are other data: the records that the run before left out are not left out of them")
    if start.skip is not None:
        returns = return_of_skipped(point, sources, start.skip, spec.solver.iter_size, until)
        remarks += [returns] if returns else []
    return StartingPoint(point, replay, tuple(remarks))


def _built_with(spec: TrainingSpec, start: Start, replay: bool) -> pb.NetParameter:
    """Return the train net whose data layers drew the seeds: the one that the training began with, or `spec`'s own."""
    if start.setup is None or not replay or not is_positioned(spec.train):
        return spec.train.param
    return parse_text(start.setup.net, pb.NetParameter, start.state.path if start.state else spec.path)
