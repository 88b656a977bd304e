"""The records that a stretch of a training reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.capsules.packing.records_read import joined, lines_read, rows_read, with_reached_gap
from harness.prefetch.libc_random import LibcRandom
from harness.prefetch.positions import with_orders
from harness.prefetch.row_order import RowReader
from harness.schemas.data_position import GeneratorState, RowsPosition, StreamPosition, TrainingPosition

PLACE = StreamPosition(0, "data", "lmdb", "", batch_size=4, image_draws=0, records=6)


def test_records_come_in_their_order_and_from_the_first_one_again() -> None:
    assert lines_read(PLACE, 2, 10).tolist() == [6, 7, 8, 9, 0, 1, 2, 3]


def test_records_that_are_left_out_are_not_read() -> None:
    assert lines_read(replace(PLACE, excluded=(2, 9)), 2, 10).tolist() == [7, 8, 0, 1, 3, 4, 5, 6]


def test_a_gap_is_read_only_if_it_is_reached() -> None:
    place = replace(PLACE, skip_at=1, skip=2)
    assert with_reached_gap(place, 2) == place
    assert len(lines_read(place, 2, 10)) == 4 * (2 + 2)
    assert with_reached_gap(place, 1) == PLACE


def test_rows_of_layers_that_share_a_generator_come_in_their_turns() -> None:
    """A test net takes batches in between."""
    train = RowsPosition(0, 0, "rows", "list", "", batch_size=3, counts=(5, 8), shuffle=True)
    test = replace(train, net=1, batch_size=2)
    point = with_orders(TrainingPosition(0, 1, GeneratorState(0), (), (train, test)))
    random = LibcRandom(point.rand)
    readers = [RowReader(place.counts, random, place.order, 0) for place in point.rows]
    expected: list[list[tuple[int, int]]] = [[], []]
    for net in (0, 0, 1, 0):
        for file, rows in readers[net].read(point.rows[net].batch_size):
            expected[net] += [(file, int(row)) for row in rows]
    found = rows_read(point, [(0, 2), (1, 1), (0, 1)])
    for net in (0, 1):
        assert [*zip(*(each.tolist() for each in joined(found[net, 0])), strict=True)] == expected[net]


def test_rows_of_a_gap_are_passed_over() -> None:
    place = RowsPosition(0, 0, "rows", "list", "", batch_size=2, counts=(7,), shuffle=False, skip_at=1, skip=1)
    point = TrainingPosition(0, 1, GeneratorState(0), (), (place,))
    file, row = joined(rows_read(point, [(0, 2)])[0, 0])
    assert row.tolist() == [0, 1, 4, 5]
    assert not np.any(file)
