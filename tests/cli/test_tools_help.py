"""`--help` of every tool prints help and does nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import command

SCRIPTS = [path for path in sorted((ROOT / "tools").iterdir()) if path.is_file() and path.read_bytes()[:2] == b"#!"]
MODULES = [
    path
    for folder in ("tools", "prototxt")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if re.search(r'^if __name__ == "__main__":$', path.read_text(), re.MULTILINE)
]

# in one process: what they import takes a second
HELP = """
import runpy, sys
for path in (modules := sys.argv[1:]):
    print(end="\\f")
    sys.argv = [path, "--help"]
    sys.path[0] = path.rpartition("/")[0] if "/prototxt/" in path else ""
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert not end.code, path
"""


def changed() -> str:
    return subprocess.run(["git", "status", "--short"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts(script: Path, option: str) -> None:
    done = command(script, option, timeout=5)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: tools/{script.name} ")


def test_the_demo_refuses_what_it_does_not_know() -> None:
    for arguments in (("--fast",), ("runs/a", "runs/b")):
        done = command(ROOT / "tools/demo", *arguments, timeout=5)
        assert done.code == 2
        assert arguments[0] in done.stderr
    assert not (ROOT / "--fast").exists()


def test_modules() -> None:
    assert len(MODULES) > 15
    before = changed()
    done = command(sys.executable, "-c", HELP, *MODULES, timeout=120)
    assert (done.code, done.stderr) == (0, "")
    shown = done.stdout.split("\f")[1:]
    assert len(shown) == len(MODULES)
    for path, text in zip(MODULES, shown, strict=True):
        assert "usage" in text.lower() or path.stem in text, path
    assert changed() == before
