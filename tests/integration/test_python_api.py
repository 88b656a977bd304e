"""The public Python API: what `harness` exports, on a recorded run and on a log."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import harness
from harness.invocation import next_command
from harness.reports import figures
from tests.helpers.paths import CASE, FIXTURES
from tests.helpers.processes import command

EXPECTED: dict[str, Any] = json.loads((FIXTURES / "run-0.1.0.json").read_text())
ONSET = EXPECTED["onset"]["iteration"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that diverged."""
    home = tmp_path_factory.mktemp("api")
    with tarfile.open(FIXTURES / "run-0.1.0.tar.xz") as archive:
        archive.extractall(home)
    return home / "runs/jump"


def test_every_exported_name_is_there() -> None:
    for name in harness.__all__:
        assert getattr(harness, name).__doc__, name
    assert set(harness.__all__) <= set(dir(harness))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        harness.nothing  # noqa: B018


def test_a_run_is_opened_by_its_directory_or_its_recording(run: Path) -> None:
    with harness.open_run(run) as one, harness.open_run(str(run / "recording.h5")) as other:
        assert isinstance(one, harness.Recording)
        assert np.array_equal(one.series("digest"), other.series("digest"))
    with pytest.raises(harness.RecordingError, match="no such recording"):
        harness.open_run(run / "nowhere")


def test_the_exactness_of_a_run(run: Path) -> None:
    with harness.open_run(run) as recording:
        found = harness.exactness(recording)
    assert found.verified is None  # a new training
    assert found.restarts.from_start is not None
    assert (found.continues.reasons, found.restarts.from_start.reasons) == ((), ())
    assert found.sentence.startswith("A restart from iteration 0 or from a snapshot repeats it bit for bit")


def test_a_run_knows_its_onset_and_its_numbers(run: Path) -> None:
    with harness.open_run(run) as one, h5py.File(run / "recording.h5") as file:
        assert one.onset == harness.diagnose(one).onset
        assert one.onset is not None
        assert one.onset.iteration == ONSET
        assert one.diagnosis is one.diagnosis
        table = one.frame()
        assert table.index.name == "iteration"
        assert table.index.tolist() == file["iteration"][:].tolist()
        for name in ("lr", "loss", "smoothed_loss", "seconds"):
            assert np.array_equal(table[name], file[name][:], equal_nan=True)
        assert np.array_equal(table["loss3/loss3"], file["output/loss3/loss3"][:, 0], equal_nan=True)
        norms = one.stat("gradient_l2").frame()
        assert np.array_equal(norms[one.params[0].label], file["stat/gradient_l2"][:, 0], equal_nan=True)


def test_a_layer_has_its_norms_over_time_and_its_arrays_in_windows(run: Path) -> None:
    with harness.open_run(run) as one, h5py.File(run / "recording.h5") as file:
        assert one.layers == tuple(dict.fromkeys(param.layer for param in one.params))
        name = one.layers[1]
        layer = one.layer(name)
        columns = [n for n, param in enumerate(one.params) if param.layer == name]
        assert [param.index for param in layer.params] == list(range(len(columns)))
        for statistic in ("weight_l2", "gradient_l2", "update_l2"):
            stored = file[f"stat/{statistic}"][:, columns]
            assert np.array_equal(layer.stat(statistic).values, stored, equal_nan=True)
            assert np.allclose(getattr(layer, statistic), np.linalg.norm(stored, axis=1), equal_nan=True)
            assert np.array_equal(layer.frame()[f"{statistic}/0"], stored[:, 0], equal_nan=True)
        row = file["window/iteration"][:].tolist().index(ONSET)
        for kind in ("weight", "gradient", "update"):
            assert np.array_equal(getattr(layer, kind)(ONSET), file[f"window/{kind}/{name}/0"][row])
        with pytest.raises(harness.RecordingError, match=f"Did you mean {name}"):
            one.layer(f"{name}x")
        with pytest.raises(harness.RecordingError, match="no window"):
            layer.weight(0)


