"""Nets that Caffe cannot build: exit code 2, with Caffe's message and the layer; nothing is left behind.

Some are found before Caffe is started; for the others it has to be tried, since only Caffe knows the shapes of blobs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.caffe_files.layer_types import FILLERS, LAYER_TYPES
from harness.recording import run_directory
from harness.run import main
from tests.helpers.commands import RUN, restart, train
from tests.helpers.paths import BIN
from tests.helpers.processes import command, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")

DATA = """name: "dummy"
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } shape { dim: 4 } data_filler { type: "gaussian" } } }
"""
HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "ip" top: "loss" }
"""
CONV = 'layer { name: "a/conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { %s } }'


def solver(home: Path, net: str, **fields: object) -> Path:
    """Write a solver in `home` for the net `net` after its data layer."""
    (home / "net.prototxt").write_text(DATA + net)
    values = {"net": f'"{home}/net.prototxt"', "base_lr": 0.01, "lr_policy": '"fixed"', "max_iter": 4, "random_seed": 1}
    path = home / "solver.prototxt"
    path.write_text("".join(f"{name}: {value}\n" for name, value in (values | fields).items()))
    return path


def test_the_layer_types_are_those_of_the_build() -> None:
    done = command(sys.executable, "-c", "import caffe; print(*caffe.layer_type_list())")
    assert set(done.stdout.split()) == LAYER_TYPES


def test_the_fillers_are_those_of_the_build(tmp_path: Path) -> None:
    layer = """layer { name: "p" type: "DummyData" top: "%s" dummy_data_param { shape { dim: 2 dim: 2 dim: 2 dim: 2 }
  data_filler { type: "%s" } } }"""
    train(solver(tmp_path, "".join(layer % (name, name) for name in FILLERS) + HEAD), tmp_path / "run")


