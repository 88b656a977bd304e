"""Lineage: two real runs, the second resumed from a snapshot of the first, are read as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
import xarray

from harness.recording import BadInput, Recording, RecordingError
from harness.recording.lineage import ancestry, children, joined
from tests.helpers.commands import train
from tests.helpers.nets import small_net, solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")


def adopt(child: Path, parent: object) -> None:
    """Write `parent` into the child's run.json."""
    facts = json.loads((child / "run.json").read_text())
    (child / "run.json").write_text(json.dumps(facts | {"parent": parent}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, digit_data: Path, one_blas_thread: None) -> Path:
    """A folder with `first` (iterations 0…39) and `second`, resumed at 25 with another learning rate (25…44)."""
    home = tmp_path_factory.mktemp("lineage")
    (home / "net.prototxt").write_text(small_net(digit_data))
    quiet = {"test_iter": None, "test_interval": None}
    (home / "one.prototxt").write_text(solver_text(home / "net.prototxt", home / "s", max_iter=40, **quiet))
    (home / "two.prototxt").write_text(
        solver_text(home / "net.prototxt", home / "s", max_iter=45, base_lr=0.001, **quiet)
    )
    train(home / "one.prototxt", home / "first")
    train(home / "two.prototxt", home / "second", "--resume", home / "first/snapshots/s_iter_25.solverstate")
    adopt(home / "second", {"run": str(home / "first"), "iteration": 25})
    return home


def test_a_run_and_its_parent_read_as_one_series(made: Path) -> None:
    line = ancestry(made / "second")
    assert line.runs == (made / "first", made / "second")
    assert line.begins == (0, 25)
    assert line.complete
    with Recording(made / "first") as first, Recording(made / "second") as second:
        for name in ("loss", "lr", "digest"):
            iterations, values = joined(made / "second", name)
            assert list(iterations) == list(range(45))
            assert np.array_equal(values[:25], first.series(name)[:25])
            assert np.array_equal(values[25:], second.series(name))
        _, norms = joined(made / "second", "gradient_l2")
        assert np.array_equal(norms[:25], first.stat("gradient_l2").values[:25])
        assert np.array_equal(norms[25:], second.stat("gradient_l2").values)
        assert first.series("digest")[25] == second.series("digest")[0]  # the snapshot's weights


def test_a_run_without_parent_is_its_own_lineage(made: Path) -> None:
    assert ancestry(made / "first").runs == (made / "first",)
    assert list(joined(made / "first", "loss")[0]) == list(range(40))


@pytest.mark.parametrize("named", ["absolute", "../first", "first"])
def test_both_runs_may_be_moved_together(made: Path, tmp_path: Path, named: str) -> None:
    for name in ("first", "second"):
        shutil.copytree(made / name, tmp_path / "moved" / name)
    parent = str(tmp_path / "gone/first") if named == "absolute" else named
    adopt(tmp_path / "moved/second", {"run": parent, "iteration": 25})
    line = ancestry(tmp_path / "moved/second")
    assert [p.resolve() for p in line.runs] == [tmp_path / "moved/first", tmp_path / "moved/second"]
    assert len(joined(tmp_path / "moved/second", "loss")[0]) == 45


def test_a_missing_parent_is_reported_and_the_rest_is_read(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "second", tmp_path / "second")
    adopt(tmp_path / "second", {"run": "/nowhere/lost", "iteration": 25})
    line = ancestry(tmp_path / "second")
    assert line.runs == (tmp_path / "second",)
    assert not line.complete
    assert line.missing == "/nowhere/lost"
    assert list(joined(tmp_path / "second", "loss")[0]) == list(range(25, 45))


def test_a_damaged_parent_is_refused(made: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(made / name, tmp_path / name)
    adopt(tmp_path / "first", {"run": "second", "iteration": 3})
    adopt(tmp_path / "second", {"run": "first", "iteration": 25})
    with pytest.raises(RecordingError, match="descends from it"):
        ancestry(tmp_path / "second")
    adopt(tmp_path / "second", {"iteration": 3})
    with pytest.raises(BadInput, match=r"second/run\.json: damaged \(.*`run` - at `\$\.parent`\)"):
        ancestry(tmp_path / "second")
    (tmp_path / "second/run.json").write_text("{")
    with pytest.raises(BadInput, match=r"second/run\.json: damaged"):
        ancestry(tmp_path / "second")
    with pytest.raises(BadInput, match="cannot be read"):
        ancestry(tmp_path)
    with pytest.raises(RecordingError, match="no series"):
        joined(made / "second", "los")


def test_pandas_and_xarray_accept_the_labelled_arrays(made: Path) -> None:
    with Recording(made / "second") as recording:
        norms, zeros = recording.stat("gradient_l2"), recording.activation("zero_fraction")
    frame = pandas.DataFrame(norms.values, norms.iterations, norms.labels)
    assert frame.loc[44, "conv1/3x3/0"] == norms["conv1/3x3/0"][-1]
    array = xarray.DataArray(zeros.values, zeros.coords, zeros.dims)
    assert array.sel(iteration=zeros.iterations[1], blob="frozen").item() == zeros["frozen"][1]


def test_children_of_a_run_are_found_next_to_it(made: Path, tmp_path: Path) -> None:
    assert children(made / "first") == (made / "second",)
    assert children(made / "second") == ()
    shutil.copytree(made, tmp_path / "moved")
    (tmp_path / "moved/broken").mkdir()
    (tmp_path / "moved/broken/run.json").write_text("{")
    (tmp_path / "moved/broken/recording.h5").touch()
    shutil.rmtree(tmp_path / "moved/second")
    assert children(tmp_path / "moved/first") == ()
