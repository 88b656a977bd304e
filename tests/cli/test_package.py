"""The installed package: `pip install .` into a new environment, the editable install, and `caffe-harness`."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

import harness
from harness.__main__ import COMMANDS
from tests.helpers.commands import train
from tests.helpers.paths import BIN, LOGS, ROOT
from tests.helpers.processes import PATIENCE, Finished, command

SITE = Path(sysconfig.get_path("platlib"))
COMPILED = {"harness/worker/probes/_moments.so", "harness/prefetch/_shuffle.so"}


@dataclass(frozen=True)
class Environment:
    """A virtual environment with a copy of the harness, and the packages that it needs."""

    home: Path

    def python(self, *arguments: object, cwd: Path) -> Finished:
        return command("env", "-i", self.home / "bin/python", *arguments, cwd=cwd)

    def harness(self, *arguments: object, cwd: Path) -> Finished:
        return command("env", "-i", self.home / "bin/caffe-harness", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment into which `pip install .` has put the harness, without looking at an index."""
    home = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=PATIENCE)
    # In a directory that a .pth file names, .pth files have no effect: neither has that of the editable harness.
    (home / f"lib/python3.{sys.version_info.minor}/site-packages/dependencies.pth").write_text(f"{SITE}\n")
    pip = [sys.executable, "-m", "pip", "--python", home / "bin/python"]
    done = command(*pip, "install", "--no-deps", "--no-index", "--no-build-isolation", ROOT, cwd=home)
    assert done.code == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return Environment(home)


def test_pip_installs_every_module_and_what_they_read(installed: Environment, tmp_path: Path) -> None:
    done = installed.python("-c", "import harness; print(harness.__file__)", cwd=tmp_path)
    package = Path(done.stdout.strip()).parent
    assert package.is_relative_to(installed.home), done.stderr

    def files(root: Path) -> set[str]:
        found = (path for path in (root / "harness").rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix() for path in found if "__pycache__" not in path.parts}

    assert files(package.parent) == files(ROOT) - {"harness/worker/probes/_moments.ptx"} | COMPILED


def test_the_version_is_written_in_one_place(installed: Environment, tmp_path: Path) -> None:
    assert importlib.metadata.version("caffe-harness") == harness.__version__
    said = installed.harness("--version", cwd=tmp_path)
    assert said.code == 0, said.stderr
    ours, caffe = said.stdout.splitlines()
    assert ours == f"caffe-harness {harness.__version__}"
    build = json.loads((SITE / "caffe/build.json").read_text())
    assert caffe == f"Caffe {build['version']} (build {build['key']}, device {build['device']}, {SITE}/caffe)"