POOL = 'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" pooling_param { %s } }'
DENSE = 'layer { name: "d" type: "InnerProduct" bottom: "data" top: "d" inner_product_param { %s } }'
RELU = 'layer { name: "r" type: "ReLU" bottom: "data" top: "data" }'
HDF5 = 'layer { name: "h" type: "HDF5Data" top: "%s" hdf5_data_param { source: "LIST" batch_size: 2 } %s }'


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ('layer { name: "c" type: "Convolutoin" bottom: "data" top: "c" }', ("type = Convolutoin", "Convolution")),
        ('layer { name: "c" bottom: "data" top: "c" }', ("layer c", "no such layer type")),
        (CONV % 'num_output: 4 kernel_size: 3 weight_filler { type: "xaver" }', ("type = xaver", "xavier")),
        (DENSE % 'num_output: 4 bias_filler { type: "zero" }', ("bias_filler.type = zero", "constant")),
        (CONV % "kernel_size: 3", ("convolution_param.num_output = 0", "at least 1")),
        (CONV % "num_output: 0 kernel_size: 3", ("num_output = 0",)),
        (CONV % "num_output: 4294967295 kernel_size: 3", ("num_output = 4294967295",)),
        (DENSE % "", ("layer d", "inner_product_param.num_output = 0")),
        (CONV % "num_output: 4 kernel_size: 3 group: 3", ("group = 3", "does not divide")),
        (CONV % "num_output: 4 kernel_size: 3 group: 0", ("group = 0",)),
        (CONV % "num_output: 4 kernel_size: 3 kernel_h: 3 kernel_w: 3", ("kernel_size", "together with kernel_h")),
        (CONV % "num_output: 4 kernel_h: 3", ("convolution_param.kernel", "only together")),
        (CONV % "num_output: 4 kernel_size: 3 stride: 2 stride_h: 1", ("convolution_param.stride", "together")),
        (POOL % "pool: MAX", ("pooling_param.kernel_size", "not given")),
        (POOL % "kernel_size: 0", ("kernel_size = 0",)),
        (POOL % "kernel_size: 2 global_pooling: true", ("global_pooling", "together")),
        (POOL % "kernel_size: 2 stride_h: 2", ("pooling_param.stride", "only together")),
        ('layer { name: "l" type: "LRN" bottom: "data" top: "l" lrn_param { local_size: 4 } }', ("local_size = 4",)),
        (RELU.replace('top: "data"', 'top: "label"'), ("layer r", "top = label", "a name of its own")),
        (RELU.replace('name: "r" ', 'name: "r" top: "x" ').replace('"data" }', '"x" }'), ("top = x",)),
        (POOL % "kernel_size: 2" + RELU, ("layer r", "top = data", "in place", "also pool")),
        ('layer { name: "m" type: "InfogainLoss" bottom: "data" bottom: "label" top: "m" }',
         ("infogain_loss_param.source",)),
        (HDF5 % ("x", ""), ("layer h", "no such HDF5 file", "gone.h5")),
        (HDF5 % ("x", "transform_param { scale: 2 }"), ("layer h", "transform_param")),
    ],
)  # fmt: skip
def test_an_error_in_the_prototxt_is_found_before_caffe_starts(
    tmp_path: Path, layer: str, said: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text(f"{tmp_path}/gone.h5\n")
    path = solver(
        tmp_path, layer.replace("LIST", f"{tmp_path}/list.txt") + HEAD, snapshot_prefix=f'"{tmp_path}/native"'
    )
    assert main(["--solver", str(path), "--out", str(tmp_path / "run")]) == 2
    stderr = capfd.readouterr().err
    assert stderr.lstrip().startswith("error: ")  # nothing before it: no recording, no process
    assert str(tmp_path / "net.prototxt") in stderr
    for part in said:
        assert part in stderr
    assert command(BIN / "caffe", "train", f"--solver={path}").code != 0  # Caffe cannot build it either


@pytest.mark.parametrize(
    "layer",
    [
        # what looks wrong, but is not used
        CONV % 'num_output: 4 kernel_size: 3 bias_term: false bias_filler { type: "none" }',
        POOL % "kernel_size: 2 kernel_h: 2",
        'layer { name: "s" type: "Sigmoid" bottom: "data" top: "s" convolution_param { num_output: 0 kernel_h: 1 } }',
        # in place, one after the other, and a reader of the last
        RELU + RELU.replace('"r"', '"r2"') + (POOL % "kernel_size: 2"),
        'layer { name: "r" type: "ReLU" bottom: "data" top: "data" loss_weight: 0 }',
        'layer { type: "Silence" bottom: "label" }',
        CONV % "num_output: 4 kernel_h: 3 kernel_w: 3 pad: 1 stride: 2",
        RELU.replace("bottom", 'image_data_param { new_height: 2 } transform_param { mean_file: "gone" } bottom'),
    ],
)
def test_what_caffe_trains_is_not_refused(tmp_path: Path, layer: str) -> None:
    path = solver(tmp_path, layer + HEAD, snapshot_prefix=f'"{tmp_path}/native"')
    assert command(BIN / "caffe", "train", f"--solver={path}").code == 0
    train(path, tmp_path / "run")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (CONV % "num_output: 4", ("a/conv (Convolution)", "kernel_size must be specified once", "Correct kernel_size")),
        (CONV % "num_output: 4 kernel_size: 3 group: 2", ("a/conv (Convolution)", "Check failed: channels_ % group_")),
        ('layer { name: "c" type: "Concat" bottom: "data" top: "c" concat_param { axis: 9 } }',
         ("c (Concat)", "axis 9")),
        ('layer { name: "c" type: "Softmax" bottom: "data" bottom: "label" top: "c" }',
         ("c (Softmax)", "bottom blob(s)")),
        ('layer { name: "big" type: "InnerProduct" bottom: "data" top: "c" inner_product_param { '
         'num_output: 2000000000 weight_filler { type: "xavier" } } }',
         ("big (InnerProduct)", "INT_MAX", "2,147,483,647")),
        ('layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "nowhere" layer: "X" } }',
         ("p (Python)", "No module named 'nowhere'", "PYTHONPATH")),
        ('layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "bad" layer: "Bad" } }',
         ("p (Python)", "ValueError: never set up", "Correct the Python layer")),
        ('layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "bad" layer: "Leaves" } }',
         ("p (Python)", "exit code 7")),
        ('layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "bad" layer: "Crashes" } }',
         ("p (Python)", "SIGSEGV", "without a message")),
        ('layer { name: "two" type: "InnerProduct" bottom: "data" top: "two" inner_product_param { num_output: 1 '
         'weight_filler { type: "xavier" } } } layer { name: "l" type: "SigmoidCrossEntropyLoss" bottom: "two" '
         'bottom: "two" top: "l" }', ("first iteration", "cannot backpropagate to label inputs")),
    ],
)  # fmt: skip
def test_a_net_that_caffe_cannot_build(tmp_path: Path, layer: str, said: tuple[str, ...]) -> None:
    (tmp_path / "bad.py").write_text("""import caffe, ctypes, os
class Bad(caffe.Layer):
    def setup(self, bottom, top): raise ValueError("never set up")
class Leaves(caffe.Layer):
    def setup(self, bottom, top): os._exit(7)
class Crashes(caffe.Layer):
    def setup(self, bottom, top): ctypes.string_at(0)
""")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = train(solver(tmp_path, layer + HEAD), tmp_path / "run", code=2, env={"PYTHONPATH": path})
    assert f"error: {tmp_path / 'net.prototxt'}" in done.stderr
    for part in said:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert " @ 0x" not in done.stderr  # a stack frame
    assert "Nothing was trained" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "run").exists()


