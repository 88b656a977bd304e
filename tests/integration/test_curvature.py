"""The curvature along the gradient, of a loss whose matrix of second derivatives is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from harness.caffe_files.messages import pb
from harness.diagnosis.cause.stages.curvature import measure_curvature
from harness.diagnosis.robust_stats import Floats
from harness.schemas.arm import ArmResult, StreamShifted
from tests.helpers.commands import train
from tests.helpers.investigating import case_of, drive
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

AT, BATCH, PASSES, RATE = 20, 4, 2, 0.01
RATES = {"one": 1.0, "two": 10.0}  # lr_mult

NET = """name: "squares"
layer {{ name: "rows" type: "HDF5Data" top: "x" top: "y" hdf5_data_param {{ source: "{rows}" batch_size: 4 }} }}
layer {{ name: "drop" type: "Dropout" bottom: "x" top: "dropped" }}
layer {{ name: "one" type: "InnerProduct" bottom: "dropped" top: "one" param {{ lr_mult: 1 }}
  inner_product_param {{ num_output: 2 bias_term: false weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss1" type: "EuclideanLoss" bottom: "one" bottom: "y" top: "loss1" }}
layer {{ name: "two" type: "InnerProduct" bottom: "dropped" top: "two" param {{ lr_mult: 10 }}
  inner_product_param {{ num_output: 2 bias_term: false weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss2" type: "EuclideanLoss" bottom: "two" bottom: "y" top: "loss2" loss_weight: 0.2 }}
"""


def test_it_is_that_of_the_known_matrix(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=(BATCH * PASSES * 2 * AT, 3)).astype(np.float32)
    y = random.normal(size=(len(x), 2)).astype(np.float32)
    rows_of = [slice(t * BATCH * PASSES, (t + 1) * BATCH * PASSES) for t in range(2 * AT)]
    x[rows_of[AT]] *= 8
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["x"], file["y"] = x, y
    (tmp_path / "rows.txt").write_text(f"{tmp_path / 'rows.h5'}\n")
    (tmp_path / "net.prototxt").write_text(NET.format(rows=tmp_path / "rows.txt"))
    fields: dict[str, object] = {
        "test_iter": None,
        "test_interval": None,
        "momentum": 0.9,
        "weight_decay": 0.1,
        "clip_gradients": 0.5,
    }
    fields |= {"base_lr": RATE, "lr_policy": '"fixed"', "power": None, "iter_size": PASSES, "max_iter": AT + 2}
    solver = tmp_path / "solver.prototxt"
    solver.write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "native", snapshot=AT, **fields))
    run = train(solver, tmp_path / "run", "--cpu").run
    model = pb.NetParameter.FromString(next((run / "snapshots").glob(f"*_iter_{AT}.caffemodel")).read_bytes())
    weights = {layer.name: np.array(layer.blobs[0].data).reshape(2, 3) for layer in model.layer if layer.blobs}

    def expected(t: int) -> float:
        """g'MHMg / g'Mg; the loss of a branch is its weight × |Wx - y|² / 2, averaged over the records."""
        above, below = 0.0, 0.0
        hessian: Floats = x[rows_of[t]].T.astype(np.float64) @ x[rows_of[t]] / (BATCH * PASSES)
        for name, weight in (("one", 1.0), ("two", 0.2)):
            residual = x[rows_of[t]] @ weights[name].T - y[rows_of[t]]
            gradient = weight * residual.T @ x[rows_of[t]] / (BATCH * PASSES)
            step = RATES[name] * gradient
            above += weight * float(np.sum((step @ hessian) * step))
            below += float(np.sum(step * gradient))
        return above / below

    case = case_of(run, AT, AT)
    replayed: list[ArmResult] = []
    found = drive(measure_curvature(case, AT), run, AT, replayed=replayed)
    shifts = [change for result in replayed for change in result.arm.changes if isinstance(change, StreamShifted)]
    ordinary = {shift.source for shift in shifts} - {AT}
    assert len(ordinary) == 3
    assert found is not None
    assert found.at_break == pytest.approx(expected(AT), rel=0.01)
    assert found.ordinary == pytest.approx(np.median([expected(t) for t in ordinary]), rel=0.01)
    assert (found.slows, found.diverges) == pytest.approx((0.2 / RATE, 3.8 / RATE), rel=1e-5)
    adam = replace(case, solver=pb.SolverParameter(type="Adam"))
    assert drive(measure_curvature(adam, AT), run, AT) is None
