"""Check that Caffe can use the records of LMDBs: at others, it aborts or reads beyond their pixels."""

from __future__ import annotations

from collections.abc import Sequence

from harness.caffe_files.formatting import printable
from harness.caffe_files.image_survey import Images
from harness.caffe_files.lmdb_file import REMEDY
from harness.caffe_files.net import NetFile
from harness.caffe_files.sources import Sources
from harness.errors import BadInput
from harness.schemas.data_position import TrainingPosition

_NAMED = 3


def check_records(nets: Sequence[NetFile], point: TrainingPosition, sources: Sources) -> None:
    """Check the records that the data layers of `nets` read; not those that the training at `point` leaves out.

    Raises:
        BadInput: one cannot be used, or one of the first records, which Caffe reads whenever it builds the net.
    """
    for place in point.places:
        records = sources.images.get(place.source)
        if records is None or records.images is None:
            continue
        at_once = place.batch_size * nets[place.net].layers[place.index or 0].data_param.prefetch
        bad = {n: why for n, why in records.images.damaged.items() if n not in place.excluded or n < at_once}
        if not bad:
            continue
        keys = [printable(records.keys[number]) for number in bad]
        remedy = REMEDY
        if any(number in place.excluded for number in bad):
            remedy += f". The first {at_once:,} cannot be left out: Caffe reads them whenever it builds the net"
        elif place.net == 0 and len(keys) <= _NAMED and min(bad) >= at_once:
            remedy += f", or leave them out: --skip-records {','.join(keys)}"
        damage = named_damage(Images(records.images.kinds, records.images.of, bad), records.keys.tolist())
        raise BadInput(
            f"{len(bad):,} of {len(records):,} records cannot be used: {damage}", file=place.source, remedy=remedy
        )


def named_damage(images: Images, keys: Sequence[bytes]) -> str:
    """Name the first damaged images, by the `keys` of all, with the reasons."""
    named = [f"record {printable(keys[number])}: {why}" for number, why in list(images.damaged.items())[:_NAMED]]
    return "; ".join([*named, *(["…"] if len(images.damaged) > _NAMED else [])])
