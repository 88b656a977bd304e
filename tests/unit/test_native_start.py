"""Where `caffe train` began the part of a training that wrote a snapshot: its logs, and the snapshots beside it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.diagnosis.exactness import exactness
from harness.reports.text.exactness import at_the_start
from harness.schemas.run_info import NativeStart
from harness.supervisor.native_start import find_native_start, suspected_resume
from tests.helpers.run_infos import run_info

BEGINS = "I1130 08:00:00.000001  7 solver.cpp:45] Initializing solver from parameters: \n"


def resumes(name: str) -> str:
    return f"I1130 08:00:01.000001  7 caffe.cpp:235] Resuming from {name}\n"


def snapshots(name: str, kind: str = "binary proto", stamp: str = "I1130 08:00:02.000001") -> str:
    return f"{stamp}  7 sgd_solver.cpp:284] Snapshotting solver state to {kind} file {name}\n"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A solverstate, and no log that glog kept."""
    monkeypatch.setenv("GLOG_log_dir", str(tmp_path / "glog"))
    (tmp_path / "glog").mkdir()
    (tmp_path / "net").mkdir()
    path = tmp_path / "net/full_iter_65.solverstate"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("log", "start"),
    [
        (BEGINS + snapshots("examples/full_iter_65.solverstate"), 0),
        (BEGINS + resumes("x/full_iter_60.solverstate") + snapshots("full_iter_65.solverstate"), 60),
        (BEGINS + resumes("full_iter_60.solverstate.h5") + snapshots("full_iter_65.solverstate", "HDF5"), 60),
        (
            BEGINS
            + snapshots("full_iter_60.solverstate")
            + BEGINS
            + resumes("full_iter_60.solverstate")
            + snapshots("full_iter_65.solverstate")
            + BEGINS
            + resumes("full_iter_65.solverstate")
            + snapshots("full_iter_70.solverstate"),
            60,
        ),
        (BEGINS + resumes("a_iter_9.solverstate") + BEGINS + snapshots("full_iter_65.solverstate"), 0),
    ],
)
def test_a_log_beside_the_snapshot_says_where_it_was_resumed(state: Path, log: str, start: int) -> None:
    (state.parent / "train.log").write_text(log)
    found = find_native_start(state, 65, None, 5)
    assert found == NativeStart(iteration=start, known_from=str(state.parent / "train.log"))
    assert find_native_start(state, 65, 3, 5) == NativeStart(iteration=3, known_from="--native-start")


def test_a_log_of_glog_counts_by_path_and_time(state: Path) -> None:
    stamp = time.strftime("I%m%d %H:%M:%S.000001", time.localtime(state.stat().st_mtime))
    log = state.parents[1] / "glog/caffe.host.me.log.INFO.20261130-080000.7"
    text = BEGINS + resumes("full_iter_60.solverstate")
    for name, known in (("net/full_iter_65.solverstate", True), ("other/full_iter_65.solverstate", False)):
        log.write_text(text + snapshots(name, stamp=stamp))
        assert (find_native_start(state, 65, None, 5).known_from == str(log)) is known
    log.write_text(text + snapshots(str(state), stamp="I0101 00:00:00.000001"))
    assert find_native_start(state, 65, None, 5).known_from is None


def test_logs_that_disagree_or_mention_nothing_say_nothing(state: Path) -> None:
    (state.parent / "a.log").write_text(BEGINS + snapshots("full_iter_65.solverstate"))
    (state.parent / "b.log").write_text(
        BEGINS + resumes("i_iter_60.solverstate") + snapshots("full_iter_65.solverstate")
    )
    (state.parent / "c.log").write_bytes(b"\xff\x00" * 99)
    assert find_native_start(state, 65, None, 5) == NativeStart(iteration=0)


@pytest.mark.parametrize(
    ("times", "interval", "suspected"),
    [
        ([], 5, None),
        ([10, 20, 30, 40, 50, 60], 5, 60),  # BVLC's two-stage recipe
        ([5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60], 5, None),
        ([60], 5, None),  # the older ones may have been removed
        ([10, 20, 23, 30, 40, 50, 60], 10, 23),
        ([10, 20, 23], 0, None),
        ([70, 80], 5, None),
    ],
)
def test_snapshots_beside_it_can_suggest_a_resume(times: list[int], interval: int, suspected: int | None) -> None:
    assert suspected_resume([*times, 65], 65, interval) == suspected


def test_the_snapshots_beside_it_count_by_their_prefix(state: Path) -> None:
    for name in ("full_iter_10", "full_iter_20", "full_iter_60", "other_iter_64", "full_iter_70"):
        state.with_name(f"{name}.solverstate").touch()
    assert find_native_start(state, 65, None, 5) == NativeStart(iteration=0, suspected=60)


@pytest.mark.parametrize(
    ("begun", "said"),
    [
        (NativeStart(iteration=0), "without interruption from iteration 0, which cannot be known from the snapshot"),
        (NativeStart(iteration=0, suspected=60), "for example --native-start 60"),
        (
            NativeStart(iteration=60, known_from="--native-start"),
            "if caffe train was last resumed at iteration 60",
        ),
        (NativeStart(iteration=60, known_from="x.log"), "x.log says that caffe train was resumed at iteration 60"),
        (NativeStart(iteration=0, known_from="x.log"), "x.log says that caffe train ran from iteration 0"),
    ],
)
def test_what_is_known_is_said(begun: NativeStart, said: str) -> None:
    info = run_info(first=65, native_start=begun)
    found = exactness(info, None)
    assert (not found.conditions) == (begun.known_from == "x.log")
    lines = at_the_start(run_info(first=65, native_start=begun, exact_if=found.conditions))
    assert said in " ".join(lines)
