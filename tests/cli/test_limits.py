"""Limits of the system: names that are too long, files that may not be opened or not become large enough."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import RUN
from tests.helpers.nets import solver_text
from tests.helpers.paths import ROOT
from tests.helpers.processes import Finished, command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LONG = "x" * 300
DEEP = "/".join(["y" * 200] * 25)


def refused(done: Finished, *said: str) -> None:
    assert done.code == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    for part in said:
        assert part in done.stderr


def run(small: Path, *options: object, limits: str = "true") -> Finished:
    """Run the small net under a shell that has executed `limits`."""
    arguments = (sys.executable, RUN, "--solver", small / "solver.prototxt", "--out", small / "run", "--until", 3)
    return command("bash", "-c", f'{limits} && exec "$@"', "bash", *arguments, *options)


@pytest.mark.parametrize("out", [LONG, DEEP, "z" * 255 + "/run"])
def test_a_run_directory_with_a_long_name(small: Path, out: str) -> None:
    if len(out) < 300:
        (small / out).parent.mkdir()
        out = str(small / out)
        done = run(small, "--out", out)
        assert done.code == 0, done.stderr
    else:
        refused(run(small, "--out", out), "--out", "Give a shorter one")


@pytest.mark.parametrize("length", [220, 250, 256, 4000])
def test_a_long_snapshot_prefix(small: Path, length: int) -> None:
    """Up to the system's limit it works, and everything beyond is refused before anything starts."""
    (small / "solver.prototxt").write_text(
        solver_text(small / "net.prototxt", small / ("s" * length), max_iter=3, snapshot=2)
    )
    done = run(small)
    if length <= 220:
        assert done.code == 0, done.stderr
        assert list((small / "run/snapshots").glob("s*_iter_3.solverstate"))
    else:
        refused(done, "snapshot_prefix", "a name has at most 255", "Give a shorter one")
        assert not (small / "run").exists()


@pytest.mark.parametrize(
    ("name", "old"), [("solver.prototxt", "net.prototxt"), ("net.prototxt", "train"), ("net.prototxt", "test")]
)
def test_a_long_name_in_a_prototxt(small: Path, name: str, old: str) -> None:
    path = small / name
    path.write_text(path.read_text().replace(f'/{old}"', f'/{LONG}"'))
    refused(run(small), LONG, "no such")
    assert not (small / "run").exists()


@pytest.mark.parametrize("option", ["--solver", "--weights", "--resume", "--rules"])
def test_an_option_with_a_long_name(small: Path, option: str) -> None:
    refused(run(small, option, LONG), LONG)


@pytest.mark.parametrize(
    "arguments", [("restart.py", LONG), ("compare.py", LONG, LONG), ("report.py", DEEP), ("readlog.py", LONG)]
)
def test_a_run_with_a_long_name(arguments: tuple[str, ...]) -> None:
    done = command(sys.executable, ROOT / "harness" / arguments[0], *arguments[1:])
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "cannot be written" not in done.stderr
    assert done.code == 2


@pytest.mark.parametrize(("limit", "code"), [("-n 16", 2), ("-Sn 16", 0), ("-n 64", 0)])
def test_few_open_files(small: Path, limit: str, code: int) -> None:
    done = run(small, "--tensorboard", limits=f"ulimit {limit}")
    assert done.code == code, done.stderr
    if code == 2:
        refused(done, "ulimit -n", "only 16 files")
        assert not (small / "run").exists()


@pytest.mark.parametrize(
    ("limit", "options", "said"),
    [
        (100, (), "the ring buffer needs a file of 128 MiB"),
        (1000, ("--ring-mib", 1), "the ring buffer needs"),
        (8192, ("--ring-mib", 1), "the recording needs a file of"),
        (1 << 20, (), None),
    ],
)
def test_small_files_only(small: Path, limit: int, options: tuple[object, ...], said: str | None) -> None:
    done = run(small, *options, limits=f"ulimit -f {limit}")  # in KiB
    if said is None:
        assert done.code == 0, done.stderr
    else:
        assert done.code == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert said in done.stderr
        assert "ulimit -f unlimited" in done.stderr
        assert not (small / "run").exists()


def test_a_limit_of_file_sizes_that_comes_later_is_as_a_full_disk(small: Path) -> None:
    """It is set once the run has begun; what was recorded before stays."""
    (small / "solver.prototxt").write_text(
        solver_text(small / "net.prototxt", small / "x", max_iter=100_000, lr_policy='"fixed"', snapshot=0)
    )
    arguments = (sys.executable, RUN, "--solver", small / "solver.prototxt", "--out", small / "run")
    with subprocess.Popen(
        list(map(str, (*arguments, "--watch", "0:1000"))), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "Expected size" in line)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (12 << 20, 12 << 20))
        stderr = process.stderr.read()
        assert process.wait(120) == 1, stderr
    assert "Traceback" not in stderr
    assert "cannot write the recording any further" in stderr
    assert "File too large" in stderr
