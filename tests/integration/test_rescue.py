"""`rescue` as users start it: what it tries, chooses and continues, and how it goes on after a kill."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import psutil
import pytest

from harness.diagnosis.cause.case import Case
from harness.diagnosis.rescue.trend import Healthy, Trend
from harness.exit_codes import Exit
from harness.experiments import local
from harness.recording import Recording
from harness.recording.lineage import ancestry
from harness.recording.lineage_reader import LineageReader
from harness.recording.result_files import read_explanation, rescue_from
from harness.recording.run_directory import read_info
from harness.reports.view_terminal import ViewTerminal
from harness.rescuing.healthy import healthy_before, last_test
from harness.rescuing.journal import Decision, State, opened
from harness.rescuing.means import Means
from harness.rescuing.request import RescueRequest
from harness.rescuing.restarts import Restarted, Restarts
from harness.rescuing.session import rescue
from harness.rescuing.showing import Showing
from harness.schemas.explanation import Explanation, Levels, Verdict
from harness.schemas.leg import Leg, LegResult
from harness.schemas.rescue import Candidate, Rescue, Step, decode
from harness.supervisor.signals import Interrupts
from tests.helpers.clusters import scheduler, worker_of
from tests.helpers.commands import restart, train
from tests.helpers.investigating import case_of
from tests.helpers.made_up_cases import made_up_case
from tests.helpers.paths import ROOT
from tests.helpers.planted_records import BATCH, INNOCENT, ONSET, TIMES, write_planted
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import PATIENCE, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

SECOND = ONSET + 100  # iteration of a second break
KEYS = [f"{ONSET * BATCH + place:08d}" for place in TIMES if place != INNOCENT]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that breaks twice, and its run up to the first break."""
    home = tmp_path_factory.mktemp("rescue")
    train(write_planted(home, (ONSET, SECOND)), home / "run", "--until", ONSET + 60, "--black-box-mib", 0)
    return home


@pytest.fixture(scope="module")
def rescued(home: Path) -> Rescue:
    done = harness_command("rescue", home / "run", "--workers", 2, "--json")
    assert done.code == 0, done.stderr[-3000:]
    found = decode(done.stdout.encode())
    assert found == decode((home / "run-rescue/rescue.json").read_bytes())
    return found


