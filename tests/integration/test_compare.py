"""Comparing runs: real runs with one planted difference each, and differences planted in the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest

from harness.diagnosis.compare import compare
from harness.diagnosis.comparison import Comparison, Extent, Part
from harness.diagnosis.settings import Setting, differing_settings
from harness.recording import Recording, Window
from harness.recording.checksums import SCALARS
from harness.recording.run_directory import read_info
from harness.schemas.rewind import Rewind
from harness.supervisor.training_spec import recorded_fields
from tests.helpers.commands import train
from tests.helpers.lmdbs import RECORDS, digits, write_lmdb
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import BIN, ROOT
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import Finished, command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

ITERATIONS, BATCH = 16, 8
OTHER = 92  # the record that `other image` and `other key` change: place 4 in the batch of iteration 11


class Runs:
    """Runs of the small net in one folder, each made on demand."""

    def __init__(self, home: Path, data: Path) -> None:
        self.home, self.data = home, data

    def make(self, name: str, *options: object, data: Path | None = None, **fields: object) -> Path:
        out = self.home / name
        if not out.exists():
            (self.home / f"{name}.net").write_text(small_net(data or self.data))
            quiet = {"max_iter": ITERATIONS, "lr_policy": '"fixed"', "power": None, "snapshot": 8}
            text = solver_text(self.home / f"{name}.net", self.home / "s", **(quiet | _QUIET | fields))
            (self.home / f"{name}.solver").write_text(text)
            train(self.home / f"{name}.solver", out, *options)
        return out

    def base(self) -> Path:
        return self.make("base", "--watch", "0:3", "--watch", "10:14")


_QUIET = {"test_iter": None, "test_interval": None}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, digit_data: Path, one_blas_thread: None) -> Runs:
    return Runs(tmp_path_factory.mktemp("compare"), digit_data)


def compared(one: Path, two: Path) -> Comparison:
    with Recording(one) as a, Recording(two) as b:
        infos = read_info(one), read_info(two)
        settings = differing_settings(recorded_fields(infos[0], one), recorded_fields(infos[1], two))
        return compare(a, b, *infos, settings)


def compare_command(*arguments: object) -> Finished:
    return harness_command("compare", *arguments)


def same(found: Comparison) -> dict[str, bool | None]:
    return {part.kind: part.same for part in found.parts}


def names(settings: tuple[Setting, ...]) -> set[str]:
    return {s.name for s in settings if not s.name.startswith("net.data.data_param.source")}


# -- identical --------------------------------------------------------------------------------------------------------


def test_the_same_run_twice_is_identical(runs: Runs) -> None:
    again = runs.make("again")
    done = compare_command(runs.base(), again)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"identical: {ITERATIONS} iterations compared (0…{ITERATIONS - 1})"
    assert "net: " not in done.stdout
    found = compared(runs.base(), again)
    assert found.identical
    assert found.settings == tuple(s for s in found.settings if s.name == "solver.net")  # their net files' names


def test_a_shorter_run_is_compared_up_to_its_end(runs: Runs) -> None:
    found = compared(runs.base(), runs.make("short", "--until", 5))
    assert found.identical
    assert found.common == Extent(0, 4, 5)
    assert found.a == Extent(0, ITERATIONS - 1, ITERATIONS)


@pytest.fixture
def older(runs: Runs, tmp_path: Path) -> Path:
    """The base run, with digests as version 0.2.0 made them: others, without their kind."""
    older = tmp_path / "older"
    shutil.copytree(runs.base(), older)
    with h5py.File(older / "recording.h5", "r+") as file:
        file["digest"][...] = np.arange(ITERATIONS)
        del file.attrs["digest_kind"], file.attrs["checksum"]
        for name in (*SCALARS, "stat/weight_l2"):
            del file[name].attrs["checksum_column"]
    info = json.loads((older / "run.json").read_text())
    del info["digest_kind"]
    (older / "run.json").write_text(json.dumps(info))
    return older


def test_of_digests_of_another_kind_the_norms_are_compared(runs: Runs, older: Path) -> None:
    said = "hashed their weights in different ways (A: multilinear, B: xxh3), so weights were compared by the norms"
    done = compare_command(runs.base(), older)
    assert done.stdout.startswith(f"identical: {ITERATIONS} iterations compared")
    assert said in done.stdout
    assert "digest_kind" not in done.stdout
    with h5py.File(older / "recording.h5", "r+") as file:
        file["stat/weight_l2"][13, 2] *= 1 + 1e-15
    found = compared(runs.base(), older)
    assert (found.weights, found.moment) == (13, 12)
    done = compare_command(runs.base(), older)
    assert said in done.stdout
    assert "W_13 are the first weights that differ, by the norms of all blobs." in done.stdout


def test_equal_nans_are_equal(runs: Runs) -> None:
    one, two = (
        runs.make(name, "--on-alarm", "continue", base_lr=1e30, clip_gradients=None) for name in ("nan", "nan again")
    )
    with Recording(one) as recording:
        assert np.isnan(recording.series("loss")[-1])
    assert compared(one, two).identical


# -- one planted difference -------------------------------------------------------------------------------------------


def test_another_learning_rate_differs_in_the_first_update(runs: Runs) -> None:
    other = runs.make("rate", "--watch", "0:3", base_lr=0.02)
    found = compared(runs.base(), other)
    assert (found.moment, found.weights, found.cause) == (0, 1, "rate")
    assert same(found) == {"input": True, "loss": True, "gradient": True, "lr": False, "update": False}
    assert [d.kind for d in found.arrays] == ["update", "weight"]
    assert found.rewinds == (None, None)
    assert names(found.settings) == {"solver.base_lr", "solver.net"}
    # the largest difference, by hand
    update, weight = found.arrays
    with Recording(runs.base()) as a, Recording(other) as b:
        distances = {
            f"{p.layer}/{p.index}": np.abs(
                a.weight(1, p.layer, p.index).astype(float) - b.weight(1, p.layer, p.index).astype(float)
            )
            for p in a.params
        }
    assert weight.label == max(distances, key=lambda label: distances[label].max())
    assert weight.largest == distances[weight.label].max() == distances[weight.label][weight.index]
    assert weight.elements == np.count_nonzero(distances[weight.label])
    assert weight.blobs == sum(d.any() for d in distances.values())
    assert weight.compared == len(distances)
    assert np.isclose(update.b / update.a, 2, rtol=1e-6)  # 0.02 / 0.01
    done = compare_command(runs.base(), other)
    assert done.code == 0
    assert done.stdout.startswith(f"different from iteration 0: {ITERATIONS} iterations compared (0…15)\n")
    assert "The same gradient was applied with a different learning rate." in done.stdout
    assert f"largest difference in weight of {weight.label}[" in done.stdout
    assert any(line.split() == ["solver.base_lr", "0.01", "0.02"] for line in done.stdout.splitlines())


def test_another_momentum_differs_in_the_second_update(runs: Runs) -> None:
    found = compared(runs.base(), runs.make("momentum", "--watch", "0:3", momentum=0.8))
    assert (found.moment, found.weights, found.cause) == (1, 2, "update")
    assert same(found) == {"input": True, "loss": True, "gradient": True, "lr": True, "update": False}


def test_without_a_window_norms_are_compared_and_a_window_is_suggested(runs: Runs) -> None:
    other = runs.make("momentum, no window", momentum=0.8)
    found = compared(runs.base(), other)
    assert (found.moment, found.weights, found.cause) == (1, 2, "update")
    assert found.parts[2] == Part("gradient", True, "norms")
    assert found.parts[0] == Part("input", None, "window")
    assert found.rewinds[0] is None  # which has a window there
    assert isinstance(found.rewinds[1], Rewind)
    assert (found.rewinds[1].window, found.rewinds[1].repeated) == (Window(1, 3), Window(0, 3))
    said = compare_command(runs.base(), other).stdout
    assert f"B, 3 iterations from 0 on ({found.rewinds[1].cost}):\n    {found.rewinds[1].command}\n" in said


def test_another_seed_differs_in_the_initial_weights(runs: Runs) -> None:
    found = compared(runs.base(), runs.make("seed", "--seed", 12))
    assert (found.moment, found.weights, found.cause) == (None, 0, "start")
    assert "solver.random_seed" in names(found.settings)
    assert compare_command(runs.base(), runs.home / "seed").stdout.startswith("different from the first iteration")


@pytest.fixture(scope="module")
def other_image(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A copy of the data with another image in one record."""
    home = tmp_path_factory.mktemp("other")
    images, labels = digits(RECORDS, 1)
    images[OTHER] = 255 - images[OTHER]
    write_lmdb(home / "train", images, labels)
    shutil.copytree(digit_data / "test", home / "test")
    return home


