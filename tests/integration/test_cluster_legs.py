"""Legs and sweeps on a Dask cluster: a scheduler and workers on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from harness.cluster import leg_slots, legs_on
from harness.exit_codes import Exit
from harness.recording import run_directory
from harness.recording.result_files import read_sweep
from harness.recording.snapshots import iterations_of
from harness.schemas.leg import Leg, LegResult
from harness.studies.leg_runs import STOP, numbered
from harness.studies.local_legs import LocalLegs
from tests.helpers.clusters import Scheduler, scheduler, worker_of
from tests.helpers.commands import train
from tests.helpers.outlying_records import OUTLYING, key_of, write_records, write_training
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import PATIENCE, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

START, UNTIL = 40, 1500
WORDS = ("--set", "base_lr=0.01", "--set", "snapshot=50")


Nodes = Callable[[], list[subprocess.Popen[str]]]


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Iterator[Scheduler]:
    with scheduler(tmp_path_factory.mktemp("dask")) as found:
        yield found


@pytest.fixture(scope="module")
def nodes(dask: Scheduler) -> Iterator[Nodes]:
    """Two workers, at first node-1 and node-2; where a test has killed one, another is started."""
    with ExitStack() as stack:
        every: list[subprocess.Popen[str]] = []

        def two() -> list[subprocess.Popen[str]]:
            missing = 2 - sum(worker.poll() is None for worker in every)
            names = [f"node-{len(every) + number}" for number in range(1, missing + 1)]
            every.extend(stack.enter_context(dask.workers(names)))
            return [worker for worker in every if worker.poll() is None]

        yield two


def test_legs_of_a_lost_worker_go_on_elsewhere_to_the_same_weights(
    dask: Scheduler, nodes: Nodes, tmp_path: Path
) -> None:
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
    workers = nodes()
    with legs_on(str(dask.file), told.append) as engines:
        engine = engines()
        engine.submit(moved)
        engine.submit(stopped)
        killed: subprocess.Popen[str] | None = None
        for result in engine.results():
            if result is not None:
                ended[Path(result.leg.directory).name] = result
            elif killed is None and _has_snapshot(moved) and _has_snapshot(stopped):
                killed = worker_of(Path(moved.directory), workers)
                assert killed is not None
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
    assert _digest(Path(here.directory)) == _digest(Path(ended["moved"].directory)) is not None
    assert not list((tmp_path / "study").glob(f"*/{STOP}"))


def test_a_sweep_on_a_cluster_goes_on_without_a_lost_worker(dask: Scheduler, nodes: Nodes, tmp_path: Path) -> None:
    """The worker of one restart is killed, and the other restart is stopped."""
    solver = write_training(tmp_path, write_records(tmp_path / "lmdb"), max_iter=20_000, snapshot=START)
    run = train(solver, tmp_path / "run", "--until", 60, "--black-box-mib", 0).run
    records = ",".join(map(key_of, OUTLYING))
    options = ("--from", START, "--skip-records", records, "--until", UNTIL)
    here = harness_command("sweep", run, *options, "--set", "base_lr=0.01", "--workers", 1, "--out", tmp_path / "here")
    assert here.code == 0, here.stderr
    there, workers = tmp_path / "there", nodes()
    words = (*options, "--set", "base_lr=0.01,0.011", "--out", there, "--dask", dask.file)
    with started(sys.executable, ROOT / "harness/sweep.py", run, *words, stdout=subprocess.DEVNULL) as process:
        (moved, stopped) = (there / f"base_lr={rate}-skip_records-3" for rate in ("0.01", "0.011"))
        wait_for(lambda: all(any(leg.glob("snapshots/*.json")) for leg in (moved, stopped)), process)
        (stopped / STOP).touch()
        wait_for(lambda: worker_of(moved, workers), process).kill()
        assert process.wait(PATIENCE) == Exit.INTERRUPTED
    ours, theirs = read_sweep(tmp_path / "here"), read_sweep(there)
    assert ours is not None
    assert theirs is not None
    assert [(leg.code, leg.run) for leg in theirs.legs] == [(0, f"{moved.name}.part2"), (130, stopped.name)]
    assert theirs.legs[0].loss == ours.legs[0].loss
    assert _digest(there / theirs.legs[0].run) == _digest(tmp_path / "here" / ours.legs[0].run) is not None


def test_a_worker_that_cannot_repeat_iterations_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leg_slots, "is_released", lambda key: False)  # there is no Dask worker here
    leg = Leg(str(tmp_path / "not-shared"), START, UNTIL, (), str(tmp_path / "leg"))
    shown = leg_slots.decode_controlled(leg_slots.control("key", msgspec.json.encode(leg)))
    assert shown.verified is None
    assert "not-shared" in shown.why


def _digest(run: Path) -> str | None:
    ended = run_directory.read_info(run).ended
    return ended.weight_digest if ended else None


def _has_snapshot(leg: Leg) -> bool:
    return bool(iterations_of(Path(leg.directory) / "snapshots"))