def test_an_installed_harness_trains_compares_and_reports(
    installed: Environment, small: Path, tmp_path: Path, one_blas_thread: None
) -> None:
    """And to the same bits as `python harness/run.py` in the checkout."""
    solver = small / "solver.prototxt"
    train(solver, tmp_path / "checkout", "--until", 20)
    options = ("--solver", solver, "--until", 20, "--out", "copy")
    done = command(installed.home / "bin/caffe-harness", "run", *options, cwd=tmp_path)
    assert done.code == 0, done.stderr
    done = installed.harness("compare", "checkout", "copy", cwd=tmp_path)
    assert done.stdout.startswith("identical"), done.stdout + done.stderr
    done = installed.harness("report", "copy", cwd=tmp_path)
    assert done.stdout == "copy/report.html\n", done.stderr
    done = installed.harness("readlog", LOGS / "case.log", cwd=tmp_path)
    assert "caffe-harness run --solver SOLVER.prototxt --watch 118900:119100" in done.stdout
    done = installed.harness("readlog", LOGS / "case.log", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["verdict"] == "uniform-softmax"


def test_without_caffe_the_remedy_is_named() -> None:
    program = "import sys; sys.modules['caffe'] = None; from harness.__main__ import main; sys.exit(main(sys.argv[1:]))"
    for arguments in (("run", "--solver", ROOT / "prototxt/glyphs280/quick_solver.prototxt"), ("restart", "nowhere")):
        done = command(sys.executable, "-c", program, *arguments)
        assert done.code == 2
        assert done.stderr == f"error: the caffe package is not installed for this Python. Run {ROOT}/tools/setup\n"
    done = command(sys.executable, "-c", program, "--version")
    assert done.code == 0
    remedy = f"Run {ROOT}/tools/setup"
    assert done.stdout.splitlines()[1] == f"Caffe: the caffe package is not installed for this Python. {remedy}"


# How a command is started, and what it calls itself


@pytest.mark.parametrize("name", COMMANDS)
def test_usage_names_the_command_as_it_was_started(name: str, tmp_path: Path) -> None:
    module = name.replace("-", "_")
    for start, called in (
        ((BIN / "caffe-harness", name), f"caffe-harness {name}"),
        ((sys.executable, "-m", "harness", name), f"caffe-harness {name}"),
        ((sys.executable, "-m", f"harness.{module}"), f"harness/{module}.py"),
        ((sys.executable, ROOT / f"harness/{module}.py"), f"harness/{module}.py"),
    ):
        done = command("env", "-i", *start, "--help", cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert f"Usage: {called} " in done.stdout
        other = "python harness/" if called.startswith("caffe") else "caffe-harness"
        assert other not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"), [((), "COMMAND"), (("fast",), "invalid choice: 'fast' (choose from 'run', 'restart'")]
)
def test_without_a_command_the_commands_are_listed(arguments: tuple[str, ...], message: str) -> None:
    done = command(BIN / "caffe-harness", *arguments)
    assert done.code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_an_interrupt_while_a_command_is_imported_ends_it_in_order() -> None:
    """SIGINT, sent where `harness.readlog` is looked up."""
    program = """
import signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "harness.readlog":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from harness.__main__ import main
sys.exit(main(["readlog", "--help"]))
"""
    done = command(sys.executable, "-c", program)
    assert (done.code, done.stderr) == (130, "")


def test_bash_completes_commands_options_choices_and_files(tmp_path: Path) -> None:
    (tmp_path / "quick_solver.prototxt").touch()
    (tmp_path / "runs/demo").mkdir(parents=True)
    tries = {
        ("re",): "restart rescue rewind readlog report",
        ("ex",): "explain",
        ("run", "--so"): "--solver",
        ("run", "--solver", "qu"): "quick_solver.prototxt",
        ("run", "--resume", "qu"): "quick_solver.prototxt",
        ("run", "--data", ""): "exact caffe",
        ("restart", "runs/d"): "runs/demo",
        ("restart", "runs/demo", "--set-"): "--set-layer",
        ("restart", "runs/demo", "--history", "re"): "rescale reset",
        ("compare", "runs/demo", "runs/d"): "runs/demo",
        ("report", "runs/d"): "runs/demo",
        ("readlog", "qu"): "quick_solver.prototxt",
        ("readlog", "quick_solver.prototxt", "--cl"): "--classes",
        ("make-lmdb", "ru"): "runs",
        ("make-lmdb", "--test-s"): "--test-share",
    }
    script = """
source <(caffe-harness --print-completion bash)
complete -p caffe-harness >&2
try() {
  COMP_WORDS=(caffe-harness "$@") COMP_CWORD=$# COMPREPLY=()
  _shtab_caffe_harness
  echo "${COMPREPLY[*]}"
}
"""
    script += "".join(f"try {shlex.join(words)}\n" for words in tries)
    done = command("bash", "-c", script, cwd=tmp_path, env={"PATH": f"{BIN}:/usr/bin:/bin"})
    assert "_shtab_caffe_harness caffe-harness" in done.stderr
    assert done.stdout.splitlines() == list(tries.values())


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_get_a_script_with_every_command(shell: str) -> None:
    done = command(BIN / "caffe-harness", "--print-completion", shell)
    assert done.code == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_a_checkout_runs_its_own_modules_whatever_is_installed(tmp_path: Path) -> None:
    """Not those of the editable harness of this environment; nor does it need one."""
    tree = tmp_path / "checkout/harness"
    shutil.copytree(ROOT / "harness", tree, ignore=shutil.ignore_patterns("__pycache__"))
    text = (tree / "invocation.py").read_text()
    (tree / "invocation.py").write_text(text.replace('f"harness/{file}"', 'f"this-checkout/{file}"'))
    done = command(sys.executable, tree / "run.py", "--help", cwd=tmp_path)
    assert done.stdout.startswith("Usage: this-checkout/run.py "), done.stderr
    assert "this-checkout" not in command(sys.executable, ROOT / "harness/run.py", "--help", cwd=tmp_path).stdout
