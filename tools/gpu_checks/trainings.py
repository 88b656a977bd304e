"""The trainings that checks compare, each made when a check first needs it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from harness.diagnosis.compare import compare
from harness.diagnosis.comparison import Comparison
from harness.recording import Recording
from harness.recording.run_directory import read_info
from tools.gpu_checks.nets import Net, edit_solver
from tools.gpu_checks.place import Place
from tools.gpu_checks.results import Unexpected


def solver_of(place: Place, net: Net) -> Path:
    """Return the solver file of `net`, which ends at its last iteration and takes a snapshot in the middle."""
    home = place.home / net.name
    done = home / "written"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        ends = {"max_iter": net.iterations, "snapshot": net.middle, "snapshot_after_train": True}
        path = edit_solver(net.write(home), snapshot_prefix=str(home / "native"), **ends)
        done.write_text(str(path))
    return Path(done.read_text())


def recorded(place: Place, net: Net, name: str = "first") -> Path:
    """Return the run directory of a training under the harness, with a window; `name` tells equal ones apart."""
    solver, run = solver_of(place, net), place.home / net.name / name
    if not run.exists():
        options = (*place.device, "--watch", str(net.window), "--on-alarm", "continue", "--out", str(run))
        place.python("harness/run.py", "--solver", solver, *options)
    return _finished(run)


def resumed(place: Place, net: Net) -> Path:
    """Return the run directory of a restart from the snapshot of the first training."""
    first, run = recorded(place, net), place.home / net.name / "resumed"
    if not run.exists():
        place.python("harness/restart.py", first, "--from", str(net.middle), "--on-alarm", "continue", "--out", run)
    return _finished(run)


def native(place: Place, net: Net, name: str) -> Path:
    """Return the caffemodel that `caffe train` writes at the end; `name` tells equal trainings apart."""
    home = place.home / net.name
    model = home / f"{name}_iter_{net.iterations}.caffemodel"
    if not model.exists():
        solver = home / f"{name}.prototxt"
        shutil.copy(solver_of(place, net), solver)
        edit_solver(solver, snapshot_prefix=str(home / name))
        gpu = () if place.gpu is None else (f"--gpu={place.gpu}",)
        place.run(caffe_program(), "train", f"--solver={solver}", *gpu)
    return model


def caffe_program() -> Path:
    """Return Caffe's own program: beside this Python, else the one on the PATH.

    Raises:
        Unexpected: there is none.
    """
    beside = Path(sys.executable).with_name("caffe")
    found = str(beside) if beside.is_file() else shutil.which("caffe")
    if found is None:
        raise Unexpected(f"there is no program `caffe`, neither as {beside} nor on the PATH")
    return Path(found)


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare what two runs recorded, bit for bit."""
    with Recording(first) as a, Recording(second) as b:
        return compare(a, b, read_info(first), read_info(second), ())


def repeats_its_bits(place: Place, net: Net) -> bool:
    """Check whether two trainings under the harness have the same bits."""
    return compare_runs(recorded(place, net), recorded(place, net, "second")).identical


def _finished(run: Path) -> Path:
    """Return `run`.

    Raises:
        Unexpected: an earlier check has tried to make it, and it did not end well.
    """
    ended = read_info(run).ended
    if ended is None or ended.code != 0:
        raise Unexpected(f"the training {run.parent.name}/{run.name} did not end well, see an earlier check")
    return run
