"""Fixtures of all tests: small data sets and solvers, and the run of the demo."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import restart
from tests.helpers.demo_runs import RESCUED, RESCUES
from tests.helpers.lineages import write_lineage
from tests.helpers.lmdbs import RECORDS, digits, write_lmdb
from tests.helpers.made_once import made_once
from tests.helpers.net_matrix.data import write_data
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import ROOT
from tests.helpers.processes import command

HERE = Path(__file__).parent

# The slowest files, slowest first: a worker that has finished one takes the next, so that all finish together.
# The first makes `demo` and `rescues`, for which other files wait.
LONGEST = (
    "integration/test_demo.py",
    "integration/test_resume.py",
    "integration/test_crashes.py",
    "integration/test_net_matrix_sources.py",
    "integration/test_net_matrix_odd.py",
    "integration/test_net_matrix_losses.py",
    "integration/test_net_matrix_layers.py",
    "browser/test_report.py",
    "integration/test_alarms.py",
    "integration/test_notebooks.py",
    "integration/test_verification.py",
    "integration/test_hdf5_data.py",
    "integration/test_same_as_caffe.py",
    "cli/test_bench.py",
    "integration/test_display.py",
    "integration/test_run_directories.py",
    "integration/test_rewind.py",
    "integration/test_restart.py",
    "integration/test_kills.py",
    "integration/test_capsules.py",
    "integration/test_explain.py",
    "integration/test_compare.py",
    "integration/test_many_resumes.py",
    "cli/test_make_lmdb_work.py",
    "cli/test_make_lmdb.py",
    "cli/test_readlog.py",
    "integration/test_full_size.py",
    "integration/test_paired_inputs.py",
    "integration/test_image_data.py",
    "integration/test_tensorboard.py",
    "integration/test_skip_records.py",
    "integration/test_predictions.py",
    "integration/test_black_box.py",
)


def pytest_configure() -> None:
    """Handle interrupts and hangups as in a shell: `nohup` and a script's background job have them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: number for number, name in enumerate(LONGEST)}
    # stable: the order within a file, and of the other files, stays
    items.sort(key=lambda item: rank.get(item.path.relative_to(HERE).as_posix(), len(rank)))


@pytest.fixture(scope="session", autouse=True)
def _own_cache_and_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep scans of the LMDBs of tests out of the user's cache, and logs of `caffe train` out of the system's /tmp.

    There, each resume of a snapshot of Caffe would read the logs of all tests of all sessions.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GLOG_log_dir", str(tmp_path_factory.mktemp("glog")))
        yield


@pytest.fixture(scope="module")
def one_blas_thread() -> Iterator[None]:
    """Run with one BLAS thread: in many short runs on a busy machine, more threads wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def glyph_data() -> Path:
    """The data of prototxt/glyphs280, made if they are not there yet."""
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


@pytest.fixture(scope="session")
def rescues(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> dict[str, Path]:
    """Restarts of the demo next to it, by their change; their output is in `NAME.stderr`. They are only read."""

    def make(change: str) -> Callable[[Path], None]:
        def make_restart(run: Path) -> None:
            done = restart(demo, "--set", change, "--until", RESCUED, "--out", run)
            run.with_name(f"{run.name}.stderr").write_text(done.stderr)

        return make_restart

    return {change: made_once(tmp_path_factory, name, make(change)) for change, name in RESCUES.items()}


@pytest.fixture(scope="session")
def digit_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `train` and `test` LMDBs of small grey images."""
    home = tmp_path_factory.mktemp("digits")
    write_lmdb(home / "train", *digits(RECORDS, 1))
    write_lmdb(home / "test", *digits(70, 2))
    return home


@pytest.fixture(scope="session")
def lineage(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """The last of four runs, each restarted from the one before; see `write_lineage`. They are only read."""
    home = made_once(tmp_path_factory, "lineage", lambda path: write_lineage(path, digit_data))
    return home / "study/3"


@pytest.fixture(scope="session")
def matrix_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the nets of tests/helpers/net_matrix read."""
    return write_data(tmp_path_factory.mktemp("matrix"))


@pytest.fixture
def small(tmp_path: Path, digit_data: Path) -> Path:
    """A folder with `net.prototxt` and `solver.prototxt`: 60 iterations of the small net."""
    (tmp_path / "net.prototxt").write_text(small_net(digit_data))
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "native"))
    return tmp_path
