"""Without a window, the records of the onset's batch are read from the data set, outliers first, with class names."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest

import harness
from harness.recording import Recording
from harness.training_data.confirm import confirmed_records
from harness.training_data.records import RecordsUnknown
from tests.helpers.commands import Trained, restart, train
from tests.helpers.outlying_records import BATCH, NAMES, ONSET, OUTLYING, key_of, write_records, write_training
from tests.helpers.paths import ROOT
from tests.helpers.processes import command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

WORST_FIRST = [key_of(number) for number in sorted(OUTLYING, key=lambda number: -OUTLYING[number])]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run without a window that three records of iteration 45 break; class names are in the folder above the LMDB."""
    home = tmp_path_factory.mktemp("outlying")
    source = write_records(home / "data/train_lmdb")
    (home / "data/synset_words.txt").write_text("".join(f"n0000000{n} {name}\n" for n, name in enumerate(NAMES)))
    return train(write_training(home, source), home / "run", "--black-box-mib", 0)


def test_the_outlying_records_of_the_onset_come_first(broken: Trained) -> None:
    with harness.open_run(broken.run) as run:
        found = harness.diagnose(run)
        assert found.onset is not None
        assert found.onset.iteration == ONSET
        batch = found.batch()
        assert batch is not None
        assert (batch.iteration, batch.source, batch.blob, len(batch)) == (ONSET, "data set", "data", BATCH)
        assert [batch.keys[image] for image in batch.worst] == WORST_FIRST
        assert batch.keys == tuple(key_of(number) for number in range(ONSET * BATCH, (ONSET + 1) * BATCH))
        assert batch.labels is not None
        assert batch.names == tuple(NAMES[label] for label in batch.labels)
        assert batch.times[batch.worst[0]] > 100
        assert np.all(batch.times[~batch.outliers] < 3)
        assert found.why_no_batch() is None
        for iteration in (0, 7, ONSET - 1, 159):
            ordinary = found.batch(iteration)
            assert ordinary is not None
            assert not ordinary.worst
    assert batch.describe(batch.worst[0]).startswith(f"{WORST_FIRST[0]}, label {batch.labels[batch.worst[0]]} (")


def test_the_screen_and_the_page_show_them(broken: Trained, tmp_path: Path) -> None:
    said = broken.stderr[broken.stderr.index(f"3 of the {BATCH} records of iteration {ONSET} hold values far beyond") :]
    assert [said.index(key) for key in WORST_FIRST] == sorted(said.index(key) for key in WORST_FIRST)
    assert said.index(f"--skip {ONSET}:{ONSET + 1}") < said.index(f"--skip-records {','.join(WORST_FIRST)}")
    page = tmp_path / "page.html"
    command(ROOT / ".venv/bin/python", "-m", "harness.report", broken.run, "--out", page, cwd=ROOT)
    text = page.read_text()
    text = text[text.index("Worst images") :]
    assert [text.index(key) for key in WORST_FIRST] == sorted(text.index(key) for key in WORST_FIRST)
    assert text.index(WORST_FIRST[-1]) < text.index(key_of(ONSET * BATCH))
    assert any(name in text for name in NAMES)


def test_a_batch_that_is_unlike_all_before_is_an_outlier_as_a_whole(broken: Trained, tmp_path: Path) -> None:
    """Within the batch no record stands out: the batches before tell."""
    copy = tmp_path / "run"
    shutil.copytree(broken.run, copy)
    with h5py.File(copy / "recording.h5", "r+") as file:
        for name in ("minimum", "maximum"):
            file[f"input_stat/{name}"][:7] = np.where(np.arange(2) == 0, 0.01 if name == "maximum" else 0, 1)
            del file[f"input_stat/{name}"].attrs["checksum_column"]
    with Recording(copy) as run:
        batch = harness.diagnose(run).batch(7)
        assert batch is not None
        assert len(batch.worst) == BATCH
        assert np.all(batch.times > 50)


def test_a_window_without_keys_gets_them_from_the_data_set(broken: Trained, tmp_path: Path) -> None:
    """Only the keys of a Data layer with labels are recorded; the bits of the window tell which records they are."""
    run = tmp_path / "run"
    restart(broken.run, "--from", 20, "--until", 60, "--watch", "44:47", "--out", run)
    with h5py.File(run / "recording.h5", "r+") as file:
        file["window/key"][...] = b""
        del file["window/key"].attrs["checksum_column"]
    with Recording(run) as recording:
        batch = harness.diagnose(recording).batch(ONSET)
        assert batch is not None
        assert (batch.source, [batch.keys[image] for image in batch.worst]) == ("window", WORST_FIRST)


def test_records_that_the_statistics_contradict_are_not_shown(broken: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(broken.run, copy)
    with h5py.File(copy / "recording.h5", "r+") as file:
        file["input_stat/maximum"][ONSET, 0] *= 1.5
        del file["input_stat/maximum"].attrs["checksum_column"]
    with Recording(copy) as run:
        found = harness.diagnose(run)
        assert found.batch() is None
        why = found.why_no_batch()
        assert why == (
            "The data set does not give the data whose statistics were recorded at iteration 45: its records are not "
            "shown, as they may be other ones."
        )
        assert found.batch(ONSET - 1) is not None


def test_records_that_a_window_contradicts_are_not_shown(broken: Trained, tmp_path: Path) -> None:
    """A window of another iteration of the same run tells as well."""
    run = tmp_path / "watched"
    restart(broken.run, "--from", 20, "--until", 60, "--watch", "50:52", "--black-box-mib", 0, "--out", run)
    with Recording(run) as recording:
        assert [r.key for r in confirmed_records(recording, ONSET).layers[0].records][:1] == [key_of(ONSET * BATCH)]
        window = harness.diagnose(recording).batch(51)
        assert window is not None
        assert (window.source, window.names[0] in NAMES) == ("window", True)
    with h5py.File(run / "recording.h5", "r+") as file:
        file["window/input/data"][0, 3, 0, 0, 0] += 1
        del file["window/input/data"].attrs["checksum_column"]
    with (
        Recording(run) as recording,
        pytest.raises(RecordsUnknown, match="the data that the window has at iteration"),
    ):
        confirmed_records(recording, ONSET)


def test_data_that_are_gone_or_other_ones_are_told(broken: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(broken.run, copy)
    source = tmp_path / "lmdb"
    shutil.copytree(broken.run.parent / "data/train_lmdb", source)
    text = (copy / "run.json").read_text()
    (copy / "run.json").write_text(text.replace(str(broken.run.parent / "data/train_lmdb"), str(source)))
    with Recording(copy) as run:
        found = harness.diagnose(run)
        batch = found.batch()
        assert batch is not None
        assert (batch.keys[batch.worst[0]], batch.names) == (WORST_FIRST[0], ())  # no list of names here
        with lmdb.open(str(source)) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"x", transaction.get(WORST_FIRST[0].encode()) or b"")
        assert found.batch() is None
        why = found.why_no_batch()
        assert why == f"{source} has changed since the run: its records are no longer those that it read."
        shutil.rmtree(source)
        assert found.why_no_batch() == f"{source}, which layer data read, is no longer there."
