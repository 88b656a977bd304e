"""Make the run directory of a capsule anonymous, and blank the pixels of records that its break does not need."""

from __future__ import annotations

from pathlib import Path

import lmdb
import msgspec

from harness.caffe_files.formatting import printable
from harness.caffe_files.image_list import parse_lines
from harness.capsules.packing.cut_recording import write_cut
from harness.capsules.privacy.anonymous_explanation import anonymous_explanation
from harness.capsules.privacy.anonymous_info import anonymous_info, anonymous_snapshot
from harness.capsules.shrinking.candidates import Candidates, move_recording
from harness.capsules.shrinking.delta_debugging import fewest
from harness.capsules.shrinking.likely_records import Item, likely_items, records_read
from harness.capsules.shrinking.record_edits import RecordEdits, edit_data_set
from harness.capsules.shrinking.reductions import Reduction, changed_inputs, data_sets
from harness.recording.result_files import read_explanation, write_explanation
from harness.recording.run_directory import read_info
from harness.recording.snapshots import iterations_of, read_snapshot, write_snapshot

_MOST_TRIES = 12
_IMAGES = ("Data", "ImageData", "HDF5Data")  # layers whose records can be blanked one by one


def anonymize(run: Path, scratch: Path) -> None:
    """Remove paths, names and keys from the run directory `run` of a capsule; its training stays the same.

    Args:
        scratch: a path beside it, at which there is nothing.

    Raises:
        BadInput, RecordingError: something in it is damaged.
    """
    info = read_info(run)
    sets = data_sets(info)
    names: dict[str, str] = {}
    for data in sets:
        names |= _names(run / data.name, data.kind)
        edit_data_set(run / data.name, data.kind, RecordEdits(numbered=True))
    changes = changed_inputs(run, info)
    info = msgspec.structs.replace(anonymous_info(info), **changes, directory=str(run))
    path = iterations_of(run / "snapshots")[info.first]
    snapshot = read_snapshot(path)
    point = changed_inputs(run, msgspec.structs.replace(info, point=snapshot.point))["point"]
    changed = msgspec.structs.replace(anonymous_snapshot(snapshot), data=changes["data"], point=point)
    write_snapshot(path, changed)
    scratch.mkdir()
    write_cut(run, info, scratch)
    move_recording(scratch, run)
    explanation = read_explanation(run)
    if explanation is not None:
        write_explanation(run, anonymous_explanation(explanation, names))


def _names(directory: Path, kind: str) -> dict[str, str]:
    """Map the names of records to the numbers that take their place."""
    if kind == "Data":
        with lmdb.open(str(directory), readonly=True, lock=False) as environment, environment.begin() as reading:
            return {
                printable(key): f"{number:08d}" for number, key in enumerate(reading.cursor().iternext(values=False))
            }
    if kind == "ImageData":
        lines = parse_lines((directory / "list.txt").read_bytes())
        return {printable(name): f"{number:08d}" for number, name in enumerate(dict.fromkeys(n for n, _ in lines))}
    return {}


def blank_records(candidates: Candidates) -> int | None:
    """Blank as many records as possible, as long as the capsule breaks alike.

    First all but the likely ones are tried, then all but these and those that are read before the onset, without which
    the loss before it would not be what it was; then fewer, in a limited number of tries.

    Returns:
        The number of records that are blank; None if the capsule does not break here as it was recorded.

    Raises:
        Stopped, KeyboardInterrupt: as `Trials.check`; `candidates.best` is what was found until then.
    """
    if not candidates.attempt(Reduction()):
        return None
    candidates.build_on_best()
    info = read_info(candidates.base)
    sets = [data for data in data_sets(info) if data.kind in _IMAGES]
    every = [(data.name, number) for data in sets for number in range(data.records)]
    likely = likely_items(candidates.base, info, candidates.onset)
    before = {
        (name, int(number))
        for iteration in range(info.first, candidates.onset)
        for name, numbers in records_read(info, iteration).items()
        for number in numbers
    }

    def breaks(kept: tuple[Item, ...]) -> bool:
        shown = likely | set(kept)
        edits = {
            data.name: RecordEdits(blank=frozenset(n for n in range(data.records) if (data.name, n) not in shown))
            for data in sets
        }
        return candidates.attempt(Reduction(records=edits))

    others = tuple(item for item in every if item not in likely)
    if breaks(()):
        return len(others)
    early = tuple(item for item in others if item in before)
    known = early if breaks(early) else others
    return len(others) - len(fewest(known, breaks, _MOST_TRIES))
