"""Workers that are killed, work that is cancelled, results that are found again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from harness.errors import BadInput, RecordingError
from harness.experiments import Arms, local, locked, repeat
from harness.experiments.engine import Engine, Engines, Setting
from harness.experiments.local_pool import LocalPool
from harness.experiments.results import Results, find
from harness.schemas.arm import Arm, ArmResult, LayerField, RateScaled, SolverField
from harness.schemas.arm_task import Progress
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts
from tests.helpers.arms import arms_of, recorded_digests, replay_all
from tests.helpers.commands import train
from tests.helpers.mounts import run_with_mounts
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import ROOT
from tests.helpers.processes import has_ended, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

FIRST = 25
LONG = Arm(FIRST, 3000)  # takes until it is ended


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, digit_data: Path, one_blas_thread: None) -> Path:
    home = tmp_path_factory.mktemp("engine")
    (home / "net.prototxt").write_text(small_net(digit_data))
    fields = {"max_iter": 40, "lr_policy": '"fixed"', "power": None, "test_iter": None, "test_interval": None}
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **fields))
    train(home / "solver.prototxt", home / "run", "--black-box-mib", 0)
    return home / "run"


class Pools:
    """Makes pools, and keeps them."""

    def __init__(self, workers: int) -> None:
        self.workers, self.made = workers, list[LocalPool]()

    @property
    def engines(self) -> Engines:
        return Engines(self._start, lambda setup: self.workers)

    def _start(self, setting: Setting) -> Engine:
        self.made.append(LocalPool(setting, self.workers))
        return self.made[-1]


def refuse(setting: Setting) -> Engine:
    raise AssertionError("an arm is replayed a second time")


def arms_with(run: Path, pools: Pools) -> Arms:
    return Arms(run, FIRST, pools.engines, NoListener(), Interrupts("stop"))


@pytest.mark.parametrize("kills", [1, 2])
def test_the_arm_of_a_killed_worker_is_tried_once_more_and_the_others_continue(run: Path, kills: int) -> None:
    """Killed in the middle of an arm, as soon as it tells its progress."""
    pools, again = Pools(1), Arm(FIRST, 200, seed=kills)
    others = [Arm(FIRST, 6, seed=10 * kills + number) for number in range(2)]
    begun = list[int]()

    def kill(progress: Progress) -> None:
        if progress.key == again.key and progress.first == FIRST:
            begun.append(len(progress.losses))
            if len(begun) <= kills:
                os.kill(pools.made[0].pids[0], signal.SIGKILL)

    with Arms(run, FIRST, pools.engines, NoListener(), Interrupts("stop"), follow=kill) as arms:
        arms.submit([again, *others])
        *done, last = arms.results()
    assert len(begun) == 2
    assert [result.arm for result in done] == others
    assert list(done[1].digest) == recorded_digests(run, FIRST, 6)
    assert last.arm == again
    if kills == 1:
        assert last.ended == "completed"
        assert list(last.digest[:15]) == recorded_digests(run, FIRST, 15)
    else:
        assert (last.ended, last.killed) == ("died", True)
        assert "SIGKILL" in last.why
        assert Results(run / "experiments").load(again) is None


def test_progress_has_the_loss_of_each_iteration_once(run: Path) -> None:
    told = list[Progress]()
    arm = Arm(FIRST, 1500, seed=20)
    with Arms(run, FIRST, local(1), NoListener(), Interrupts("stop"), follow=told.append) as arms:
        arms.submit([arm])
        (result,) = arms.results()
    losses = tuple(loss for progress in told for loss in progress.losses)
    assert losses == result.loss[: len(losses)]
    assert {progress.key for progress in told} == {arm.key}
    assert told[0].losses == result.loss[:1]
    assert [progress.first for progress in told[1:]] == [p.first + len(p.losses) for p in told[:-1]]
    assert 1 < len(told) <= 1 + result.seconds / 0.2


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_killed_as_they_start(run: Path, workers: int) -> None:
    """One of several is not replaced: memory may be short. A single one is, once."""
    pools = Pools(workers)
    arms = [Arm(FIRST, 3, seed=30 * workers + number) for number in range(2 * workers)]

    def kill() -> None:
        wait_for(lambda: len(pools.made[0].pids) == workers)
        os.kill(pools.made[0].pids[0], signal.SIGKILL)

    with Arms(run, FIRST, pools.engines, NoListener(), Interrupts("stop")) as replays:
        replays.submit(arms)
        killer = threading.Thread(target=kill)
        killer.start()
        assert [result.ended for result in replays.results()] == ["completed"] * len(arms)
        assert len(pools.made[0].pids) == 1
    killer.join()


def test_results_are_found_again_and_nothing_is_replayed_twice(run: Path) -> None:
    """Also the one of an arm that Caffe aborted; not that of changes that do not fit, nor a damaged file."""
    done = Arm(FIRST, 4, (SolverField("momentum", "0.1"),))
    aborted = Arm(FIRST, 4, (SolverField("regularization_type", '"L3"'),))
    refused = Arm(FIRST, 4, (LayerField("loss3/classifier", "num_output", "7"),))
    given = [done, aborted, done, refused]
    before = replay_all(run, FIRST, given, workers=2)
    assert [result.ended for result in before] == ["completed", "died", "completed", "refused"]
    with Arms(run, FIRST, Engines(refuse, lambda setup: 1), NoListener(), Interrupts("stop")) as arms:
        arms.submit([done, aborted, done])
        assert list(arms.results()) == [before[0], before[1]]
        with pytest.raises(AssertionError):
            arms.submit([refused])
    (run / "experiments" / f"{done.key}.arm").write_bytes(b"damaged")
    (again,) = replay_all(run, FIRST, [done])
    assert (again.digest, again.loss) == (before[0].digest, before[0].loss)


def test_arms_can_be_submitted_while_results_are_taken(run: Path) -> None:
    """As the first result suggests the next arm."""
    seeds = []
    with arms_of(run, FIRST, workers=2) as arms:
        arms.submit([Arm(FIRST, 3, seed=100)])
        for result in arms.results():
            seeds.append(result.arm.seed)
            if len(seeds) < 4:
                arms.submit([Arm(FIRST, 3, seed=100 + len(seeds))])
    assert seeds == [100, 101, 102, 103]


def test_cancelled_work_ends_at_once_and_leaves_no_process(run: Path) -> None:
    pools = Pools(2)
    with arms_with(run, pools) as arms:
        arms.submit([Arm(FIRST, 3000, seed=number) for number in range(40)])  # a second each, or half of it
        timer = threading.Timer(1.5, arms.cancel)
        timer.start()
        began = time.monotonic()
        workers = list[psutil.Process]()
        looker = threading.Timer(1.0, lambda: workers.extend(map(psutil.Process, pools.made[0].pids)))
        looker.start()
        assert len(list(arms.results())) < 20
        assert time.monotonic() - began < 6
    assert len(workers) == 2
    assert all(map(has_ended, workers))


SCRIPT = """
import sys
from pathlib import Path
from harness.schemas.arm import Arm
from tests.helpers.arms import arms_of

