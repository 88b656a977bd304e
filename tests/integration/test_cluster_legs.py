"""Legs on a Dask cluster: a scheduler and workers on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from harness.cluster import legs_on
from harness.exit_codes import Exit
from harness.recording import run_directory
from harness.recording.snapshots import iterations_of
from harness.schemas.leg import Leg, LegResult
from harness.studies.leg_runs import STOP, numbered
from harness.studies.local_legs import LocalLegs
from tests.helpers.clusters import scheduler
from tests.helpers.commands import train
from tests.helpers.outlying_records import write_records, write_training

pytestmark = pytest.mark.usefixtures("one_blas_thread")

START, UNTIL = 40, 1500
WORDS = ("--set", "base_lr=0.01", "--set", "snapshot=50")


def test_legs_of_a_lost_worker_go_on_elsewhere_to_the_same_weights(tmp_path: Path) -> None:
    """One of two workers is killed in the middle of its leg; the other one's leg is stopped, and then it goes on."""
    solver = write_training(tmp_path, write_records(tmp_path / "lmdb"), max_iter=20_000)
    train(solver, tmp_path / "run", "--until", 60, "--black-box-mib", 0)

    def leg(name: str, until: int = UNTIL) -> Leg:
        return Leg(str(tmp_path / "run"), START, until, WORDS, str(tmp_path / "study" / name), stops=False)

    with LocalLegs(1) as local:
        local.submit(leg("here"))
        (here,) = (result for result in local.results() if result is not None)
    told, ended = list[str](), dict[str, LegResult]()
    moved, stopped = leg("moved"), leg("stopped", 20_000)
    (tmp_path / "dask").mkdir()
    with (
        scheduler(tmp_path / "dask") as dask,
        dask.workers(["node-1", "node-2"]) as workers,
        legs_on(str(dask.file), told.append) as engines,
    ):
        engine = engines()
        engine.submit(moved)
        engine.submit(stopped)
        killed: subprocess.Popen[str] | None = None
        for result in engine.results():
            if result is not None:
                ended[Path(result.leg.directory).name] = result
            elif killed is None and _has_snapshot(moved) and _has_snapshot(stopped):
                killed = next(worker for worker in workers if _makes(worker, moved))
                killed.kill()
            elif any("is lost" in text for text in told) and not ended:
                engine.stop(stopped)
        engine.close()
    assert killed is not None
    lost, other = ("node-1", "node-2") if killed is workers[0] else ("node-2", "node-1")
    assert sorted(told) == sorted(
        [*(f"node-{n} reproduces the recorded bits" for n in (1, 2)), f"{lost} is lost; its restarts go on elsewhere"]
    )
    assert {name: (one.code, one.worker) for name, one in ended.items()} == {
        "moved": (Exit.DONE, other),
        "stopped": (Exit.INTERRUPTED, other),
    }
    assert ended["moved"].directory == str(numbered(moved, 2))
    assert ended["moved"].iterations == UNTIL - START
    digests = [run_directory.read_info(Path(one.directory)).ended for one in (here, ended["moved"])]
    assert digests[0] is not None
    assert digests[1] is not None
    assert digests[0].weight_digest == digests[1].weight_digest
    assert not list((tmp_path / "study").glob(f"*/{STOP}"))


def _makes(worker: subprocess.Popen[str], leg: Leg) -> bool:
    """Check whether a Dask worker has the process of a leg."""
    name = f'"{leg.directory}"'
    return any(name in word for child in psutil.Process(worker.pid).children() for word in child.cmdline())


def _has_snapshot(leg: Leg) -> bool:
    return bool(iterations_of(Path(leg.directory) / "snapshots"))
