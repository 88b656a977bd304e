"""The order of records and rows with some of them left out; the oracle is the whole order, read one by one."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from harness.prefetch.epochs import Epochs
from harness.prefetch.libc_random import LibcRandom
from harness.prefetch.row_order import RowReader

COUNT, EXCLUDED = 23, (0, 4, 5, 22)


@pytest.mark.parametrize("seed", [None, 7])
def test_lines_are_left_out_of_the_order_of_all(seed: int | None) -> None:
    whole = list(islice(Epochs(COUNT, seed).lines_from(0), 5 * COUNT))
    kept = [line for line in whole if line not in EXCLUDED]
    assert list(islice(Epochs(COUNT, seed, EXCLUDED).lines_from(0), len(kept))) == kept
    assert list(islice(Epochs(COUNT, seed, EXCLUDED).lines_from(31), 20)) == kept[31:51]
    assert Epochs(COUNT, seed, EXCLUDED).lines(np.arange(len(kept))).tolist() == kept
    assert Epochs(COUNT, seed, EXCLUDED).size == COUNT - len(EXCLUDED)


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("before", [(), (1, 4)])
def test_a_position_stays_before_the_same_line(seed: int | None, before: tuple[int, ...]) -> None:
    """After any number of lines, the next one that is not left out is the next one in the new order as well."""
    for position in range(70):
        more = (*EXCLUDED, *before)
        moved = Epochs(COUNT, seed, before).position_without(position, more)
        rest = (line for line in Epochs(COUNT, seed, before).lines_from(position) if line not in more)
        assert list(islice(Epochs(COUNT, seed, more).lines_from(moved), 50)) == list(islice(rest, 50))


COUNTS = (5, 1, 9)
LEFT_OUT = ((0, 0), (0, 4), (2, 8), (2, 3))


def rows(reader: RowReader, count: int) -> list[tuple[int, int]]:
    return [(file, int(row)) for file, part in reader.read(count) for row in part]


@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_are_left_out_of_the_order_of_all(shuffle: bool) -> None:
    def reader(excluded: tuple[tuple[int, int], ...]) -> RowReader:
        return RowReader(COUNTS, LibcRandom() if shuffle else None, None, 0, excluded)

    kept = [row for row in rows(reader(()), 6 * sum(COUNTS)) if row not in LEFT_OUT]
    assert rows(reader(LEFT_OUT), len(kept)) == kept


def test_a_shuffled_order_goes_on_without_rows() -> None:
    """From wherever it stands, also where all rows that are left of a file are left out."""
    for start in range(40):
        random, whole = LibcRandom(), LibcRandom()
        reader = RowReader(COUNTS, random, None, 0)
        rows(reader, start)
        other = RowReader(COUNTS, LibcRandom(random.state), reader.order, 0, LEFT_OUT)
        wanted = [row for row in rows(RowReader(COUNTS, whole, None, 0), start + 60)[start:] if row not in LEFT_OUT]
        assert rows(other, 30) == wanted[:30], start
