"""The keys of the records in windows, as they are passed to the worker."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from harness.errors import BadInput
from harness.prefetch.record_order import ReadingPlan, RecordOrder
from harness.schemas.data_position import StreamPosition
from harness.supervisor import record_keys
from harness.supervisor.options import Options
from harness.supervisor.plan import make_plan
from harness.supervisor.record_keys import WindowKeys
from harness.supervisor.resume import from_weights
from harness.supervisor.training_spec import read_training_spec

PLACE = StreamPosition(0, "data", "lmdb", "f", batch_size=3, image_draws=0, records=4, skip_at=4, skip=2)


def test_the_records_of_an_iteration_wrap_around_and_leave_out_what_is_skipped() -> None:
    order = RecordOrder(ReadingPlan(PLACE, first=10, iter_size=2), 8)
    assert order.size == 6
    assert order.records(10).tolist() == [4, 5, 6, 7, 0, 1]
    assert order.records(11).tolist() == [2, 3, 4, 5, 6, 7]
    assert order.records(12).tolist() == [6, 7, 0, 1, 2, 3]  # 2 batches later than without the gap
    assert order.records(10**9 + 12).tolist() == order.records(10**9 + 16).tolist()  # no time for all in between


def test_keys_that_find_no_room_are_bad_input(tmp_path: Path) -> None:
    keys = WindowKeys(np.array([b"key"] * 9999), np.zeros(9999, np.int32), ReadingPlan(PLACE, 0, 1), "label")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        with pytest.raises(BadInput, match=r"--out .*: no room for the keys of 9,999 records"):
            keys.write(tmp_path / "keys.npz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list(tmp_path.iterdir()) == []


def test_the_keys_of_a_large_data_set_are_held_for_a_watched_window_only(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_training_spec(small / "solver.prototxt")
    start = from_weights(None, spec.solver)

    def keys(*watch: str) -> WindowKeys | None:
        return make_plan(spec, start, Options(out=small / "run", cpu=True, watch=watch)).keys

    assert keys() is not None
    monkeypatch.setattr(record_keys, "_FEW", 100)
    assert keys() is None
    assert keys("2:4") is not None