run, first = Path(sys.argv[1]), int(sys.argv[2])
with arms_of(run, first, 2) as arms:
    arms.submit([Arm(first, 3, seed=7), Arm(first, 3000, seed=8), Arm(first, 3000, seed=9)])
    for result in arms.results():
        print(result.arm.seed, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(run: Path, number: signal.Signals) -> None:
    """In the middle of an arm; what was finished before is kept."""
    arm = Arm(FIRST, 3, seed=7)
    (run / "experiments" / f"{arm.key}.arm").unlink(missing_ok=True)
    script = (sys.executable, "-c", SCRIPT, run, FIRST)
    with started(*script, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "7\n"
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
        process.send_signal(number)
        assert process.wait(30) != 0
        wait_for(lambda: all(map(has_ended, workers)))
    found = Results(run / "experiments").load(arm)
    assert found is not None
    assert found.ended == "completed"


def test_an_arm_before_the_first_iteration(run: Path) -> None:
    with arms_of(run, FIRST) as arms, pytest.raises(BadInput, match="start at iteration 25 or later"):
        arms.submit([Arm(FIRST - 1, 3)])


def test_a_state_that_is_damaged_meanwhile(run: Path, tmp_path: Path) -> None:
    """The caffemodel becomes that of another iteration: Caffe has read it before this shows."""
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("experiments")))
    model, other = (next(copy.glob(f"snapshots/*_iter_{t}.caffemodel")) for t in (FIRST, 40))

    def engine(setting: Setting) -> Engine:
        shutil.copyfile(other, model)
        return LocalPool(setting, 1)

    with Arms(copy, FIRST, Engines(engine, lambda setup: 1), NoListener(), Interrupts("stop")) as arms:
        arms.submit([Arm(FIRST, 3)])
        with pytest.raises(RecordingError, match="these are not the weights of iteration 25"):
            list(arms.results())


def test_a_damaged_snapshot_is_passed_over(run: Path, tmp_path: Path) -> None:
    """An exact replay goes to its iteration, from the start of the run."""
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("experiments")))
    model, other = (next(copy.glob(f"snapshots/*_iter_{t}.caffemodel")) for t in (FIRST, 40))
    shutil.copyfile(other, model)
    (result,) = replay_all(copy, FIRST, [Arm(FIRST, 3)])
    assert list(result.digest) == recorded_digests(run, FIRST, 3)


