"""Parts of make_lmdb: options, the division into train and test set, means, commits."""

from __future__ import annotations

import re

import numpy as np
import pytest

from harness.errors import BadInput
from harness.imageset.batch import Batch
from harness.imageset.counts import SetCounts
from harness.imageset.image_format import ImageFormat
from harness.imageset.listing import ImageList
from harness.imageset.mean import LARGEST, Sums
from harness.imageset.options import parse
from harness.imageset.ordering import split_train_test
from harness.imageset.output_directory import format_bytes
from harness.imageset.remarks import remarks_on


def test_an_added_image_moves_no_other_to_the_other_set() -> None:
    paths = [b"c/%d.jpg" % number for number in range(100)]
    few, many = (ImageList(paths[:n], np.zeros(n, np.int32)) for n in (91, 100))
    held_out = [{images.paths[place] for place in split_train_test(images, 0.1, 5)[1]} for images in (few, many)]
    assert [len(paths) for paths in held_out] == [9, 10]
    assert len(held_out[0] - held_out[1]) <= 9 - 7


def test_a_path_that_is_listed_twice_is_in_one_set() -> None:
    images = ImageList([b"a", b"b", b"c", b"d"] * 3, np.zeros(12, np.int32))
    sides = [{images.paths[place] for place in side} for side in split_train_test(images, 0.5, 1)]
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {b"a", b"b", b"c", b"d"}


def test_sums_survive_their_bytes() -> None:
    sums = Sums()
    for shape in ((4, 5, 3), (4, 5, 3)):
        sums.add(np.full(shape, 7, np.uint8))
    again = Sums.from_bytes(sums.to_bytes())
    again.add(np.full((4, 5, 3), 7, np.uint8), -1)
    assert again.count == 1
    assert again.mean is not None
    assert np.all(again.mean == 7)
    again.add(np.zeros((2, 2, 3), np.uint8))
    assert Sums.from_bytes(again.to_bytes()).mean is None
    assert again.values(gray=False) == [3.5] * 3


def test_options_may_be_spelled_as_in_gflags() -> None:
    first = parse(["-resize_height=3", "--resize_width", "4", "--encoded=true", "--gray=false", "-shuffle", "p", "o"])
    assert first.image_format == ImageFormat(gray=False, height=3, width=4, encoded=True)
    assert first.shuffle
    assert not parse(["--noshuffle", "--check_size", "p", "o"]).shuffle
    assert parse(["--list", "l", "--shuffle", "o"]).shuffle
    assert not parse(["--list", "l", "o"]).shuffle


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("p o --list l", "--list l: excludes a folder of images"),
        ("o", "give a folder of images, or a list"),
        ("p o --root r", "--root r: only allowed with --list"),
        ("p o --resize_height 5", "--resize-height, --resize-width 5, 0: only one of them is given"),
        ("p o --test-share 1", "--test-share 1.0: out of range. Give 0 (none) up to 0.9"),
        ("p o --workers 0", "--workers 0: out of range. Give 1 or more"),
        ("p o --encode_type gif", "--encode-type gif: Caffe cannot decode such images"),
        ("p o --encode_type webp", "--encode-type webp: Caffe cannot decode such images"),
        ("o --list l --test-list m --test-share 0.2", "--test-share 0.2: excluded by --test-list"),
    ],
)
def test_contradictory_options_are_refused(arguments: str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        parse(arguments.split())


def test_labels_without_a_gap_give_no_remark() -> None:
    remarks = remarks_on({"train": SetCounts(), "test": SetCounts()}, {0: "a", 1: "b"}, (), ImageFormat(), False)
    assert not any("no image has" in remark for remark in remarks)


def test_sums_of_large_images_take_little_memory() -> None:
    sums = Sums()
    sums.add(np.zeros((LARGEST + 1, 1, 3), np.uint8))
    assert sums.image is None
    assert len(sums.to_bytes()) < 1000


def test_sizes_are_written_with_units() -> None:
    assert [format_bytes(size) for size in (900, 54_321, 54_321_000, 54_321_000_000)] == [
        "0.9 kB",
        "54.3 kB",
        "54.3 MB",
        "54.3 GB",
    ]


def test_commits_grow_with_the_number_of_records() -> None:
    assert [Batch.after(done).most for done in (0, 1000, 2000, 5000, 90_000)] == [
        1000, 1000, 2000, 5000, 8000,
    ]  # fmt: skip
    batch = Batch.after(0)
    assert not batch.full
    batch.began -= 11
    assert batch.full
