"""The imports of each command: it imports nothing that it does not use."""

from __future__ import annotations

import re
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import Finished, command

HEAVY = {"caffe", "cv2", "jinja2", "matplotlib", "plotly", "scipy", "skimage", "tensorboardX"}


def imported(done: Finished) -> set[str]:
    """Top-level names of the modules that were imported under `-X importtime`."""
    assert done.code == 0, done.stderr[-2000:]
    return {name.split(".")[0] for name in re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE)}


@pytest.mark.parametrize(
    "arguments",
    [
        ("harness/run.py", "--help"),
        ("-m", "harness", "run", "--help"),
        ("harness/restart.py", "--help"),
        ("-c", "import harness.training_command"),
        ("harness/compare.py", "--help"),
        ("harness/readlog.py", ROOT / "tests/logs/case.log"),
    ],
)
def test_commands_that_draw_nothing_import_no_plotting_library(arguments: tuple[str, ...]) -> None:
    done = command(sys.executable, "-X", "importtime", *arguments)
    names = imported(done)
    assert "rich" in names
    assert not names & HEAVY


def test_the_worker_imports_caffe_io_only_when_it_is_used() -> None:
    program = """
import sys
import harness.worker.main, caffe
assert "skimage" not in sys.modules, "imported at once"
assert caffe.io.Transformer.__module__ == "caffe.io"
from caffe.io import array_to_datum, caffe_pb2
assert caffe_pb2 is sys.modules["caffe.proto.caffe_pb2"]
assert "skimage" in sys.modules, "not imported"
"""
    done = command(sys.executable, "-X", "importtime", "-c", program)
    assert {"caffe", "skimage"} <= imported(done)


@pytest.mark.parametrize(
    ("module", "loads"),
    [
        ("harness.worker.payload", False),
        ("harness.worker.pycaffe", False),
        ("harness.supervisor.session", False),
        ("harness.worker.rng", True),
    ],
)
def test_only_the_worker_loads_caffe(module: str, loads: bool) -> None:
    """The supervisor imports the worker's payload, and Caffe's library stays out of its memory."""
    program = f"""
import sys
from pathlib import Path
import {module}
assert "harness.worker" in sys.modules
print("caffe" in sys.modules, "_caffe" in Path("/proc/self/maps").read_text())
"""
    done = command(sys.executable, "-c", program)
    assert done.code == 0, done.stderr[-2000:]
    assert done.stdout.split() == [str(loads)] * 2


def test_importing_the_package_imports_nothing_else() -> None:
    """The worker imports it, too. Its public names are imported when they are used, with what they need."""
    program = """
import sys
import harness
assert not {name for name in sys.modules if name.startswith("harness.")}, "imported at once"
harness.read_log
print(*({"caffe", "h5py", "matplotlib"} & set(sys.modules)))
harness.diagnose
print(*({"caffe", "h5py", "matplotlib"} & set(sys.modules)))
"""
    done = command(sys.executable, "-c", program)
    assert done.code == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["", "h5py"]