def test_a_run_and_a_layer_are_drawn(run: Path, tmp_path: Path) -> None:
    with harness.open_run(run) as one:
        for name, figure in {
            "losses": one.plot(),
            "overview": one.plot("overview"),
            "layer": one.layer(one.layers[0]).plot(),
        }.items():
            figure.savefig(tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        with pytest.raises(ValueError, match="losses or overview"):
            one.plot("everything")  # type: ignore[arg-type]


def test_without_pandas_only_tables_are_missing(run: Path) -> None:
    program = f"""
import sys
sys.modules["pandas"] = None
import harness
run = harness.open_run({str(run)!r})
print(run.onset.iteration, run.layer(run.layers[0]).gradient_l2.shape[0] == len(run.iterations))
run.frame()
"""
    done = command(sys.executable, "-c", program)
    assert done.stdout.split() == [str(ONSET), "True"]
    assert done.stderr.rstrip().endswith("pandas is an extra of caffe-harness: pip install pandas")


def test_a_diagnosis_holds_what_reports_show(run: Path, tmp_path: Path) -> None:
    with harness.open_run(run) as recording:
        found = harness.diagnose(recording)
        assert found.onset is not None
        assert (found.onset.iteration, found.onset.blob) == (ONSET, EXPECTED["onset"]["blob"])
        assert found.last_good is not None
        assert found.last_good.iteration == EXPECTED["last_good"]
        assert [alarm.rule for alarm in found.alarms] == [alarm["rule"] for alarm in EXPECTED["alarms"]]
        assert f"{found.alarms[0].value:.4g}" in found.describe(found.alarms[0])
        assert found.info.random_seed == found.solver.random_seed
        norms = recording.stat("gradient_l2").values
        assert np.allclose(found.total_norm("gradient_l2")[:50], np.linalg.norm(norms[:50], axis=1))
        # what was recorded around the onset
        drawn = found.heatmap("gradient")
        assert drawn.rows == tuple(dict.fromkeys(param.layer for param in recording.params))
        assert len(drawn.start) == len(recording.iterations[found.around])
        assert found.heatmap("zeros", columns=7).values.shape[1] == 7
        assert [part.kind for part in found.distributions()] == ["weight", "gradient"]
        assert found.offender is not None
        weights = recording.weight(ONSET, found.offender.layer, found.offender.index)
        (largest, *_) = found.largest_elements(3)
        assert largest.weight == weights[largest.index]
        batch = found.batch()
        assert batch is not None
        assert [key.encode() for key in batch.keys] == recording.keys(ONSET)
        commands = [suggestion.command.split(" --set ")[-1] for suggestion in harness.suggest(found)]
        assert commands[:2] == [f"base_lr={found.solver.base_lr / 10:g}", "clip_gradients=10"]
        assert commands[2:] == [f"{next_command(name)} {recording.path.parent}" for name in ("explain", "rescue")]
        assert harness.suggest(recording) == harness.suggest(found)
        for name, figure in {
            "losses": figures.losses(recording, found),
            "overview": figures.overview(recording, found),
            "layers": figures.layers([drawn], ONSET, distances=True),
            "spectra": figures.spectra(found.distributions(), ONSET),
        }.items():
            figure.savefig(tmp_path / f"{name}.png")
            assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_predictions_come_from_caffe(run: Path) -> None:
    with harness.open_run(run) as recording:
        heads = harness.predict(recording, ONSET)
        batch = harness.diagnose(recording).batch(ONSET)
        assert batch is not None
        assert batch.labels is not None
        assert [head.name for head in heads] == [head.name for head in recording.heads]
        assert all(np.array_equal(head.labels, batch.labels) for head in heads)
        assert figures.contact_sheet(batch, {}, heads[-1].before).axes
        with pytest.raises(harness.RecordingError, match="iteration 0 is in no window"):
            harness.predict(recording, 0)


def test_restarts_are_found_beside_their_run(run: Path, tmp_path: Path) -> None:
    child = run.with_name("child")
    child.mkdir()
    info = json.loads((run / "run.json").read_text())
    info["parent"] = {"run": str(run), "iteration": 80, "reason": "", "changes": [], "history": "keep", "skip": None}
    (child / "run.json").write_text(json.dumps(info))
    (child / "recording.h5").write_bytes((run / "recording.h5").read_bytes())
    with harness.open_run(run) as parent, harness.open_run(child) as restart:
        assert harness.restarts(parent) == (child,)
        assert harness.restarts(restart) == ()


def test_a_log_is_read_with_what_is_known_besides(run: Path) -> None:
    (result,) = harness.read_log(CASE, images=278_000, batch=32, average_loss=40)
    assert isinstance(result, harness.LogResult)
    assert result.findings.verdict == "uniform-softmax"
    assert result.findings.onset is not None
    assert (result.findings.onset.estimate, result.findings.onset.assumed) == (119_006, False)
    assert any("194,032" in sentence for sentence in result.sentences)
    assert len(figures.log_figure([result]).axes) == 3
    (own,) = harness.read_log(run)
    assert own.findings.verdict == EXPECTED["readlog"]["verdict"]
    with pytest.raises(harness.BadInput, match="Name one of them"):
        harness.read_log(run.parent)