def series(run: Path, name: str) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Return the iterations of a training up to the end of `run`, and a series of them."""
    with LineageReader(Recording(run)) as lineage:
        return lineage.iterations.tolist(), lineage.series(name)


def test_a_training_that_breaks_twice_gets_to_its_end(home: Path, rescued: Rescue) -> None:
    assert rescued.finished
    assert [attempt.broke for attempt in rescued.attempts] == [ONSET, SECOND - 1]  # records moved up
    assert {attempt.kind for attempt in rescued.attempts} == {"record"}
    assert [tried.candidate for tried in rescued.tried if tried.chosen] == [rescued.interventions[-1].candidate]
    assert rescued.interventions[0].changes == f"--skip-records {','.join(KEYS)}"
    last = Path(rescued.run)
    with Recording(last) as recording:
        assert int(recording.iterations[-1]) == SECOND + 60 - 1
    iterations, loss = series(last, "loss")
    assert iterations == list(range(SECOND + 60))
    _, before = series(home / "run", "loss")
    assert np.median(loss[-20:]) < 1.5 * np.median(before[ONSET - 20 : ONSET])
    assert ancestry(last).runs[0] == home / "run"


def test_a_training_is_no_measure_where_what_broke_it_acted_from_its_start(home: Path, rescued: Rescue) -> None:
    run = home / "run"
    found, case = read_explanation(run), case_of(run, ONSET, ONSET)
    assert found is not None
    assert healthy_before(run, case, found, None) is not None
    layer = msgspec.structs.replace(found, verdict=msgspec.structs.replace(found.verdict, kind="layer-lr"))
    assert healthy_before(run, case, layer, None) is None


def test_training_was_healthy_before_what_broke_it_began_to_act_or_before_an_earlier_break(lineage: Path) -> None:
    """The run `3` goes on from the run `1`, which has test passes before iterations 20 and 30."""
    case = made_up_case()  # the loss is 0.5 until iteration 100
    risen = replace(case, loss=np.where(np.arange(len(case.loss)) < 31, 0.1, case.loss))
    found = Explanation(Verdict("data-shift", "", iteration=31), None, ())
    earlier = Healthy(Trend(20, 0.05, 0.0, 0.01, 20))

    def level(case: Case, earlier: Healthy | None = None) -> float:
        healthy = healthy_before(lineage, case, found, earlier)
        assert healthy is not None
        return healthy.trend.level

    assert level(case) == 0.5
    assert level(risen) == 0.1
    assert level(risen, earlier) == 0.05
    assert last_test(lineage, 0, 30).keys() == last_test(lineage, 30, 30).keys() != set()
    assert not last_test(lineage, 31, 34)


def _is_worker(process: psutil.Process) -> bool:
    return "harness.worker.main" in " ".join(process.cmdline())


def test_nothing_is_done_twice(home: Path, rescued: Rescue) -> None:
    before = sorted(home.rglob("*.h5"))
    done = harness_command("rescue", home / "run", "--workers", 2)
    assert done.code == 0
    assert sorted(home.rglob("*.h5")) == before
    assert "Going on with the rescue" in done.stderr
    assert done.stdout.startswith(rescued.sentence)
    assert f"report {rescued.run}" in done.stdout
    found = rescue_from(home / "run")
    assert found is not None
    assert found.cost.iterations == rescued.cost.iterations
    assert harness_command("rescue", home / "run", "--candidate", "slower: --sets x").code == Exit.BAD_INPUT


def test_a_study_and_its_run_can_be_copied(home: Path, rescued: Rescue, tmp_path: Path) -> None:
    for name in ("run", "run-rescue"):
        shutil.copytree(home / name, tmp_path / name)
    with opened(tmp_path / "run") as study:
        kept = [state.run for decision in study.decisions for state in (decision.origin, decision.reached) if state]
    assert len(kept) >= 4
    assert all(Path(run).is_relative_to(tmp_path) for run in kept)
    found = decode(harness_command("rescue", tmp_path / "run", "--json").stdout.encode())
    assert Path(found.run) == tmp_path / "run-rescue" / Path(rescued.run).name


def test_after_kills_it_goes_on_to_the_same_bits(home: Path, rescued: Rescue, tmp_path: Path) -> None:
    run, until = tmp_path / "run", SECOND - 5
    shutil.copytree(home / "run", run)  # explained already
    study = tmp_path / "run-rescue"
    command = [sys.executable, str(ROOT / "harness/rescue.py"), str(run), "--workers", "1", "--until", str(until)]
    for reached in ("01-to-75", "*-culprit-records/recording.h5"):
        with started(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_for(lambda: list(study.glob(reached)), process)  # noqa: B023
            process.kill()
    with started(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: list(study.glob("*-continued/snapshots/*_140.json")), process)
        for worker in filter(_is_worker, psutil.Process(process.pid).children(recursive=True)):
            worker.kill()  # rescue goes on with another one
        assert process.wait(60) == 0
    found = decode((study / "rescue.json").read_bytes())
    assert found.finished
    assert [made.changes for made in found.interventions] == [rescued.interventions[0].changes]
    ours, theirs = (series(Path(one.run), "digest") for one in (found, rescued))
    assert ours[0] == list(range(until))
    assert np.array_equal(ours[1], theirs[1][:until])


def test_on_a_cluster_it_goes_on_without_a_lost_worker_to_the_same_bits(
    home: Path, rescued: Rescue, tmp_path: Path
) -> None:
    """The worker is killed that trains on with the chosen change."""
    run, until = tmp_path / "run", SECOND - 5
    shutil.copytree(home / "run", run)  # explained already
    (tmp_path / "dask").mkdir()
    with scheduler(tmp_path / "dask") as dask, dask.workers(["node-1", "node-2"]) as workers:
        command = (sys.executable, ROOT / "harness/rescue.py", run, "--until", until, "--dask", dask.file)
        with started(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            (continued,) = wait_for(lambda: list((tmp_path / "run-rescue").glob("*-continued")), process)
            wait_for(lambda: worker_of(continued, workers), process).kill()
            assert process.wait(PATIENCE) == 0
    found = rescue_from(run)
    assert found is not None
    assert [made.changes for made in found.interventions] == [rescued.interventions[0].changes]
    ours, theirs = (series(Path(one.run), "digest") for one in (found, rescued))
    assert np.array_equal(ours[1], theirs[1][:until])


def test_an_interruption_keeps_what_is_finished(home: Path, rescued: Rescue, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(home / "run", run)
    command = [sys.executable, str(ROOT / "harness/rescue.py"), str(run), "--workers", "1", "--forbid", "records"]
    with started(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: list((tmp_path / "run-rescue").glob("*-iteration-80/recording.h5")), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == Exit.INTERRUPTED
    begun = next((tmp_path / "run-rescue").glob("*-iteration-80"))
    assert read_info(begun).ended is not None
    with Recording(begun) as recording:  # it may not have made an iteration
        assert len(recording.iterations) == 0 or list((begun / "snapshots").glob("*.solverstate"))


def test_a_run_rescues_itself(home: Path, rescued: Rescue, tmp_path: Path) -> None:
    options = ("--on-alarm", "rescue", "--budget", "2000", "--until", ONSET + 60, "--black-box-mib", 0)
    done = train(home / "solver.prototxt", tmp_path / "run", *options)
    assert "Training reached iteration 140." in done.stdout
    found = decode((tmp_path / "run-rescue/rescue.json").read_bytes())
    assert found.finished
    assert found.interventions[0].changes == rescued.interventions[0].changes


def test_a_restart_without_a_snapshot_before_its_break_rescues_itself(home: Path, tmp_path: Path) -> None:
    options = ("--from", 60, "--set", "base_lr=0.011", "--skip", "62:64", "--out", tmp_path / "again")
    done = restart(home / "run", *options, "--on-alarm", "rescue", "--budget", "1000", "--until", ONSET + 60)
    assert "Training reached iteration 140." in done.stdout
    with Recording(tmp_path / "again") as one, Recording(next(tmp_path.glob("again-rescue/01-to-*"))) as repeated:
        digests = repeated.series("digest")
        assert len(digests) > 5
        assert np.array_equal(one.series("digest")[: len(digests)], digests)  # with the same changes


def test_without_a_state_before_the_break_it_says_how_to_record_one(home: Path, tmp_path: Path) -> None:
    """The run resumes from a snapshot without the harness's JSON, as `caffe train` writes it."""
    for path in (home / "run/snapshots").glob("*_60.*"):
        if path.suffix != ".json":
            shutil.copy(path, tmp_path)
    (snapshot,) = tmp_path.glob("*.solverstate")
    options = ("--resume", snapshot, "--until", ONSET + 60, "--black-box-mib", 0)
    run = train(home / "solver.prototxt", tmp_path / "run", *options).run
    done = harness_command("rescue", run)
    assert done.code == Exit.BAD_INPUT
    assert f"rewind {run} --watch 75:76 --capture weight,history" in done.stderr
    assert not (run / "explain.json").exists()
    assert not (tmp_path / "run-rescue").exists()


