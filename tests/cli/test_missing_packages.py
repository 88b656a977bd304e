"""What is not installed: without the packages one line says what to do; without Caffe, logs and recordings are read."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from harness.__main__ import COMMANDS
from tests.helpers.commands import train
from tests.helpers.paths import CASE, ROOT
from tests.helpers.processes import Finished, command

BARE = Path(os.path.realpath(sys.executable))  # of no environment
SITE = Path(sysconfig.get_path("platlib"))


@pytest.mark.parametrize("arguments", [(), ("x", "--bad")])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_python_without_the_packages_is_told_in_one_line(
    name: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    file = ROOT / f"harness/{name.replace('-', '_')}.py"
    done = command(BARE, "-S", "-E", file, *arguments, cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: this Python ({BARE}) has no package ")
    assert f"Use {ROOT}/.venv/bin/caffe-harness" in line
    assert f"source {ROOT}/.venv/bin/activate" in line


def test_so_is_the_module_and_a_checkout_without_an_environment(tmp_path: Path) -> None:
    for arguments in ((), ("--help",), ("run",)):
        done = command(BARE, "-S", "-E", "-m", "harness", *arguments, cwd=ROOT)
        assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/setup").touch()
    (tmp_path / "harness").symlink_to(ROOT / "harness")
    program = f"import sys; sys.path.insert(0, '{tmp_path}'); import harness; harness.__path__ = ['{tmp_path}/harness']"
    resolve = "import pathlib; pathlib.Path.resolve = pathlib.Path.absolute"
    done = command(
        BARE, "-S", "-c", f"{resolve}; {program}; from harness.dispatch import start; sys.exit(start('run', []))"
    )
    assert done.code == 2
    assert f"Run {tmp_path}/tools/setup, then use {tmp_path}/.venv/bin/caffe-harness" in done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed packages, without Caffe."""
    site = tmp_path_factory.mktemp("site")
    for path in SITE.iterdir():
        if not path.name.startswith("caffe") and path.suffix != ".pth":
            (site / path.name).symlink_to(path)
    return site


def without_caffe(site: Path, name: str, *arguments: object) -> Finished:
    file = ROOT / f"harness/{name}.py"
    return command(BARE, "-S", file, *arguments, env={"PYTHONPATH": str(site)})


def test_readlog_reads_a_log_without_caffe(site: Path, tmp_path: Path) -> None:
    assert without_caffe(site, "readlog", "--help").code == 0
    with_it = command(sys.executable, ROOT / "harness/readlog.py", CASE, "--json")
    done = without_caffe(site, "readlog", CASE, "--json", "--plot", tmp_path / "log.png")
    assert (done.code, done.stderr) == (0, "")
    found, expected = json.loads(done.stdout), json.loads(with_it.stdout)
    assert {k: v for k, v in found.items() if k not in ("commands", "findings", "runs")} == {
        k: v for k, v in expected.items() if k not in ("commands", "findings", "runs")
    }
    assert (tmp_path / "log.png").is_file()
    solver = ROOT / "prototxt/glyphs280/quick_solver.prototxt"
    assert without_caffe(site, "readlog", CASE, "--solver", solver).code == 0


def test_a_run_is_read_without_caffe_but_not_trained(site: Path, small: Path) -> None:
    run = train(small / "solver.prototxt", small / "run", "--until", 8, "--watch", "5:8").run
    for name, arguments in (("compare", (run, run)), ("readlog", (run,)), ("report", (run,))):
        done = without_caffe(site, name, *arguments)
        assert done.code == 0, done.stderr
    assert "the caffe package is not installed for this Python" in (run / "report.html").read_text()
    done = without_caffe(site, "run", "--solver", small / "solver.prototxt", "--out", small / "other")
    assert done.code == 2
    assert done.stderr == f"error: the caffe package is not installed for this Python. Run {ROOT}/tools/setup\n"
    assert not (small / "other").exists()
