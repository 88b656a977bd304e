"""`explain` as users start it: what it finds, keeps, prints, and how it ends."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import lmdb
import psutil
import pytest
from msgspec.structs import replace

from harness.caffe_files.messages import pb
from harness.diagnosis.recorded.diagnose import diagnose
from harness.diagnosis.rescue.candidates import candidates_of
from harness.diagnosis.rescue.evidence import placed
from harness.diagnosis.rescue.trials import try_all
from harness.exit_codes import Exit
from harness.experiments import locked
from harness.recording import Recording
from harness.recording.result_files import read_explanation
from harness.reports.remedies import remedies
from harness.reports.suggestions import rescue_command
from harness.schemas.explanation import Explanation, Kind, Margin, decode
from tests.helpers.commands import train
from tests.helpers.investigating import case_of, drive
from tests.helpers.paths import ROOT
from tests.helpers.planted_records import BATCH, INNOCENT, ONSET, TIMES, write_planted
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import Finished, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

KEYS = [f"{ONSET * BATCH + place:08d}" for place in TIMES if place != INNOCENT]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that broke, as `run`, and one that ended before, as `healthy`."""
    home = tmp_path_factory.mktemp("explain")
    solver = write_planted(home)
    train(solver, home / "run", "--black-box-mib", 0)
    train(solver, home / "healthy", "--until", 60)
    return home


