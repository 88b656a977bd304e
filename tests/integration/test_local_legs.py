"""Legs end as their restarts do, and go on from their last snapshot to the same weights, bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from harness.exit_codes import Exit
from harness.recording import run_directory
from harness.recording.snapshots import iterations_of
from harness.schemas.leg import Leg, LegResult
from harness.studies.leg_runs import STOP, numbered
from harness.studies.local_legs import LocalLegs, finished
from tests.helpers.commands import train
from tests.helpers.mounts import run_on_disk
from tests.helpers.outlying_records import ONSET, OUTLYING, key_of, write_records, write_training

pytestmark = pytest.mark.usefixtures("one_blas_thread")

START, UNTIL = 40, 1400
SHORT = ONSET + 2  # no rule has found the break by then
LEFT_OUT = [key_of(number) for number in OUTLYING]
EVERYTHING = (
    *("--set", "base_lr=0.1", "--set", "snapshot=50", "--set-layer", "ip*:lr_mult=0.5", "--history", "rescale"),
    *("--skip", f"{ONSET}:{ONSET + 2}", "--skip-records", ",".join(LEFT_OUT), "--seed", "5"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("legs in a study")
    solver = write_training(home, write_records(home / "lmdb"), max_iter=2000, snapshot_after_train=False)
    train(solver, home / "run", "--until", 100, "--black-box-mib", 0)
    return home


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> LegResult:
    return carry_out([leg(home, "undisturbed", *EVERYTHING)])[0]


def leg(home: Path, name: str, *words: str, until: int = UNTIL, stops: bool = True) -> Leg:
    return Leg(str(home / "run"), START, until, words, str(home / "study" / name), stops)


def carry_out(legs: Iterable[Leg], workers: int = 2) -> list[LegResult]:
    with LocalLegs(workers) as engine:
        for each in legs:
            engine.submit(each)
        return [result for result in engine.results() if result is not None]


def test_a_leg_does_not_go_on_in_the_directory_of_another_one(tmp_path: Path) -> None:
    low, high = (leg(tmp_path, f"momentum={value}") for value in ("0", "0.2"))
    assert Path(high.directory) not in [numbered(low, number) for number in range(1, 4)]


def digest(directory: str | Path) -> str | None:
    ended = run_directory.read_info(Path(directory)).ended
    return ended.weight_digest if ended else None


def test_a_leg_is_a_restart_and_is_made_once(home: Path, undisturbed: LegResult) -> None:
    assert (undisturbed.code, undisturbed.last, undisturbed.iterations) == (Exit.DONE, UNTIL, UNTIL - START)
    run = Path(undisturbed.directory)
    assert UNTIL in iterations_of(run / "snapshots")  # although the solver asks for none at the end
    with LocalLegs(1) as engine:
        engine.submit(undisturbed.leg)
        assert list(engine.results()) == [undisturbed]  # at once
    assert not numbered(undisturbed.leg, 2).exists()


def test_a_leg_that_is_stopped_before_it_goes_on_has_what_it_had(undisturbed: LegResult) -> None:
    with LocalLegs(1) as engine:
        engine.submit(undisturbed.leg)
        engine.stop(undisturbed.leg)
        assert next(engine.results()) == msgspec.structs.replace(undisturbed, code=Exit.INTERRUPTED)


def test_a_leg_beside_a_copy_of_its_parent_is_made_already(home: Path, undisturbed: LegResult, tmp_path: Path) -> None:
    for name in ("run", "study/undisturbed"):
        shutil.copytree(home / name, tmp_path / name)
    copied = leg(tmp_path, "undisturbed", *EVERYTHING)
    result = finished(copied)
    assert result is not None
    assert (result.code, result.directory) == (Exit.DONE, copied.directory)
    info = run_directory.read_info(tmp_path / "run")
    run_directory.write_info(tmp_path / "run", msgspec.structs.replace(info, started="2026-01-01 00:00:00"))
    other = finished(copied)
    assert other is not None
    assert "holds another run" in other.why


def test_what_was_stopped_or_killed_goes_on_to_the_same_weights(home: Path, undisturbed: LegResult) -> None:
    wanted = leg(home, "disturbed", *EVERYTHING)
    for number, how in enumerate(("stopped", "killed"), start=1):
        directory = numbered(wanted, number)
        with LocalLegs(1) as engine:
            engine.submit(wanted)
            ended, done = [], False
            for result in engine.results():
                if result is None and not done and iterations_of(directory / "snapshots"):
                    done = True
                    if how == "stopped":
                        (directory / STOP).touch()
                    else:
                        os.kill(engine.pids[0], signal.SIGKILL)
                ended += [result] if result else []
        assert [result.code for result in ended] == [Exit.INTERRUPTED if how == "stopped" else Exit.WORKER_DIED]
        assert not (directory / STOP).exists()
        assert START < ended[0].last < UNTIL
    result = carry_out([wanted])[0]
    assert (result.code, result.last, result.directory) == (Exit.DONE, UNTIL, str(numbered(wanted, 3)))
    assert result.iterations == UNTIL - START
    assert digest(result.directory) == digest(undisturbed.directory) is not None


def test_what_ends_otherwise_says_why(home: Path) -> None:
    (home / "study/empty/snapshots").mkdir(parents=True)  # of a process that was killed as it began
    wanted = (
        leg(home, "broken"),
        leg(home, "wrong", "--set", "base_rl=1"),
        leg(home, "broken", "--history", "reset"),
        leg(home, "empty", "--set", "base_lr=0.01", until=SHORT),
        leg(home, "empty", "--set", "base_lr=0.01", until=SHORT),
    )
    broken, wrong, other, *twice = sorted(carry_out(wanted, 3), key=lambda result: wanted.index(result.leg))
    assert broken.code == Exit.DIVERGED
    assert ONSET < broken.last < UNTIL
    assert "Diverged" in broken.why
    assert (wrong.code, wrong.directory) == (Exit.BAD_INPUT, "")
    assert "base_rl" in wrong.why
    assert "Did you mean base_lr" in wrong.why
    assert other.code == Exit.BAD_INPUT
    assert "holds another run" in other.why
    assert "--history reset" in other.why
    assert twice[0] == twice[1]
    assert twice[0].code == Exit.DONE
    assert (home / "study/empty.unused").is_dir()
    (longer,) = carry_out([leg(home, "empty", "--set", "base_lr=0.01")])
    assert (longer.code, Path(longer.directory).name) == (Exit.DIVERGED, "empty.part2")
    assert SHORT < longer.last < UNTIL


def test_a_disk_that_is_full_before_a_leg_begins_is_no_bad_input(home: Path, tmp_path: Path) -> None:
    wanted = msgspec.json.encode(Leg(str(home / "run"), START, UNTIL, (), str(tmp_path / "disk/leg"))).decode()
    done = run_on_disk("12m", tmp_path / "disk", f"{sys.executable} -P -m harness.studies.leg_process '{wanted}'")
    assert done.code == Exit.RECORDING_FAILED
    assert "error: the disk is full (12.0 MiB free). Free some space" in done.stderr


def test_cancelling_stops_what_runs_and_drops_what_waits(home: Path) -> None:
    words = ("--skip-records", ",".join(LEFT_OUT))
    legs = [leg(home, f"cancelled-{number}", *words, until=2000) for number in range(3)]
    with LocalLegs(1) as engine:
        for each in legs:
            engine.submit(each)
        engine.stop(legs[1])
        found = []
        for result in engine.results():
            if (Path(legs[0].directory) / "recording.h5").exists():
                engine.cancel()
            found += [result] if result else []
    assert [(result.leg, result.code) for result in found] == [(legs[1], 130), (legs[0], 130)]
    assert max(iterations_of(Path(legs[0].directory) / "snapshots")) == found[1].last
