"""Lineage: real runs, each restarted from the one before, are read as one training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import xarray

import harness
from harness.recording import BadInput, Recording, RecordingError
from harness.recording.lineage import ancestry, children
from harness.recording.lineage_reader import LineageReader
from harness.schemas.window import Window
from tests.helpers.commands import train
from tests.helpers.preloaded import harness_command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

BEGINS = (0, 20, 30, 40)  # of the runs
END = 55


def rewrite(run: Path, **fields: object) -> None:
    """Replace fields of run.json."""
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | fields))


@pytest.fixture
def last(lineage: Path) -> Path:
    """The last run of the lineage; see `write_lineage`."""
    return lineage


@pytest.fixture
def moved(last: Path, tmp_path: Path) -> Path:
    """The last run of a copy of the lineage, whose runs name the copies as if they had been moved."""
    shutil.copytree(last.parents[1], tmp_path / "moved")
    copy = tmp_path / "moved/study/3"
    for run, before in zip(runs_of(copy)[1:], runs_of(copy), strict=False):
        parent = json.loads((run / "run.json").read_text())["parent"]
        rewrite(run, parent=parent | {"run": f"/gone/{before.name}"})
    return copy


def runs_of(last: Path) -> tuple[Path, ...]:
    return (last.parents[1] / "first", *(last.with_name(name) for name in "123"))


def parts_joined(last: Path, name: str) -> np.ndarray:
    """The oracle: each recording by itself, cut where the next run begins."""
    found = []
    for run, stop in zip(runs_of(last), (*BEGINS[1:], END), strict=True):
        with Recording(run) as recording:
            rows = recording.stat(name).values if name.endswith("_l2") else recording.series(name)
            found.append(rows[recording.iterations < stop])
    return np.concatenate(found)


def test_four_runs_read_as_one_training(last: Path) -> None:
    assert ancestry(last).runs == runs_of(last)
    with harness.open_lineage(last) as line:
        assert line.missing is None
        assert line.iterations.tolist() == list(range(END))
        assert [(part.begins, part.run, part.until) for part in line.parts] == [
            *zip(BEGINS, runs_of(last), (*BEGINS[1:], None), strict=True)
        ]
        for name in ("digest", "loss", "smoothed_loss", "lr", "seconds"):
            assert line.series(name).tobytes() == parts_joined(last, name).tobytes()
        for name in ("weight_l2", "gradient_l2", "update_l2"):
            assert line.stat(name).values.tobytes() == parts_joined(last, name).tobytes()
        assert [round(rate / line.series("lr")[19], 3) for rate in line.series("lr")[[20, 30]]] == pytest.approx(
            [0.2 * ((60 - t) / 41) ** 0.5 for t in (20, 30)], abs=1e-3
        )
        assert line.same_params


def test_an_unchanged_continuation_has_the_bits_that_its_parent_had(last: Path) -> None:
    with LineageReader(Recording(last)) as line:
        first, changed, unchanged, _ = line.parts
        assert changed.recording.series("digest")[10:].tolist() == unchanged.recording.series("digest")[:5].tolist()
        assert first.recording.series("digest")[20] == changed.recording.series("digest")[0]  # the snapshot's weights
        assert first.recording.series("digest")[21] != changed.recording.series("digest")[1]


def test_interventions_are_what_was_changed_and_where(last: Path) -> None:
    with LineageReader(Recording(last)) as line:
        assert [(part.begins, part.run.name, part.change) for part in line.interventions] == [
            (20, "1", "base_lr 0.01 → 0.002"),
            (40, "3", "momentum 0.9 → 0.8, conv1/3x3: param[0].lr_mult 1 → 0.5, history reset"),
        ]
        assert [part.change for part in line.parts if not part.intervenes] == ["", "nothing changed"]


@pytest.mark.parametrize(
    "rows", [slice(None), slice(18, 33), slice(0, 20), slice(25, 28), slice(50, None), slice(3, None, 7), slice(9, 4)]
)
def test_parts_of_the_rows_are_read_alone(last: Path, rows: slice) -> None:
    with LineageReader(Recording(last)) as line:
        assert line.series("digest", rows).tolist() == line.series("digest")[rows].tolist()
        assert np.array_equal(line.stat("gradient_l2", rows).values, line.stat("gradient_l2").values[rows])
        assert line.stat("gradient_l2", rows).iterations.tolist() == list(range(END))[rows]
        assert np.array_equal(line.output("loss3/loss3", rows), line.output("loss3/loss3")[rows])
        assert np.array_equal(line.input_stat("maximum", rows).values, line.input_stat("maximum").values[rows])


def test_tests_activations_alarms_and_windows_are_those_of_the_run_that_counts(last: Path) -> None:
    with LineageReader(Recording(last)) as line:
        first, changed, unchanged, own = (part.recording for part in line.parts)
        name = line.test_outputs()[0]
        times, values = line.test(name)
        assert times.tolist() == [0, 10, 20, 30, 40, 50]
        assert [values[2].tolist(), values[3].tolist()] == [r.test(name)[1][0].tolist() for r in (changed, unchanged)]
        zeros = line.activation("zero_fraction")
        assert sorted(set(zeros.iterations.tolist())) == zeros.iterations.tolist()
        assert {24, 25, 38, 39} <= set(zeros.iterations.tolist())
        assert zeros.values[zeros.iterations == 7].tolist() == first.activation("zero_fraction").values[1:2].tolist()
        assert line.alarms == ()
        assert line.windows == (Window(24, 26), Window(38, 40))  # from 40 on, the window is of what was left
        assert np.array_equal(line.weight(25, "conv1/3x3"), changed.weight(25, "conv1/3x3"))
        assert line.keys(38) == unchanged.keys(38)
        assert line.window_arrays(40) == own.window_arrays(40) == ()
        with pytest.raises(RecordingError, match=r"3/recording\.h5.*iteration 40"):
            line.gradient(40, "conv1/3x3")


def test_tables_and_figures_of_a_lineage(last: Path) -> None:
    with harness.open_lineage(last) as line:
        frame = line.frame()
        assert list(frame.index) == list(range(END))
        assert frame["lr"][25] == line.series("lr")[25]
        axes = line.plot().axes
        labels = [text.get_text() for text in axes[0].texts]
        assert "base_lr 0.01 → 0.002" in labels
        assert len([label for label in labels if label.startswith("momentum 0.9 → 0.8")]) == 1
        drawn = next(drawn for drawn in axes[1].lines if np.size(drawn.get_xdata()) == END)
        assert np.array_equal(drawn.get_ydata(), line.series("lr"))


def test_a_run_without_parent_is_its_own_lineage(last: Path) -> None:
    run = runs_of(last)[0]
    assert ancestry(run).runs == (run,)
    with LineageReader(Recording(run)) as line:
        assert line.iterations.tolist() == list(range(40))
        assert line.interventions == ()
        assert line.parts[0].change == ""


def test_a_resumed_run_continues_that_of_its_snapshot(last: Path, tmp_path: Path) -> None:
    home, run = last.parents[1], tmp_path / "resumed"
    slower = (home / "solver.prototxt").read_text().replace("momentum: 0.9", "momentum: 0.5")
    (tmp_path / "slower.prototxt").write_text(slower)
    train(tmp_path / "slower.prototxt", run, "--resume", home / "first/snapshots/s_iter_30.solverstate", "--until", 36)
    with LineageReader(Recording(run)) as line:
        assert [part.run for part in line.parts] == [home / "first", run]
        assert line.iterations.tolist() == list(range(36))
        assert [(part.begins, part.change) for part in line.interventions] == [(30, "resumed with other settings")]
    rewrite(run, verified=json.loads((run / "run.json").read_text())["verified"] | {"unchanged_through": None})
    with LineageReader(Recording(run)) as line:
        assert line.interventions == ()
        assert line.parts[1].change == "resumed"


@pytest.mark.parametrize("named", ["/gone/first", "../../first"])
def test_all_runs_may_be_moved_together(moved: Path, last: Path, named: str) -> None:
    first, *study = runs_of(moved)
    rewrite(study[0], parent={"run": named, "iteration": 20})
    assert [run.resolve() for run in ancestry(moved).runs] == [first, *study]
    with LineageReader(Recording(moved)) as line:
        assert line.series("digest").tobytes() == parts_joined(last, "digest").tobytes()


def test_ancestors_that_are_not_there_are_named_and_the_rest_is_read(moved: Path) -> None:
    first, changed, unchanged, _ = runs_of(moved)
    (first / "recording.h5").write_bytes(b"nothing")
    rewrite(changed, parent={"run": str(first), "iteration": 20})
    with LineageReader(Recording(moved)) as line:
        assert line.iterations[0] == 20
        assert line.missing is not None
        assert line.missing.startswith(f"{first / 'recording.h5'}: not ")
    (changed / "run.json").write_text("{")
    with LineageReader(Recording(moved)) as line:
        assert line.iterations[0] == 30
        assert line.missing is not None
        assert line.missing.startswith(f"{changed / 'run.json'}: damaged")
    shutil.rmtree(unchanged)
    rewrite(moved, parent={"run": "/nowhere/lost", "iteration": 40})
    assert not ancestry(moved).complete
    with LineageReader(Recording(moved)) as line:
        assert line.iterations.tolist() == list(range(40, END))
        assert line.missing == f"/nowhere/lost, which {moved} continues, is not there"
        assert line.parts[0].change == "nothing changed"


def test_a_report_leaves_damaged_ancestors_out(moved: Path) -> None:
    with h5py.File(moved.with_name("2") / "recording.h5", "r+") as file:
        file["stat/update_l2"][3] = 1e6
    page = moved / "report.html"
    done = harness_command("report", moved)
    assert done.code == 0, done.stderr
    assert "/stat/update_l2 at iteration 33: damaged" in page.read_text().partition('id="missing"')[2][:300]


def test_a_run_that_descends_from_itself_is_read_once(moved: Path) -> None:
    rewrite(runs_of(moved)[0], parent={"run": str(moved), "iteration": 3})
    assert "descends from it; correct that field" in (ancestry(moved).missing or "")
    with LineageReader(Recording(moved)) as line:
        assert line.parts[-1].run == moved
        assert line.iterations[-1] == END - 1
    rewrite(moved, parent={"iteration": 3})
    with pytest.raises(BadInput, match=r"3/run\.json: damaged \(.*`run` - at `\$\.parent`\)"):
        ancestry(moved)
    with pytest.raises(BadInput, match="cannot be read"):
        ancestry(moved.parent)
    with LineageReader(Recording(runs_of(moved)[1])) as line, pytest.raises(RecordingError, match="no series"):
        line.series("los")


def test_runs_with_other_nets_have_no_values_in_columns_that_they_lack(moved: Path, digit_data: Path) -> None:
    """The last run continues one whose net has a layer of another name, and no test net."""
    home = moved.parents[1]
    net = (
        (home / "net.prototxt")
        .read_text()
        .replace("loss1/classifier", "loss1/old")
        .replace("loss1/loss1", "loss1/lost")
    )
    (home / "other.prototxt").write_text(net)
    solver = (home / "solver.prototxt").read_text().replace(str(last_net(home)), str(home / "other.prototxt"))
    quiet = [row for row in solver.splitlines() if not row.startswith("test_")]
    (home / "other_solver.prototxt").write_text("\n".join(quiet))
    train(home / "other_solver.prototxt", home / "other", "--until", 45)
    rewrite(moved, parent={"run": str(home / "other"), "iteration": 40})
    with LineageReader(Recording(moved)) as line:
        assert not line.same_params
        norms = line.stat("weight_l2")
        assert norms.values.shape == (END, len(line.params))
        assert np.isnan(norms["loss1/classifier/0"][:40]).all()
        assert np.isfinite(norms["loss1/classifier/0"][40:]).all()
        assert np.isfinite(norms["conv1/3x3/0"]).all()
        assert np.isnan(line.output("loss1/loss1")[:40]).all()
        assert np.isfinite(line.output("loss3/loss3")).all()
        assert np.isnan(line.activation("zero_fraction")["loss1/classifier"][0])
        assert line.test(line.test_outputs()[0])[0].tolist() == [40, 50]


def last_net(home: Path) -> str:
    """The net as the copied solver names it: in the directory from which it was copied."""
    (row,) = [row for row in (home / "solver.prototxt").read_text().splitlines() if row.startswith("net:")]
    return row.split('"')[1]


def test_pandas_and_xarray_accept_the_labelled_arrays(last: Path) -> None:
    with Recording(last) as recording:
        norms, zeros = recording.stat("gradient_l2"), recording.activation("zero_fraction")
    frame = pandas.DataFrame(norms.values, norms.iterations, norms.labels)
    assert frame.loc[END - 1, "conv1/3x3/0"] == norms["conv1/3x3/0"][-1]
    array = xarray.DataArray(zeros.values, zeros.coords, zeros.dims)
    assert array.sel(iteration=zeros.iterations[1], blob="frozen").item() == zeros["frozen"][1]


def test_children_of_a_run_are_found_next_to_it(moved: Path) -> None:
    _, changed, unchanged, _ = runs_of(moved)
    assert children(changed) == (unchanged,)
    assert children(unchanged) == (moved,)
    assert children(moved) == ()
    (moved.parent / "broken").mkdir()
    (moved.parent / "broken/run.json").write_text("{")
    (moved.parent / "broken/recording.h5").touch()
    shutil.rmtree(moved)
    assert children(unchanged) == ()