@pytest.fixture(scope="module")
def explained(home: Path) -> Finished:
    return harness_command("explain", home / "run", "--json", "--workers", 1)


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A copy of the run, of which nothing was replayed yet."""
    shutil.copytree(home / "run", tmp_path / "run", ignore=shutil.ignore_patterns("experiments", "explain.json"))
    return tmp_path / "run"


def explanation(run: Path) -> Explanation:
    found = read_explanation(run)
    assert found is not None
    return found


def arms_in(run: Path) -> int:
    return len(list((run / "experiments").glob("*.arm")))


def test_the_culprit_records_are_found_and_named(home: Path, explained: Finished) -> None:
    assert explained.code == 0, explained.stderr
    assert json.loads(explained.stdout) == json.loads((home / "run/explain.json").read_text())
    found = decode(explained.stdout.encode())
    assert found.verdict.kind == "record"
    assert [record.key for record in found.verdict.records] == KEYS
    assert all(record.label is not None for record in found.verdict.records)
    assert found.verdict.iteration == ONSET
    assert found.control is not None
    assert found.control.identical
    assert found.complete
    assert {key for arm in found.arms for key in arm.keys} == {
        path.stem for path in (home / "run/experiments").glob("*.arm")
    }
    assert "Explaining iteration 80 of run: about" in explained.stderr
    assert "unchanged: 2 of 2 break" in explained.stderr  # a line for each trial, where there is no terminal


def test_an_arm_is_repeated_bit_for_bit(home: Path, explained: Finished) -> None:
    found = explanation(home / "run")
    arm = next(arm for arm in found.arms if arm.kind == "record")
    assert arm.command.endswith(f" explain {home / 'run'} --repeat {arm.keys[0]}")
    done = harness_command("explain", home / "run", "--repeat", arm.keys[0][:12])
    assert done.code == 0, done.stderr
    assert f"loss {arm.curves[0][-1]:.9g}\n" in done.stdout
    assert "The same weights, losses and outputs" in done.stdout


def test_nothing_is_replayed_twice_and_the_result_is_shown(home: Path, explained: Finished) -> None:
    before = arms_in(home / "run")
    done = harness_command("explain", home / "run")
    assert done.code == 0
    assert arms_in(home / "run") == before
    assert explanation(home / "run").cost.iterations == 0
    assert f"all of its {before} replays are stored" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == explanation(home / "run").verdict.sentence
    assert any(line.startswith("unchanged ") and "█" in line for line in lines)
    assert any(line.endswith(f"--skip-records {','.join(KEYS)}") for line in lines)
    assert lines[-1].endswith(f"report {home / 'run'}")


def test_a_budget_ends_it_and_a_second_one_goes_on(copy: Path) -> None:
    first = harness_command("explain", copy, "--budget", 150, "--workers", 1)
    assert ", of which the budget allows 150 iterations" in first.stderr
    found = explanation(copy)
    assert first.code == (Exit.DIVERGED if found.verdict.kind == "undecided" else Exit.DONE)
    assert not found.complete
    assert found.left_out
    assert found.verdict.kind != "undecided" or found.left_out[0] in found.verdict.sentence
    assert 100 <= found.cost.iterations <= 150 + max(arm.horizon for arm in found.arms)
    before = arms_in(copy)
    # not in the working directory of the training
    again = harness_command("explain", copy.name, "--budget", 150, "--workers", 1, cwd=copy.parent)
    assert re.search(r"about \d+ replays, of which \d+ are stored; left are", again.stderr), again.stderr
    assert arms_in(copy) > before


def test_an_interruption_keeps_what_is_finished(copy: Path) -> None:
    with started(sys.executable, ROOT / "harness/explain.py", copy, "--workers", 2) as process:
        wait_for(lambda: arms_in(copy) > 0, process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == Exit.INTERRUPTED
    assert not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers)
    found = explanation(copy)
    assert not found.complete
    assert found.arms
    assert {path.name for path in copy.iterdir() if path.name.startswith(".explain")} == set()


def test_two_at_once(copy: Path) -> None:
    with locked(copy):
        done = harness_command("explain", copy)
    assert done.code == Exit.BAD_INPUT
    assert "another command replays arms of this run" in done.stderr
    assert not (copy / "explain.json").exists()


def test_a_run_that_did_not_break(home: Path) -> None:
    done = harness_command("explain", home / "healthy")
    assert done.code == 0
    assert "Training did not break, or it recovered" in done.stdout
    assert f"explain {home / 'healthy'} --at T" in done.stdout
    assert explanation(home / "healthy").verdict.kind == "none"
    assert harness_command("explain", home / "healthy", "--at", 55).code == 0
    assert explanation(home / "healthy").verdict.kind == "none"


def test_data_that_have_changed_since_are_refused(home: Path, copy: Path) -> None:
    whole = home / "whole"
    (home / "records").rename(whole)
    try:
        shutil.copytree(whole, home / "records")
        with lmdb.open(str(home / "records")) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"00000000", pb.Datum(channels=1, height=12, width=12).SerializeToString())
        changed = harness_command("explain", copy)
        shutil.rmtree(home / "records")
        gone = harness_command("explain", copy)
    finally:
        shutil.rmtree(home / "records", ignore_errors=True)
        whole.rename(home / "records")
    for done in (changed, gone):
        assert done.code == Exit.BAD_INPUT
        assert done.stderr.count("error: ") == 1
        assert str(home / "records") in done.stderr


def test_a_training_that_was_not_recorded(home: Path, tmp_path: Path) -> None:
    for path in (home / "run/snapshots").glob("*_iter_20.*"):
        if path.suffix != ".json":  # as caffe train leaves them
            shutil.copy(path, tmp_path)
    (state,) = tmp_path.glob("*.solverstate")
    out = tmp_path / "stretch"
    options = ("--resume", state, "--at", ONSET, "--out", out, "--budget", 300, "--json")
    done = harness_command("explain", "--solver", home / "solver.prototxt", *options)
    assert done.code in (Exit.DONE, Exit.DIVERGED), done.stderr
    found = decode(done.stdout.encode())
    assert found.control is not None
    assert found.control.identical
    assert found.control.breaks == 2
    assert min(arm.start for arm in found.arms) == ONSET - 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "RUN: is missing"),
        (("RUN", "--at", 999), "--at 999: the run trained iterations 0 to 139"),
        (("RUN", "--budget", "5 days"), "--budget 5 days: neither a time nor a number"),
        (("RUN", "--solver", "x"), "--solver x: is for a training that was not recorded"),
        (("--solver", "x"), "--resume: is missing"),
        (("RUN", "--repeat", "nothing"), "no arm has a key like that"),
        (("RUN", "--repeat", "ab", "--json"), "--json: does not go with --repeat"),
        (("RUN/nowhere",), "nowhere"),
    ],
)
def test_bad_input_is_one_error(home: Path, explained: Finished, options: tuple[object, ...], said: str) -> None:
    given = [str(option).replace("RUN", str(home / "run")) for option in options]
    done = harness_command("explain", *given)
    assert done.code == Exit.BAD_INPUT
    assert done.stderr.count("error: ") == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_capsule_has_the_explanation_and_an_anonymous_one_no_names(
    home: Path, explained: Finished, tmp_path: Path
) -> None:
    for options in ((), ("--anonymous",)):
        out, opened = tmp_path / f"{len(options)}.capsule", tmp_path / f"opened{len(options)}"
        done = harness_command("capsule", "pack", home / "run", *options, "--out", out)
        assert done.code == 0, done.stderr
        assert harness_command("capsule", "open", out, "--out", opened).code == 0
        text, found = (opened / "explain.json").read_text(), explanation(opened)
        assert str(home) not in text
        assert all(arm.command == "" for arm in found.arms)
        assert [record.index for record in found.verdict.records] == [place for place in TIMES if place != INNOCENT]
        keys = [record.key for record in found.verdict.records]
        assert (keys == KEYS) is not bool(options)
        assert all(key in found.verdict.sentence for key in keys)
        assert all((key in text) is not bool(options) for key in KEYS)
    shown = harness_command("explain", opened, "--json", "--workers", 1)
    assert [record.index for record in decode(shown.stdout.encode()).verdict.records] == [1, 4, 6]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("record", ["--skip-records 00000641,", "--skip 80:81", "--set clip_gradients="]),
        ("learning-rate", ["--set base_lr=0.002 --history rescale", "--set clip_gradients="]),
        ("momentum", ["--set momentum=0.5 --history reset"]),
        ("weight-decay", ["--set weight_decay="]),
        ("layer-lr", ["--set-layer conv:lr_mult=0.1", "--set clip_gradients="]),
        ("machine", ["--from 80"]),
        ("none", []),
    ],
)
def test_what_has_survived_is_suggested(home: Path, explained: Finished, kind: Kind, words: list[str]) -> None:
    found = explanation(home / "run")
    margins = found.margins | {"learning_rate": Margin(0.0025, 0.003), "momentum": Margin(0.5, 0.6)}
    verdict = replace(found.verdict, kind=kind, layers=("conv",))
    with Recording(home / "run") as recording:
        suggested = remedies(diagnose(recording), replace(found, verdict=verdict, margins=margins))
    if words:
        assert suggested.pop() == rescue_command(home / "run")
    assert len(suggested) == len(words)
    for suggestion, word in zip(suggested, words, strict=True):
        assert f"{home / 'run'} --from 80" in suggestion.command
        assert word in suggestion.command


def test_of_changed_data_the_shortest_stretch_is_suggested(home: Path, explained: Finished) -> None:
    found = explanation(home / "run")
    arms = tuple(replace(arm, kind="data-shift") if arm.kind == "record" else arm for arm in found.arms)
    verdict = replace(found.verdict, kind="data-shift", records=(), iteration=ONSET)
    with Recording(home / "run") as recording:
        skip, *others = remedies(diagnose(recording), replace(found, verdict=verdict, arms=arms))
    assert f"--from 80 --skip {ONSET}:" in skip.command
    assert not any("--skip" in suggestion.command for suggestion in others)


def test_candidates_restart_as_their_arms(home: Path, explained: Finished, tmp_path: Path) -> None:
    found = explanation(home / "run")
    case = placed(case_of(home / "run", ONSET, ONSET), found)
    candidates = [replace(one, shown=0) for one in candidates_of(case, found)[:3]]  # arms are wanted all the same
    outcomes = drive(try_all(case, candidates), home / "run", ONSET)

    assert [outcome.candidate.kind for outcome in outcomes if outcome.gets_past] == ["records", "batches", "clip"]
    for outcome in outcomes:
        assert outcome.seen is not None
        (step,), arm = outcome.candidate.steps, outcome.seen.results[0]
        leg = tmp_path / outcome.candidate.kind
        done = harness_command(
            "restart", home / "run", "--from", ONSET, *step.words, "--until", arm.arm.until, "--out", leg
        )
        assert done.code == 0, done.stderr
        with Recording(leg) as recording:
            assert recording.series("digest", slice(0, len(arm.loss))).tolist() == list(arm.digest)
