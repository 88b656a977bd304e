"""The demo: prototxt/glyphs280 learns, breaks at one iteration and stays broken."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.diagnosis.last_good import last_good
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.live.messages import LOOK_AT
from harness.diagnosis.recorded.damage_span import span
from harness.diagnosis.recorded.diagnose import diagnose
from harness.diagnosis.recorded.onset import find_onset
from harness.recording import Recording, Window
from harness.recording.lineage_reader import LineageReader
from harness.reports.text.alarms import first_abnormal
from tests.helpers.commands import restart
from tests.helpers.demo_runs import RESCUED, RESCUES
from tests.helpers.paths import ROOT
from tests.helpers.preloaded import harness_command

BREAK = 841  # the iteration whose batch holds the bad record
UNIFORM = math.log(280)


def test_the_demo_learns_breaks_within_one_display_interval_and_stays_broken(demo: Path) -> None:
    with Recording(demo) as recording:
        smoothed = recording.series("smoothed_loss")
        assert len(smoothed) == 1600
        assert smoothed[BREAK - 1] < 3
        assert smoothed[BREAK - 1 : BREAK + 39].max() > 8
        plateau = smoothed[BREAK + 79 :] / (1.6 * UNIFORM)
        assert np.abs(plateau - 1).max() < 0.02  # an image that gets through now and then costs a little
        assert abs(np.median(plateau) - 1) < 0.003
        for head in recording.heads:
            assert head.classes == 280
            losses = recording.output(head.name)[:, 0]
            assert losses[BREAK - 40 : BREAK].mean() < 0.6 * UNIFORM
            assert abs(np.median(losses[BREAK + 40 :]) / UNIFORM - 1) < 0.005
            assert abs(losses[-40:].mean() / UNIFORM - 1) < 0.005


def test_the_span_of_the_damage_begins_before_the_onset_and_ends_at_the_plateau(demo: Path) -> None:
    with Recording(demo) as recording:
        found = span(recording, diagnose(recording))
        assert found is not None
        assert found.start == BREAK - 5
        assert BREAK + 5 < found.stop <= BREAK + 45
        assert np.median(recording.series("loss", slice(found.stop, found.stop + 5))) == pytest.approx(
            1.6 * UNIFORM, rel=0.1
        )


def test_the_recording_shows_the_onset(demo: Path) -> None:
    with Recording(demo) as recording:
        window = recording.windows[0]
        assert BREAK in window
        assert window.start <= BREAK - 5
        norms = np.sqrt((recording.stat("gradient_l2").values ** 2).sum(axis=1))
        usual = np.median(norms[BREAK - 100 : BREAK])
        assert norms[BREAK] > 20 * usual
        assert norms[BREAK - 1] < 5 * usual
        # the images that did it, by their size and by their keys
        largest = np.abs(recording.input(BREAK, "data")).max(axis=(1, 2, 3))
        bad = np.flatnonzero(largest > 10)
        assert 0 < len(bad) < 32
        assert largest[np.setdiff1d(np.arange(32), bad)].max() < 4
        keys = recording.keys(BREAK)
        assert all(keys[i].startswith(b"%08d" % (BREAK * 32 + i)) for i in bad)
        assert np.abs(recording.input(BREAK - 1, "data")).max() < 4
        assert np.abs(recording.input(BREAK + 1, "data")).max() < 4
        # afterwards nothing gets through to the classifiers
        dead = recording.activation("zero_fraction")
        for blob in ("loss1/fc", "loss2/fc"):
            assert dead[blob][-1] > 0.99


def test_run_json_states_what_was_run_and_how_it_ended(demo: Path) -> None:
    facts = json.loads((demo / "run.json").read_text())
    assert facts["random_seed"] == 280
    assert facts["caffe"]["source"]["commit"] == "9b89154"
    assert facts["data"]["prototxt/glyphs280/data/train_lmdb"]["records"] == 27800
    assert facts["ended"]["code"] == 0
    assert facts["ended"]["iteration"] == 1600
    assert facts["windows"] == [str(Window(835, 881))]
    snapshots = sorted(p.name for p in (demo / "snapshots").glob("*.json"))
    assert len(snapshots) == 8


def test_the_onset_and_the_last_good_snapshot_are_found(demo: Path) -> None:
    with Recording(demo) as recording:
        iterations, loss = recording.iterations, recording.series("loss")
        norms, nonfinite = recording.stat("gradient_l2"), recording.stat("gradient_nonfinite").values
    snapshots = [int(p.stem.rsplit("_", 1)[1]) for p in (demo / "snapshots").glob("*.json")]
    for stop in (BREAK + 40, 1000, 1600):  # seen from soon after, and from the end
        rows = slice(0, stop)
        onset = find_onset(iterations[rows], loss[rows], norms.values[rows], nonfinite[rows], 40, norms.labels)
        assert onset is not None
        assert onset.iteration == BREAK
        choice = last_good(snapshots, onset, 40, 0, stop - 1)
        assert choice is not None
        assert choice.iteration == 800
    for stop in (100, 400, BREAK):
        assert find_onset(iterations[:stop], loss[:stop], norms.values[:stop], nonfinite[:stop], 40) is None
    alone = find_onset(iterations, loss, None, None, 40)  # the loss tells it too
    assert alone is not None
    assert abs(alone.iteration - BREAK) <= 1


def test_alarms_are_raised_within_three_iterations(demo: Path) -> None:
    facts = json.loads((demo / "run.json").read_text())
    with Recording(demo) as recording:
        alarms = recording.alarms
        found = diagnose(recording, 40, read_limits())
    assert (alarms[0].rule, alarms[0].subject, alarms[0].iteration) == ("input_range", "data", BREAK)
    assert (alarms[1].rule, alarms[1].subject) == ("loss_jump", "loss")
    assert BREAK < alarms[1].iteration <= BREAK + 3
    uniform = {alarm.subject for alarm in alarms if alarm.rule == "uniform_collapse"}
    assert uniform == {"loss1/loss1", "loss2/loss1", "loss3/loss3"}
    assert facts["ended"]["onset"]["iteration"] == BREAK
    assert facts["ended"]["onset"]["blob"] == "data"  # the images themselves
    assert facts["ended"]["onset"]["param"] == "conv1/3x3_s1/0"
    assert set(found.alarms) == set(alarms)
    assert found.onset is not None
    assert (found.onset.iteration, found.onset.blob) == (BREAK, "data")


def test_the_documentation_quotes_the_alarm_and_the_onset(demo: Path) -> None:
    """In words: numbers may differ in their last digits from processor to processor."""
    onset = json.loads((demo / "run.json").read_text())["ended"]["onset"]
    where = f"Onset: iteration {BREAK}: {onset['reason']}. {first_abnormal(onset['blob'], onset['param'])}"
    with Recording(demo) as recording:
        found = harness.diagnose(recording)
    alarm = next(alarm for alarm in found.alarms if alarm.rule == "loss_jump")
    raised = f"ALARM {alarm.rule} at iteration {alarm.iteration}: {found.describe(alarm)}. {LOOK_AT[alarm.rule]}"
    for page, quotes in {
        "README.md": (where,),
        "docs/quickstart.md": (raised, where),
        "docs/alarms.md": (raised,),
    }.items():
        for quote in quotes:
            assert _words(quote) in _words((ROOT / page).read_text()), page


def _words(text: str) -> str:
    return re.sub(r"\d+([.,]\d+)*", "#", " ".join(text.split()))


def test_the_log_alone_gives_the_verdict(demo: Path) -> None:
    done = harness_command("readlog", demo / "solver.log", "--json")
    log = json.loads(done.stdout)
    assert (log["verdict"], log["jump_iteration"]) == ("uniform-softmax", 880)
    assert log["onset"] == {"estimate": BREAK, "low": BREAK, "high": 880}
    assert [(head["classes"], head["state"]) for head in log["heads"]] == 3 * [(280, "uniform")]


@pytest.mark.parametrize("start", [600, 800])
def test_a_resume_from_an_earlier_snapshot_breaks_at_the_same_iteration(demo: Path, tmp_path: Path, start: int) -> None:
    """The asker's "I ran it twice and it repeated exactly", and all that an exact resume promises.

    800 is the last snapshot before the break and the start of a test pass; from 600 on, that pass and 200 iterations
    lie on the way. Older snapshots differ from these in nothing but the number of iterations to repeat.
    """
    restart(demo, "--from", start, "--until", BREAK + 10, "--out", tmp_path / "again")
    with Recording(demo) as one, Recording(tmp_path / "again") as two:
        span = slice(start, BREAK + 10)
        for name in ("digest", "loss", "lr"):
            assert np.array_equal(one.series(name)[span], two.series(name)), name
        assert (
            two.series("loss")[BREAK + 2 - start] > 8 > 3 > two.series("loss")[BREAK - 40 - start : BREAK - start].max()
        )


@pytest.mark.parametrize("change", RESCUES)
def test_a_restart_with_other_hyperparameters_keeps_learning(rescues: dict[str, Path], change: str) -> None:
    run = rescues[change]
    said = run.with_name(f"{run.name}.stderr").read_text()
    assert "at iteration 800: the newest snapshot followed by at least 40 healthy iterations" in said
    with Recording(run) as child:
        assert child.iterations[[0, -1]].tolist() == [800, RESCUED - 1]
        smoothed = child.series("smoothed_loss")
        assert smoothed[BREAK - 800 + 80 :].max() < 4
        assert smoothed[-40:].max() < 2.5
        losses, norms, nonfinite = child.series("loss"), child.stat("gradient_l2"), child.stat("gradient_nonfinite")
        assert find_onset(child.iterations, losses, norms.values, nonfinite.values, 40) is None
    facts = json.loads((run / "run.json").read_text())
    assert [c["field"] for c in facts["parent"]["changes"]] == [change.split("=")[0]]
    with LineageReader(Recording(run)) as line:
        assert line.iterations.tolist() == list(range(RESCUED))
