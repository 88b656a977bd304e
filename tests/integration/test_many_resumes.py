"""A hundred different random points of a training, each resumed exactly, in one process of real Caffe."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers.commands import caffe_train
from tests.helpers.nets import data_layer, solver_text
from tests.helpers.processes import command

LAST = 120

_SCRIPT = """
import os, random, sys
from pathlib import Path

import caffe
import numpy as np

from harness.recording.ring import Ring
from harness.worker.build import build, nets_of
from harness.caffe_files.messages import pb
from harness.supervisor.options import Options
from harness.supervisor.plan import make_plan
from harness.supervisor.training_spec import read_training_spec
from harness.worker import seekable_layer as seekable
from harness.supervisor.resume import from_solverstate
from google.protobuf import text_format

home, last, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.chdir(home)
chance = random.Random(1)
spec = read_training_spec(home / "solver.prototxt")
exact = 0
for first in chance.sample(range(1, last), count):
    until = chance.randint(first + 1, min(last, first + 6))
    start = from_solverstate(home / f"native_iter_{first}.solverstate")
    plan = make_plan(spec, start, Options(out=home / "run"))
    param = text_format.Parse(plan.info.solver, pb.SolverParameter())
    param.snapshot = 0
    solver, point = build(plan.payload, param, nets_of(plan.payload), lambda note: None)
    assert solver.iter == first
    solver.step(until - first)
    expected = pb.NetParameter.FromString((home / f"native_iter_{until}.caffemodel").read_bytes())
    blobs = {l.name: [np.array(b.data, np.float32) for b in l.blobs] for l in expected.layer if l.blobs}
    assert blobs.keys() == set(solver.net.params)
    for name, values in blobs.items():
        for ours, theirs in zip(solver.net.params[name], values, strict=True):
            assert ours.data.tobytes() == theirs.tobytes(), (first, until, name)
    exact += 1
    del solver
    seekable.stop_prefetching()
print(exact)
"""


def test_a_hundred_random_points_resume_exactly(tmp_path: Path, digit_data: Path) -> None:
    """Weights after one to six more iterations are those of the uninterrupted `caffe train`, bit for bit."""
    (tmp_path / "net.prototxt").write_text(f"""
{data_layer(digit_data / "train", "TRAIN", 9, "mirror: true crop_size: 8")}
layer {{ name: "drop" type: "Dropout" bottom: "data" top: "drop" dropout_param {{ dropout_ratio: 0.4 }} }}
layer {{ name: "ip" type: "InnerProduct" bottom: "drop" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "gaussian" std: 0.1 }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}""")
    fields = {"max_iter": LAST, "snapshot": 1, "iter_size": 3, "test_iter": None, "test_interval": None}
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "native", **fields))
    caffe_train(tmp_path / "solver.prototxt")
    env = {"OPENBLAS_NUM_THREADS": "1", "GLOG_minloglevel": "2"}
    done = command(sys.executable, "-c", _SCRIPT, tmp_path, LAST, 100, env=env)
    assert done.code == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "100"
