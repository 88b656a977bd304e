"""The checks of each image."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

from tools.check_docker.engines import ROOT, Engine, say

_GLYPHS = "prototxt/glyphs280"
_CAPSULE = ROOT / "tests/fixtures/broken.capsule"
_DEMO = ("--solver", f"{_GLYPHS}/quick_solver.prototxt", "--weights", f"{_GLYPHS}/base.caffemodel")
_LIBRARIES = """
import json, subprocess
from pathlib import Path
import caffe
built = json.loads(Path(caffe.__file__).with_name("build.json").read_text())["libraries"]
here = subprocess.check_output(["dpkg-query", "-W", "-f", "${Version}\\n"], text=True).split()
missing = {name: version for name, version in built.items() if version not in here and "boost" not in name}
assert built and not missing, missing
"""
_NET = """\
name: "without a data layer's thread"
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 8 dim: 20 } shape { dim: 8 } data_filler { type: "gaussian" } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
_SOLVER = """\
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 30 display: 10
random_seed: 1 snapshot_prefix: "dummy"
"""


class Unexpected(Exception):
    """A container did something else than it should; the message says what."""


def check_cpu(engine: Engine) -> None:
    """Run the demo's first 100 iterations from a mounted directory, report them, interrupt a run, and stop a demo."""
    engine.build("cpu", "run", "docker/cpu/Dockerfile")
    say("docker run IMAGE")
    _expect("--watch A:B" in engine.run_entrypoint("cpu", "--help"), "the help does not name --watch")
    _expect("Caffe 1.0.0" in engine.run("cpu", "caffe-harness", "--version"), "caffe-harness does not find Caffe")

    say("100 iterations of the demo, and a report")
    work = engine.place.work
    engine.run("cpu", "cp", "-r", _GLYPHS, "/work/glyphs280")
    (work / "prototxt").mkdir()
    shutil.move(work / "glyphs280", work / "prototxt")
    engine.run_entrypoint("cpu", *_DEMO, "--until", "100", "--watch", "50:52")
    (run,) = (work / "runs").glob("quick_solver-*")
    engine.run("cpu", "caffe-harness", "report", f"/work/runs/{run.name}")
    _expect((run / "report.html").stat().st_size > 0, "the report is empty")
    owner = str((run / "recording.h5").stat().st_uid)
    _expect(owner == engine.place.user.partition(":")[0], f"the recording belongs to user {owner}")

    say("a capsule of another machine")
    shutil.copy(_CAPSULE, work / _CAPSULE.name)
    verdict = json.loads(engine.run("cpu", "caffe-harness", "capsule", "run", f"/work/{_CAPSULE.name}", "--json"))
    say(f"{verdict['verdict']}{''.join(f'; {reason}' for reason in verdict['reasons'])}")
    _expect(verdict["reproduced"], "the capsule did not break in the same way")

    say("Caffe runs with the libraries that it was built with")
    engine.run("cpu", "python", "-c", _LIBRARIES)

    say("an interrupt, a stop")
    run_py = ("python", "harness/run.py", *_DEMO, "--snapshot-every", "100000", "--out", "/work/runs/interrupted")
    for signal, name, command in (
        ("INT", "interrupted", run_py),
        ("TERM", "stopped", ("tools/demo", "/work/runs/stopped")),
    ):
        code = engine.interrupt(signal, "cpu", *command)
        _expect(code == 130, f"after SIG{signal} the exit code is {code}")
        _expect_snapshot(engine, name)


def check_notebooks(engine: Engine) -> None:
    """Start JupyterLab: it must refuse a visitor without the token, and show a notebook to one who has it."""
    engine.build("notebooks", "notebooks", "docker/cpu/Dockerfile")
    say("a visitor without the token, and one with it")
    # without an engine the container's addresses are this machine's
    server = ("jupyter", "lab", "--no-browser", "--ip=127.0.0.1")
    print(engine.run("notebooks", "python", "tools/visit_notebooks.py", *server), end="")


def check_gpu(engine: Engine) -> None:
    """Without a GPU: Caffe loads, trains on the CPU, and refuses what needs a GPU."""
    engine.build("gpu", "run", "docker/gpu/Dockerfile")
    say("Caffe for GPUs, without one")
    _expect("--gpu N" in engine.run_entrypoint("gpu", "--help"), "the help does not name --gpu")
    (engine.place.work / "net.prototxt").write_text(_NET)
    (engine.place.work / "solver.prototxt").write_text(_SOLVER)
    engine.run_entrypoint("gpu", "--solver", "solver.prototxt", "--watch", "10:12", "--out", "runs/dummy")
    for options in (("--gpu", "0"), ("--cpu",)):
        try:
            engine.run("gpu", "python", "harness/run.py", *_DEMO, *options, "--out", "/work/runs/none")
            code = 0
        except subprocess.CalledProcessError as error:
            code = error.returncode
        _expect(code == 2, f"with {' '.join(options)} the exit code is {code}")


def check_tests(engine: Engine) -> None:
    """Run tools/test."""
    engine.build("tests", "tests", "docker/cpu/Dockerfile")
    engine.run_tests("tests", "tools/test")


CHECKS: dict[str, Callable[[Engine], None]] = {
    "notebooks": check_notebooks,
    "gpu": check_gpu,
    "tests": check_tests,
}


def _expect_snapshot(engine: Engine, run: str) -> None:
    """Expect that the run was interrupted, and made a snapshot of the iteration that it ended at."""
    directory = engine.place.work / "runs" / run
    ended = json.loads((directory / "run.json").read_text())["ended"]
    _expect(ended["code"] == 130, f"run.json of {run} has exit code {ended['code']}")
    snapshot = list((directory / "snapshots").glob(f"*_iter_{ended['iteration']}.solverstate"))
    _expect(bool(snapshot), f"{run} has no snapshot of iteration {ended['iteration']}")


def _expect(as_expected: bool, otherwise: str) -> None:
    if not as_expected:
        raise Unexpected(otherwise)
