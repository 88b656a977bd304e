"""Which records --skip-records leaves out of which layers, and where a stream then stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.caffe_files.hdf5_list import HDF5Files
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.sources import Sources
from harness.errors import BadInput
from harness.prefetch.epochs import Epochs
from harness.schemas.data_position import GeneratorState, RowsPosition, StreamPosition, TrainingPosition
from harness.supervisor.excluded_records import exclude, excluded_keys, given_keys
from harness.supervisor.skipped_data import return_of_skipped


def source(name: str, keys: list[str]) -> Records:
    return Records(Path(name), name, np.array([key.encode() for key in keys]), np.zeros(len(keys), np.int32))


def place(name: str, index: int, batch: int = 4, **fields: object) -> StreamPosition:
    return replace(StreamPosition(0, f"layer{index}", name, name, batch, 0, index=index), **fields)  # type: ignore[arg-type]


def at(*places: StreamPosition, rows: tuple[RowsPosition, ...] = ()) -> TrainingPosition:
    return TrainingPosition(0, 1, GeneratorState(0), places, rows)


IMAGES = source("images", [f"{n:08d}_cat/{n}.jpg" for n in range(20)])
TARGETS = source("targets", [f"{n:08d}" for n in range(20)])
OTHERS = source("others", [f"other{n}" for n in range(30)])
SOURCES = Sources({"images": IMAGES, "targets": TARGETS, "others": OTHERS})


def test_records_that_are_read_in_pairs_are_left_out_together() -> None:
    """Layer 2 reads as many records in other batches, layer 3 has more of them, layer 4 is shuffled."""
    point = at(
        place("images", 0),
        place("targets", 1),
        place("targets", 2, batch=5),
        place("others", 3),
        place("targets", 4, shuffle=True),
        replace(place("images", 0), net=1),
    )
    found = exclude(point, SOURCES, ["00000003_cat/3.jpg", "cat/7.jpg"])
    assert [each.excluded for each in found.places] == [(3, 7), (3, 7), (), (), (), ()]
    assert excluded_keys(found, SOURCES) == ("00000003_cat/3.jpg", "00000007_cat/7.jpg", "00000003", "00000007")
    more = exclude(found, SOURCES, ["other29", "00000001"])
    assert [each.excluded for each in more.places] == [(1, 3, 7), (1, 3, 7), (1,), (29,), (1,), ()]


def test_a_full_key_is_meant_before_one_without_its_number() -> None:
    both = Sources({"images": source("images", ["00000000_a", "a", "00000001_b", "00000002_b"])})
    assert exclude(at(place("images", 0)), both, ["a"]).places[0].excluded == (1,)
    assert exclude(at(place("images", 0)), both, ["b"]).places[0].excluded == (2, 3)
    with pytest.raises(BadInput, match="no record of that key"):
        exclude(at(place("images", 0)), both, ["00000001"])  # no part of a key


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("records", [1, 19, 20, 33, 67])
def test_a_stream_goes_on_with_the_next_record_that_is_left(shuffle: bool, records: int) -> None:
    seed = 5 if shuffle else None
    start = place("images", 0, records=records, shuffle=shuffle, list_seed=seed, rand_skip=7, skipped=4)
    found = exclude(at(start), SOURCES, ["cat/0.jpg", "cat/11.jpg", "cat/19.jpg"]).places[0]
    whole = Epochs(20, seed).lines(np.arange(records + 4, records + 64)).tolist()
    wanted = [number for number in whole if number not in (0, 11, 19)][:40]
    position = found.position
    assert Epochs(20, seed, found.excluded).lines(np.arange(position, position + 40)).tolist() == wanted


def test_rows_are_named_by_file_and_row() -> None:
    files = HDF5Files(Path("list"), "", ("a/x.h5", "b/y.h5"), ({"data": (5, 2)}, {"data": (7, 2)}))
    sources = Sources(rows={"list": files})
    rows = RowsPosition(0, 0, "rows", "list", "", 3, (5, 7), False, records=14)
    found = exclude(at(rows=(rows,)), sources, ["x.h5:4", "b/y.h5:0", "x.h5:0"])
    assert found.rows[0].excluded == ((0, 0), (0, 4), (1, 0))
    assert found.rows[0].records == 9 + 1  # an epoch of 9, and row 1
    assert excluded_keys(found, sources) == ("x.h5:0", "x.h5:4", "y.h5:0")
    with pytest.raises(BadInput, match="nothing would be left of file 1 of list"):
        exclude(found, sources, ["x.h5:1", "x.h5:2", "x.h5:3"])
    with pytest.raises(BadInput, match=r"no record of that key.* The nearest key is y\.h5:6"):
        exclude(found, sources, ["y.h5:7"])


def test_an_order_that_only_caffe_knows_is_refused() -> None:
    unknown = place("images", 0, records=8, shuffle=True)
    with pytest.raises(BadInput, match="only Caffe knows where it stands"):
        exclude(at(unknown), SOURCES, ["cat/3.jpg"])
    assert exclude(at(replace(unknown, records=0)), SOURCES, ["cat/3.jpg"]).places[0].excluded == (3,)


def test_keys_are_given_in_a_list_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a, b\r\nc\n\n  d \nc\n")
    assert given_keys(f"@{tmp_path}/keys") == ("a, b", "c", "d")
    assert given_keys("a, b,,a") == ("a", "b")
    assert given_keys(None) == ()


@pytest.mark.parametrize(
    ("records", "shuffle", "until", "wanted"),
    [
        (0, False, 99, "the 4 records that iteration 3 would have read return at iteration 7, in the next epoch"),
        (18, False, 99, "the 4 records that iteration 3 would have read return at iteration 7, in the next epoch"),
        (
            0,
            False,
            7,
            "the 4 records that iteration 3 would have read do not return before the run ends at iteration 7",
        ),
        (0, True, 99, "the 4 records that iteration 3 would have read return in the next epoch, from iteration 4 on"),
    ],
)
def test_the_return_of_skipped_records(records: int, shuffle: bool, until: int, wanted: str) -> None:
    """Of 20 records, 4 in each iteration: iteration 3 reads 16 … 19, and iteration 7 12 … 15."""
    start = place("images", 0, records=records, shuffle=shuffle, skip_at=3, skip=1)
    said = return_of_skipped(at(start), SOURCES, (3, 4), 1, until)
    assert said is not None
    assert wanted in said