def test_a_net_with_layer_and_layers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = solver(tmp_path, 'layers { name: "r" type: RELU bottom: "data" top: "r" }' + HEAD)
    (tmp_path / "net.prototxt").write_bytes((tmp_path / "net.prototxt").read_bytes() + b"# caf\xe9")
    assert main(["--solver", str(path), "--out", str(tmp_path / "run")]) == 2
    stderr = capfd.readouterr().err
    assert f"{tmp_path / 'net.prototxt'}: Caffe cannot upgrade this old net" in stderr
    assert "both 'layer' and 'layers' fields" in stderr
    assert " @ 0x" not in stderr
    assert "***" not in stderr


def test_a_test_net_that_caffe_cannot_build(tmp_path: Path) -> None:
    (tmp_path / "test.prototxt").write_text(DATA + CONV % "num_output: 4" + HEAD)
    path = solver(tmp_path, HEAD, test_net=f'"{tmp_path}/test.prototxt"', test_iter=1, test_interval=2)
    said = train(path, tmp_path / "run", code=2).stderr
    assert f"{tmp_path / 'test.prototxt'}: layer a/conv" in said
    assert "of the TEST net" in said


def test_the_same_directory_can_be_used_once_the_net_is_corrected(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    train(solver(tmp_path, CONV % "num_output: 4" + HEAD), run, code=2)
    assert list(run.iterdir()) == []
    train(solver(tmp_path, CONV % "num_output: 4 kernel_size: 3" + HEAD), run)


def test_only_what_the_run_made_is_removed(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    for name in ("recording.h5", "run.json", "notes.txt"):
        (tmp_path / name).write_text("x")
    run_directory.remove(tmp_path, itself=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_restart_whose_net_caffe_cannot_build(tmp_path: Path) -> None:
    net = CONV % 'num_output: 4 kernel_size: 3 weight_filler { type: "xavier" }' + HEAD
    train(solver(tmp_path, net, snapshot=2), tmp_path / "run")
    for start in ("0", "2"):
        change = ("--from", start, "--set-layer", "a/conv:kernel_size=30")
        done = restart(tmp_path / "run", *change, "--out", tmp_path / "again", code=2)
        assert f"{tmp_path / 'run/run.json'}: net: layer a/conv (Convolution)" in done.stderr
        assert "Check failed" in done.stderr
        assert not (tmp_path / "again").exists()


def test_a_worker_that_is_killed_while_it_builds(tmp_path: Path) -> None:
    """That is not the fault of the input: the run is kept, and says when it was."""
    (tmp_path / "slow.py").write_text("""import caffe, time
class Slow(caffe.Layer):
    def setup(self, bottom, top): time.sleep(600)
""")
    layer = 'layer { name: "p" type: "Python" bottom: "data" top: "p" python_param { module: "slow" layer: "Slow" } }'
    arguments = (sys.executable, RUN, "--solver", solver(tmp_path, layer + HEAD), "--out", tmp_path / "run")
    log = tmp_path / "run/solver.log"
    with started(*arguments, stderr=subprocess.PIPE, env={"PYTHONPATH": str(tmp_path)}) as process:
        wait_for(lambda: log.exists() and "Creating Layer p" in log.read_text(), process)
        children = psutil.Process(process.pid).children()
        next(child for child in children if "harness.worker.main" in child.cmdline()).kill()
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 4
    assert "SIGKILL" in stderr
    assert "before the first iteration, by hand or because the system's memory ran out" in stderr
    assert json.loads((tmp_path / "run/run.json").read_text())["ended"]["code"] == 4