def test_a_healthy_run_is_left_alone(home: Path, tmp_path: Path) -> None:
    train(home / "solver.prototxt", tmp_path / "run", "--until", 60)
    done = harness_command("rescue", tmp_path / "run", "--json")
    assert done.code == 0
    found = decode(done.stdout.encode())
    assert not found.interventions
    assert not found.attempts
    assert found.run == str(tmp_path / "run")
    assert not list(tmp_path.glob("run-rescue/*/recording.h5"))


def test_where_nothing_helps_it_says_so(home: Path, rescued: Rescue, tmp_path: Path) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    kinds = ("records", "batches", "clip", "stretch", "history", "layer-rate", "momentum", "rate")
    forbidden = [word for kind in kinds for word in ("--forbid", kind)]
    given = ("--candidate", "faster: --set base_lr=0.02")
    done = harness_command("rescue", tmp_path / "run", *forbidden, *given)
    assert done.code == Exit.DIVERGED
    assert done.stdout.startswith("Nothing that was tried gets the training past its break at iteration 80.")
    assert "faster" in done.stdout
    again = harness_command("rescue", tmp_path / "run", "--json", "--until", ONSET + 60)  # other candidates
    assert again.code == 0, again.stderr[-3000:]
    found = decode(again.stdout.encode())
    assert found.interventions[0].changes == rescued.interventions[0].changes
    assert len(found.attempts) == 1  # the break that was decided anew is there once


class _Made:
    """An engine whose legs are made already, as `run`, and end with one of `ends` after the other: code, iteration."""

    def __init__(self, run: Path, *ends: tuple[int, int]) -> None:
        self._run = run
        self._ends = list(ends)
        self._legs: list[Leg] = []

    def submit(self, leg: Leg) -> None:
        self._legs.append(leg)

    def results(self) -> Iterator[LegResult | None]:
        while self._legs and self._ends:
            code, last = self._ends.pop(0)
            yield LegResult(leg=self._legs.pop(), directory=str(self._run), code=code, last=last, iterations=last - 20)

    def stop(self, leg: Leg) -> None: ...

    def cancel(self) -> None: ...

    def close(self) -> None: ...


