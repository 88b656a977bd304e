"""What the tests share: small real data sets and nets, the real `caffe train`, the harness as a user starts it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import pytest

from harness.caffe_files.messages import pb

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
# the user's, in which tools/setup has left Caffe's source; the tests have one of their own
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe-harness"


@dataclass(frozen=True)
class Finished:
    """A command that has come to its end."""

    code: int
    stdout: str
    stderr: str


def command(*arguments: object, cwd: Path = ROOT, timeout: float = 300, **environment: str) -> Finished:
    """Run a command to its end."""
    done = subprocess.run(
        [str(a) for a in arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=dict(os.environ) | environment,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def run_harness(*arguments: object, cwd: Path = ROOT, timeout: float = 300, **environment: str) -> Finished:
    """`python harness/run.py` with `arguments`."""
    return command(sys.executable, ROOT / "harness/run.py", *arguments, cwd=cwd, timeout=timeout, **environment)


def restart(*arguments: object, cwd: Path = ROOT, timeout: float = 300) -> Finished:
    """`python harness/restart.py` with `arguments`."""
    return command(sys.executable, ROOT / "harness/restart.py", *arguments, cwd=cwd, timeout=timeout)


def caffe_train(solver: Path, *arguments: object, cwd: Path = ROOT) -> str:
    """The log of a plain `caffe train` that must succeed."""
    done = command(BIN / "caffe", "train", f"--solver={solver}", *arguments, cwd=cwd)
    assert done.code == 0, done.stderr[-2000:]
    return done.stderr


def write_lmdb(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """An LMDB of raw datums: `images` uint8 (n, channels, height, width), `labels` (n,), keys as convert_imageset's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(path), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            channels, height, width = image.shape
            datum = pb.Datum(channels=channels, height=height, width=width, data=image.tobytes(), label=int(label))
            transaction.put(f"{number:08d}_img{number}.png".encode(), datum.SerializeToString())
    return path


CLASSES, SIDE, RECORDS = 5, 12, 203  # 203 records: no batch size divides them, so batches wrap around


def digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Learnable noise: class k has a bright block at place k. uint8 (count, 1, SIDE, SIDE), labels (count,)."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    images = random.integers(0, 120, (count, 1, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * label : 2 * label + 3, 3:9] += 130
    return images.astype(np.uint8), labels


