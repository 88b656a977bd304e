"""Arms on a Dask cluster: a scheduler and workers on this machine."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from harness import __version__
from harness.cluster import arms_on
from harness.exit_codes import Exit
from harness.experiments import Arms
from harness.experiments.results import Results, find
from harness.recording.result_files import read_explanation
from harness.schemas.arm import Arm, ArmResult, RateScaled
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts
from harness.worker.blas import loaded_blas
from tests.helpers.arms import recorded_digests
from tests.helpers.clusters import Scheduler, scheduler
from tests.helpers.commands import train
from tests.helpers.paths import ROOT
from tests.helpers.planted_records import ONSET, write_planted
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import command, has_ended, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

FIRST = ONSET - 5
_SCHEDULER, _WORKERS = "cluster", ["node-1", "node-2"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Iterator[Scheduler]:
    with scheduler(tmp_path_factory.mktemp(_SCHEDULER)) as found, found.workers(_WORKERS):
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, one_blas_thread: None) -> Path:
    home = tmp_path_factory.mktemp("planted")
    train(write_planted(home), home / "run", "--black-box-mib", 0)
    return home / "run"


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, of which nothing was replayed yet."""
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("experiments", "explain.json"))
    return tmp_path / "run"


class Messages(NoListener):
    """Keeps what the user is told, and does something at some texts."""

    def __init__(self, actions: Mapping[str, Callable[[], None]]) -> None:
        self.texts: list[str] = []
        self._actions = actions

    def message(self, text: str) -> None:
        self.texts.append(text)
        if text in self._actions:
            self._actions[text]()


def changed(number: int, horizon: int) -> Arm:
    return Arm(FIRST, horizon, (RateScaled(0.5, FIRST + 1),), seed=number)


def shared_rooms(run: Path) -> list[Path]:
    return list((run / "experiments").glob("shared-*"))


def test_an_explanation_is_that_of_the_local_pool(cluster: Scheduler, run: Path, copy: Path) -> None:
    """The same verdict, and the same bits in every arm."""
    here = harness_command("explain", run, "--workers", 2)
    there = harness_command("explain", copy, "--dask", cluster.file)
    assert (here.code, there.code) == (0, 0), there.stderr
    assert "2 of 2 workers reproduce the recorded bits" in there.stderr
    ours, theirs = read_explanation(run), read_explanation(copy)
    assert ours is not None
    assert theirs is not None
    assert ours.verdict.kind == "record"
    assert (theirs.verdict, theirs.control) == (ours.verdict, ours.control)
    keys = {path.stem for path in (run / "experiments").glob("*.arm")}
    assert keys == {path.stem for path in (copy / "experiments").glob("*.arm")}
    for arm in (arm for trial in ours.arms for arm in trial.keys if arm in keys):
        one, other = (find(place / "experiments", arm) for place in (run, copy))
        assert (one.digest, one.final_digest, one.loss) == (other.digest, other.final_digest, other.loss)
        assert not other.not_exact
    assert not shared_rooms(copy)


def test_workers_that_are_lost_of_another_version_or_with_other_bits(
    cluster: Scheduler, copy: Path, tmp_path: Path
) -> None:
    """A second copy of the harness says that it is 0.2.9; one worker computes with kernels for another processor.

    One is killed as soon as it is said which of them reproduce the bits. There is always something to replay.
    """
    shutil.copytree(ROOT / "harness", tmp_path / "older/harness", ignore=shutil.ignore_patterns("__pycache__"))
    version = tmp_path / "older/harness/__init__.py"
    version.write_text(re.sub(r'(__version__ = )".*"', r'\1"0.2.9"', version.read_text()))
    core = "Nehalem" if loaded_blas().core != "Nehalem" else "Haswell"
    census = "3 of 4 workers reproduce the recorded bits; odd does not, its arms count as additional seeds"
    with (
        cluster.worker("older", {"PYTHONPATH": str(tmp_path / "older")}),
        cluster.worker("odd", {"OPENBLAS_CORETYPE": core}),
        cluster.worker("bare", resource="other"),
        cluster.worker("node-3") as third,
        arms_on(str(cluster.file)) as engines,
    ):
        messages = Messages({census: third.kill})
        with Arms(copy, FIRST, engines, messages, Interrupts("stop")) as replays:
            replays.submit(arms := [*(Arm(FIRST, 9, seed=n) for n in range(4)), *(changed(n, 500) for n in range(6))])
            found = list[ArmResult]()
            for result in replays.results():
                found.append(result)
                is_lost = any(text.startswith("node-3 is lost") for text in messages.texts)
                if not (is_lost and any(one.not_exact for one in found)) and len(arms) < 100:
                    arms.append(changed(len(arms), 500))
                    replays.submit(arms[-1:])
    assert f"Left out: older: harness 0.2.9, here {__version__}" in messages.texts
    assert any(text.startswith("Left out: bare: it has no resource caffe") for text in messages.texts)
    assert census in messages.texts, messages.texts
    assert is_lost
    assert {result.arm.key for result in found} == {arm.key for arm in arms}
    assert {result.ended for result in found} == {"completed"}
    marked = [result for result in found if result.not_exact]
    assert marked
    assert all(result.arm.changes for result in marked)
    assert all("odd has other bits than the recording from iteration 76 on" in r.not_exact for r in marked)
    exact = {result.digest for result in found if result.arm.changes and not result.not_exact}
    assert len(exact) == 1
    for result in (result for result in found if not result.arm.changes):
        assert list(result.digest) == recorded_digests(copy, FIRST, 9)