def test_another_image_is_found_in_its_batch(runs: Runs, other_image: Path) -> None:
    found = compared(runs.base(), runs.make("image", "--watch", "10:14", data=other_image))
    assert (found.moment, found.weights, found.cause) == (OTHER // BATCH, OTHER // BATCH + 1, "data")
    assert same(found) == {"input": False, "loss": False, "gradient": False, "lr": True, "update": False}
    image = found.arrays[0]
    assert (image.kind, image.label, image.index[0]) == ("input", "data", OTHER % BATCH)
    assert (image.blobs, image.compared) == (1, 2)  # data and label
    assert found.key is None
    without = compared(runs.base(), runs.make("image, no window", data=other_image))
    assert (without.moment, without.cause) == (OTHER // BATCH, "data or forward")


def test_at_learning_rate_0_only_the_losses_differ(runs: Runs, other_image: Path) -> None:
    one = runs.make("still", "--watch", "10:14", base_lr=0)
    two = runs.make("still, other image", "--watch", "10:14", base_lr=0, data=other_image)
    found = compared(one, two)
    assert found.weights is None
    assert not found.identical
    assert (found.moment, found.cause) == (OTHER // BATCH, "data")
    assert {v.iteration for v in found.values} == {OTHER // BATCH}
    assert found.values[0].name == "loss"
    stdout = compare_command(one, two).stdout
    assert stdout.startswith(f"same weights throughout, different data or losses from iteration {OTHER // BATCH}: ")


def test_another_key_is_reported_with_its_position(runs: Runs, digit_data: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        shutil.copytree(digit_data / name, tmp_path / name)
    with lmdb.open(str(tmp_path / "train")) as environment, environment.begin(write=True) as transaction:
        assert transaction.delete(b"%08d_img%d.png" % (OTHER, OTHER))
    other = runs.make("key", "--watch", "10:14", data=tmp_path)
    found = compared(runs.base(), other)
    assert (found.moment, found.cause) == (OTHER // BATCH, "data")
    assert found.key is not None
    assert (found.key.iteration, found.key.position) == (OTHER // BATCH, OTHER % BATCH)
    assert (found.key.a, found.key.b) == (b"00000092_img92.png", b"00000093_img93.png")
    assert found.key.count == BATCH - OTHER % BATCH
    assert "First different record: iteration 11" in compare_command(runs.base(), other).stdout


def test_a_resumed_run_is_compared_from_its_start(runs: Runs) -> None:
    resume = ("--resume", runs.base() / "snapshots/s_iter_8.solverstate")
    found = compared(runs.base(), runs.make("child", *resume))
    assert found.identical
    assert found.common == Extent(8, ITERATIONS - 1, ITERATIONS - 8)
    # Caffe itself restores the weights, but begins again at the first record (BVLC/caffe#1059)
    as_caffe = runs.make("child as caffe", *resume, "--data", "caffe", "--watch", "8:10")
    found = compared(runs.make("watched", "--watch", "8:10"), as_caffe)
    assert (found.moment, found.weights, found.cause) == (8, 9, "data")
    assert found.arrays[0].kind == "input"


def test_runs_without_common_iterations_are_reported(runs: Runs) -> None:
    child = runs.make("late child", "--resume", runs.base() / "snapshots/s_iter_8.solverstate")
    early = runs.make("early", "--until", 4)
    done = compare_command(early, child)
    assert done.code == 0
    assert done.stdout.splitlines()[0] == ("nothing to compare: no iteration was recorded by both (A 0…3, B 8…15)")


def test_a_bit_planted_in_a_gradient_is_located(runs: Runs, tmp_path: Path) -> None:
    """One element of one gradient, and of the weights after it, is changed in a copy of the file."""
    shutil.copytree(runs.base(), tmp_path / "planted")
    with h5py.File(tmp_path / "planted/recording.h5", "r+") as file:
        row = list(file["window/iteration"]).index(12)
        gradient = file["window/gradient/conv1/3x3/0"]
        value = gradient[row]
        value[3, 0, 1, 2] = np.nextafter(value[3, 0, 1, 2], np.float32(9))
        gradient[row] = value
        file["window/weight/conv1/3x3/0"][row + 1, 5, 0, 0, 0] = np.float32(np.nan)
        file["digest"][13] = 1
        for name in ("window/gradient/conv1/3x3/0", "window/weight/conv1/3x3/0", *SCALARS):
            del file[name].attrs["checksum_column"]  # or the changes would be found to be damage
    found = compared(runs.base(), tmp_path / "planted")
    assert (found.moment, found.weights, found.cause) == (12, 13, "backward")
    gradient_, weight = found.arrays
    assert (gradient_.label, gradient_.index, gradient_.elements) == ("conv1/3x3/0", (3, 0, 1, 2), 1)
    assert (weight.label, weight.index, weight.largest) == ("conv1/3x3/0", (5, 0, 0, 0), np.inf)
    assert "conv1/3x3/0[3, 0, 1, 2]" in compare_command(runs.base(), tmp_path / "planted").stdout


def test_the_weights_at_the_end_are_compared_too(runs: Runs) -> None:
    found = compared(runs.make("one", "--until", 1), runs.make("one, other rate", "--until", 1, base_lr=0.02))
    assert (found.moment, found.weights) == (0, 1)
    assert "(the final weights)" in compare_command(runs.home / "one", runs.home / "one, other rate").stdout


# -- settings ---------------------------------------------------------------------------------------------------------


# -- bad input --------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_clear_error(runs: Runs, tmp_path: Path) -> None:
    def refused(path: Path, *says: str) -> None:
        done = compare_command(runs.base(), path)
        assert done.code == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        for text in says:
            assert text in done.stderr

    refused(tmp_path / "none", "none: no such recording")
    shutil.copytree(runs.base(), tmp_path / "cut")
    whole = (tmp_path / "cut/recording.h5").read_bytes()
    (tmp_path / "cut/recording.h5").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut", "cut/recording.h5: truncated or damaged")
    (tmp_path / "cut/recording.h5").write_bytes(whole)
    (tmp_path / "cut/run.json").write_text('{"solver": ')
    refused(tmp_path / "cut", "cut/run.json: damaged")
    (tmp_path / "cut/run.json").unlink()
    refused(tmp_path / "cut", "cut/run.json: cannot be read (No such file")


def test_compare_works_as_a_module_from_any_directory(runs: Runs, tmp_path: Path) -> None:
    arguments = ("-m", "harness.compare", runs.base(), runs.base())
    done = command(BIN / "python", *arguments, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    assert done.code == 0
    assert done.stdout.startswith("identical: ")
    assert "Exit codes: 0 compared" in compare_command("--help").stdout