# The files that take longest, longest first: whoever is through with one takes the next, and no core idles at the end.
# The first makes what `demo` and `rescues` give; the files that wait for those begin when they are there.
LONGEST = (
    "test_collapse.py",
    "test_resume.py",
    "test_death.py",
    "test_alarms.py",
    "test_report.py",
    "test_notebooks.py",
    "test_observing.py",
    "test_bench.py",
    "test_compare.py",
    "test_readlog_command.py",
    "test_many_resumes.py",
    "test_predictions.py",
    "test_make_lmdb_work.py",
    "test_make_lmdb.py",
    "test_make_lmdb_images.py",
    "test_full_size.py",
    "test_tensorboard.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))  # stable: within a file, and of others, as it was


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A path at which `make` has made something, once for all workers of pytest-xdist: the others wait for the first.

    Nobody may change what lies there.
    """
    home = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # the workers' own directories lie beside each other
    home /= "shared"
    home.mkdir(exist_ok=True)
    path, done = home / name, home / f"{name}.done"
    with (home / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)  # of a worker that failed: the same error comes again
            make(path)
            done.touch()
    return path


@pytest.fixture(scope="session", autouse=True)
def _no_trace_in_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Scans of the tests' LMDBs go elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def one_blas_thread() -> Iterator[None]:
    """For tests of many short runs: on a busy machine more threads wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def glyph_data() -> Path:
    """The data of prototxt/glyphs280, made where they are not there yet."""
    done = command(sys.executable, ROOT / "prototxt/glyphs280/make_data.py")
    assert done.code == 0, done.stderr
    return ROOT / "prototxt/glyphs280/data"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of `tools/demo`, the same for all tests. It is only read."""

    def make(run: Path) -> None:
        done = command(ROOT / "tools/demo", run, timeout=600)
        assert done.code == 0, done.stderr
        assert str(run / "report.html") in done.stderr

    return made_once(tmp_path_factory, "demo", make)


RESCUES = {"base_lr=0.0005": "slower", "clip_gradients=10": "clipped"}
RESCUED = 1100  # where they end: by then, the demo has known nothing for 250 iterations


@pytest.fixture(scope="session")
def rescues(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> dict[str, Path]:
    """Restarts of the demo beside it, by what was changed: what they said is in `NAME.said`. They are only read."""

    def make(change: str) -> Callable[[Path], None]:
        def make_restart(run: Path) -> None:
            done = restart(demo, "--set", change, "--until", RESCUED, "--out", run)
            assert done.code == 0, done.stderr
            run.with_name(f"{run.name}.said").write_text(done.stderr)

        return make_restart

    return {change: made_once(tmp_path_factory, name, make(change)) for change, name in RESCUES.items()}


@pytest.fixture(scope="session")
def digit_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `train` and `test` LMDBs of small grey images."""
    home = tmp_path_factory.mktemp("digits")
    write_lmdb(home / "train", *digits(RECORDS, 1))
    write_lmdb(home / "test", *digits(70, 2))
    return home


def data_layer(source: Path, phase: str, batch: int, transform: str) -> str:
    return f"""
layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ scale: 0.0078125 {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""


def small_net(data: Path, *, batch: int = 8, transform: str = "mirror: true crop_size: 10", extra: str = "") -> str:
    """A net with what makes Caffe draw and share: mirror, crop, dropout, a shared param, a frozen layer, two losses.

    `conv2/a` and `conv2/b` share their weights; `frozen` never learns.
    """
    return f"""name: "small"
{data_layer(data / "train", "TRAIN", batch, transform)}
{data_layer(data / "test", "TEST", 7, transform.replace("mirror: true", ""))}
layer {{ name: "conv1/3x3" type: "Convolution" bottom: "data" top: "conv1/3x3"
  param {{ lr_mult: 1 decay_mult: 1 }} param {{ lr_mult: 2 decay_mult: 0 }}
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1/3x3" top: "conv1/3x3" }}
layer {{ name: "frozen" type: "Convolution" bottom: "conv1/3x3" top: "frozen"
  param {{ lr_mult: 0 decay_mult: 0 }} param {{ lr_mult: 0 decay_mult: 0 }}
  convolution_param {{ num_output: 6 kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "conv2/a" type: "Convolution" bottom: "frozen" top: "conv2/a"
  param {{ name: "shared_w" lr_mult: 1 }} param {{ name: "shared_b" lr_mult: 2 decay_mult: 0 }}
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "relu2" type: "ReLU" bottom: "conv2/a" top: "conv2/a" }}
layer {{ name: "conv2/b" type: "Convolution" bottom: "conv2/a" top: "conv2/b"
  param {{ name: "shared_w" }} param {{ name: "shared_b" }}
  convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "drop" type: "Dropout" bottom: "conv2/b" top: "conv2/b" dropout_param {{ dropout_ratio: 0.3 }} }}
layer {{ name: "loss1/classifier" type: "InnerProduct" bottom: "frozen" top: "loss1/classifier"
  inner_product_param {{ num_output: {CLASSES} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss1/loss1" type: "SoftmaxWithLoss" bottom: "loss1/classifier" bottom: "label" top: "loss1/loss1"
  loss_weight: 0.3 }}
layer {{ name: "loss3/classifier" type: "InnerProduct" bottom: "conv2/b" top: "loss3/classifier"
  inner_product_param {{ num_output: {CLASSES} weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss3/loss3" type: "SoftmaxWithLoss" bottom: "loss3/classifier" bottom: "label" top: "loss3/loss3" }}
layer {{ name: "loss3/top-1" type: "Accuracy" bottom: "loss3/classifier" bottom: "label" top: "loss3/top-1"
  include {{ phase: TEST }} }}
{extra}
"""


def solver_text(net_file: Path, prefix: Path, **fields: object) -> str:
    """A solver for `net_file`; `fields` replace or add to these, None leaves one out."""
    values: dict[str, object] = {
        "net": f'"{net_file}"',
        "base_lr": 0.01,
        "lr_policy": '"poly"',
        "power": 0.5,
        "max_iter": 60,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "display": 7,
        "average_loss": 5,
        "test_iter": 3,
        "test_interval": 20,
        "snapshot": 25,
        "snapshot_prefix": f'"{prefix}"',
        "random_seed": 11,
        "solver_mode": "CPU",
    } | fields
    return "".join(f"{name}: {value}\n" for name, value in values.items() if value is not None)


@pytest.fixture
def small(tmp_path: Path, digit_data: Path) -> Path:
    """A folder with `net.prototxt` and `solver.prototxt`, 60 iterations of the small net."""
    (tmp_path / "net.prototxt").write_text(small_net(digit_data))
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "native"))
    return tmp_path