def test_cancelled_work_ends_and_leaves_nothing(cluster: Scheduler, copy: Path) -> None:
    with (
        arms_on(str(cluster.file)) as engines,
        Arms(copy, FIRST, engines, NoListener(), Interrupts("stop")) as replays,
    ):
        replays.submit([changed(number, 20_000) for number in range(5)])
        timer = threading.Timer(1.0, replays.cancel)
        timer.start()
        began = time.monotonic()
        assert not list(replays.results())
        assert time.monotonic() - began < 10
    assert not shared_rooms(copy)
    wait_for(lambda: not replay_processes())


def replay_processes() -> list[psutil.Process]:
    """Those that workers of these tests have started."""
    workers = [p for p in psutil.Process().children(recursive=True) if "distributed.cli.dask_worker" in _words(p)]
    return [child for worker in workers for child in worker.children()]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


SCRIPT = """
import sys
from pathlib import Path
from harness import __version__
from harness.cluster import arms_on
from harness.experiments import Arms
from harness.schemas.arm import Arm
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts

run, first = Path(sys.argv[2]), int(sys.argv[3])
tell = lambda progress: print(progress.key, flush=True)
with arms_on(sys.argv[1]) as engines, Arms(run, first, engines, NoListener(), Interrupts("stop"), follow=tell) as arms:
    arms.submit([Arm(first, 5000), Arm(first, 5000, seed=1)])
    list(arms.results())
"""


def test_a_command_that_is_killed_leaves_no_process_and_the_next_one_tidies_up(cluster: Scheduler, copy: Path) -> None:
    script = (sys.executable, "-c", SCRIPT, cluster.file, copy, FIRST)
    with started(*script, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        keys = set[str]()
        while len(keys) < 2:
            keys.add(process.stdout.readline())
        running = replay_processes()
        assert len(running) == 2
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert len(shared_rooms(copy)) == 1
        wait_for(lambda: all(map(has_ended, running)))
    with (
        arms_on(str(cluster.file)) as engines,
        Arms(copy, FIRST, engines, NoListener(), Interrupts("stop")) as replays,
    ):
        replays.submit([Arm(FIRST, 4)])
        (result,) = replays.results()
    assert list(result.digest) == recorded_digests(copy, FIRST, 4)
    assert Results(copy / "experiments").load(Arm(FIRST, 4)) is not None
    assert not shared_rooms(copy)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:1", "no Dask scheduler answers there"),
        ("missing/scheduler.json", "there is no such scheduler file"),
        ("{run}/run.json", "this is no scheduler file"),
    ],
)
def test_no_scheduler_is_one_error(run: Path, address: str, said: str) -> None:
    began = time.monotonic()
    done = harness_command("explain", run, "--dask", address.format(run=run))
    assert done.code == Exit.BAD_INPUT
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30


def test_without_the_extra_the_error_says_what_to_install(run: Path, tmp_path: Path) -> None:
    (tmp_path / "distributed.py").write_text("raise ModuleNotFoundError('not there', name='distributed')\n")
    explain = (sys.executable, ROOT / "harness/explain.py", run, "--dask", "tcp://127.0.0.1:1")
    done = command(*explain, env={"PYTHONPATH": str(tmp_path)})
    assert done.code == Exit.BAD_INPUT
    last = done.stderr.splitlines()[-1]
    assert last.endswith(f"has no package distributed. Install it: {sys.executable} -m pip install distributed")
    assert "Traceback" not in done.stderr
