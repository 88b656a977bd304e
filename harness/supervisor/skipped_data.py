"""Tell when the records come back that `--skip` passes over once."""

from __future__ import annotations

from harness.caffe_files.sources import Sources
from harness.prefetch.epochs import Epochs
from harness.schemas.data_position import RowsPosition, StreamPosition, TrainingPosition


def return_of_skipped(
    point: TrainingPosition, sources: Sources, skip: tuple[int, int], iter_size: int, until: int
) -> str | None:
    """Say when the records come back that the first input of the train net skips; None without such an input.

    Args:
        point: the position where the run starts, with the gap in it.
        skip: the iterations whose data are skipped.
        until: the iteration before which the run ends.
    """
    place = next((place for place in point.inputs if place.net == 0 and place.skip), None)
    if place is None:
        return None
    size = _epoch(place, sources)
    count = place.skip * place.batch_size
    start = (place.position if isinstance(place, StreamPosition) else place.records) + place.skip_at * place.batch_size
    what = f"the {count:,} records that iterations {skip[0]:,} to {skip[1] - 1:,} would have read"
    if count == place.batch_size * iter_size:
        what = f"the {count:,} records that iteration {skip[0]:,} would have read"
    if size is None:
        return f"--skip applies once: layer {place.layer} may draw {what} again at any time"
    epoch_end = (start // size + 1) * size
    again = epoch_end if place.shuffle else start + size
    later = max(0, again - (start + count)) // (place.batch_size * iter_size)
    at = skip[0] + later
    if at >= until:
        return f"--skip applies once, and {what} do not return before the run ends at iteration {until:,}"
    when = (
        f"in the next epoch, from iteration {at:,} on" if place.shuffle else f"at iteration {at:,}, in the next epoch"
    )
    return f"--skip applies once: {what} return {when} (--skip-records leaves records out for good)"


def _epoch(place: StreamPosition | RowsPosition, sources: Sources) -> int | None:
    """Return how many records an epoch of the layer has; None where it reads in no epochs."""
    if isinstance(place, RowsPosition):
        return sum(place.counts) - len(place.excluded)
    records = sources.images.get(place.source)
    return None if records is None else Epochs(len(records), None, place.excluded).size