def test_an_arm_is_repeated_exactly_and_its_stored_result_stays(run: Path) -> None:
    """One that ended where it was not finite, and one whose stored result is changed: the difference is found."""
    arms = [Arm(FIRST, 5, (RateScaled(1e30, FIRST + 1),)), Arm(FIRST, 5, seed=41)]
    replay_all(run, FIRST, arms)
    files = [run / "experiments" / f"{arm.key}.arm" for arm in arms]
    changed = msgspec.msgpack.decode(files[1].read_bytes(), type=ArmResult)
    digests = [*changed.digest[:3], changed.digest[3] ^ 1, *changed.digest[4:]]
    files[1].write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(changed, digest=tuple(digests))))
    before = [file.read_bytes() for file in files]
    found = [repeat(run, arm.key[:9].upper(), NoListener(), Interrupts("stop")) for arm in arms]
    assert [(repeated.identical, repeated.first_difference) for repeated in found] == [
        (True, None),
        (False, FIRST + 3),
    ]
    assert found[0].again.ended == "not finite"
    assert found[1].again.digest == changed.digest
    assert [file.read_bytes() for file in files] == before


@pytest.mark.parametrize(
    ("key", "words"),
    [("", "no arm has a key"), ("0g", "no arm has a key"), ("ab", "the keys of 2 arms begin with that")],
)
def test_keys_that_name_no_single_arm(tmp_path: Path, key: str, words: str) -> None:
    for name in ("ab1", "ab2", "cd"):
        (tmp_path / f"{name}.arm").write_bytes(b"")
    with pytest.raises(BadInput, match=words):
        find(tmp_path, key)
    with pytest.raises(BadInput, match=r"cd\.arm: the result of an arm is damaged"):
        find(tmp_path, "cd")


LOCKED = """
import sys
from pathlib import Path
from harness.experiments import locked

with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_has_the_lock_which_ends_with_it(run: Path) -> None:
    script = (sys.executable, "-c", LOCKED, run)
    with started(*script, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        words = rf"another command replays arms of this run \(process {process.pid}\)"
        with pytest.raises(BadInput, match=words), locked(run):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with locked(run), pytest.raises(BadInput, match=f"process {os.getpid()}"), locked(run):
        pass


ON_DISK = """
import os, sys
from pathlib import Path
from harness.errors import BadInput, RecordingFailed
from harness.schemas.arm import Arm
from tests.helpers.arms import arms_of

run, first = Path(sys.argv[1]), int(sys.argv[2])
with arms_of(run, first) as arms:
    arms.submit([Arm(first, 3)])
    print(*(result.ended for result in arms.results()))
    try:
        arms.submit([Arm(first, 200)])
    except RecordingFailed as error:
        print(error)
    disk = os.statvfs(run / "experiments")
    (run / "experiments" / "filler").write_bytes(bytes(disk.f_bavail * disk.f_bsize))
    arms.submit([Arm(first, 3, seed=1)])
    try:
        list(arms.results())
    except RecordingFailed as error:
        print(error)
    (run / "experiments" / "filler").unlink()
with arms_of(run, first) as arms:
    arms.submit([Arm(first, 3), Arm(first, 3, seed=1)])
    print(*(result.ended for result in arms.results()))
print(*sorted(os.listdir(run / "experiments")))
os.system(f"mount -o remount,ro none {run}/experiments")
try:
    arms_of(run, first)
except BadInput as error:
    print(error)
"""


def test_a_full_disk_and_one_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    """What was finished stays; once there is room again, the same command goes on."""
    copy = Path(shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("experiments")))
    (copy / "experiments").mkdir()
    mount = 'mount -t tmpfs -o size=256k none "$1/experiments" || exit 99; exec "$3" -c "$4" "$1" "$2"'
    done = run_with_mounts(mount, "sh", copy, FIRST, sys.executable, ON_DISK, env={"PYTHONPATH": str(ROOT)})
    assert done.code == 0, done.stderr
    first, no_store, no_result, again, files, read_only = done.stdout.splitlines()
    assert (first, again) == ("completed", "completed completed")
    assert "batches of layer data cannot be stored (No space left on device)" in no_store
    assert "the result of an arm cannot be written (No space left on device)" in no_result
    assert files.split() == sorted(f"{Arm(FIRST, 3, seed=seed).key}.arm" for seed in (0, 1))
    assert "results of replays cannot be stored there (no write access)" in read_only