def test_a_break_that_was_not_stopped_before_the_end_is_not_the_end(
    home: Path, rescued: Rescue, tmp_path: Path
) -> None:
    run, until = tmp_path / "run", SECOND + 12
    shutil.copytree(home / "run", run)
    first, *_ = (home / "run-rescue/journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run-rescue").mkdir()
    (tmp_path / "run-rescue/journal.jsonl").write_text(first)  # the training has not been continued yet
    state = msgspec.json.decode(first, type=Decision).reached
    assert state is not None
    options = ("--from", state.iteration, "--until", until, "--on-alarm", "continue", "--out", tmp_path / "continued")
    assert restart(Path(state.run), *options).code == Exit.DONE
    with closing(ViewTerminal()) as terminal:
        made = _Made(tmp_path / "continued", (Exit.DONE, until))
        found = rescue(
            run, RescueRequest(until=until, tries=1), Means(terminal, Interrupts("stop"), 1, local(1), lambda: made)
        )
    assert not found.finished
    assert found.sentence.startswith(f"Training broke once more, at iteration {SECOND - 1}")


@contextmanager
def _restarts(run: Path, *ends: tuple[int, int]) -> Iterator[Restarts]:
    with closing(ViewTerminal()) as terminal:
        showing = Showing(terminal, "candidates in restarts", Levels(1.0, 2.0, 1.5), {"slower": ""}, 15)
        yield Restarts(_Made(run, *ends), showing)


def _restarted(lineage: Path, past: int, *ends: tuple[int, int]) -> Restarted:
    """Restart a candidate that began at iteration 20, as the run `1`."""
    origin = State(str(lineage.parents[1] / "first"), 20)
    candidate = Candidate("rate", "slower", (Step(("--set", "base_lr=0.002")),), (), "")
    with _restarts(lineage.with_name("1"), *ends) as restarts:
        (restarted,) = restarts.run_candidates([candidate], origin, past, 35, lineage.with_name, 1.5)
    assert restarted.trained == restarts.trained == ends[-1][1] - 20
    return restarted


@pytest.mark.parametrize(("past", "counts"), [(30, True), (31, False)])
def test_only_test_passes_past_the_break_count(lineage: Path, past: int, counts: bool) -> None:
    """The restart `1` has passes before iterations 20 and 30, and ends before 35."""
    restarted = _restarted(lineage, past, (Exit.DONE, 35))
    assert restarted.iterations.tolist() == list(range(20, 35))
    assert bool(restarted.tests) == counts


def test_a_candidate_whose_process_died_goes_on_as_long_as_it_gets_on(lineage: Path) -> None:
    died = Exit.WORKER_DIED
    assert _restarted(lineage, 30, (died, 25), (died, 30), (Exit.DONE, 35)).state == State(
        str(lineage.with_name("1")), 35
    )
    assert _restarted(lineage, 30, (died, 25), (died, 25)).state is None


def test_a_candidate_that_somebody_has_stopped_is_not_called_poor(lineage: Path) -> None:
    assert _restarted(lineage, 30, (Exit.INTERRUPTED, 25)).why == "it was stopped at iteration 25"


def test_a_leg_that_was_cancelled_before_it_began_was_interrupted(lineage: Path) -> None:
    with _restarts(lineage) as restarts:
        leg = Leg(str(lineage), 20, 35, (), str(lineage.with_name("4")))
        assert restarts.run(leg, "slower").code == Exit.INTERRUPTED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--candidate", "slower --set base_lr=0.1"), "--candidate"),
        (("--candidate", "slower: --set base_rl=0.1"), "base_rl"),
        (("--until", 10**6), "--until"),
        (("--until", ONSET), f"--until {ONSET}: training broke at iteration {ONSET}"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    home: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    shutil.copytree(home / "run", tmp_path / "run", ignore=shutil.ignore_patterns("experiments", "explain.json"))
    done = harness_command("rescue", tmp_path / "run", *options)
    assert done.code == Exit.BAD_INPUT
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run/experiments").exists()
    assert not (tmp_path / "run-rescue").exists()
