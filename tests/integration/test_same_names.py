"""Nets in which several layers have one name, as Caffe allows: resumed trainings repeat the uninterrupted one.

The oracle is an uninterrupted `caffe train`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.caffe_output import weights_by_layer
from tests.helpers.commands import caffe_train, restart, train
from tests.helpers.nets import solver_text

pytestmark = pytest.mark.usefixtures("one_blas_thread")

LAST = 12


def layer(name: str, kind: str, bottoms: str, top: str, parameters: str = "") -> str:
    bottom = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottom} top: "{top}" {parameters} }}\n'


def dummy(name: str, top: str, shape: tuple[int, ...], filler: str) -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    return layer(name, "DummyData", "", top, f"dummy_data_param {{ shape {{ {dims} }} data_filler {{ {filler} }} }}")


def product(name: str, bottom: str, top: str, outputs: int) -> str:
    parameters = f'inner_product_param {{ num_output: {outputs} weight_filler {{ type: "xavier" }} }}'
    return layer(name, "InnerProduct", bottom, top, parameters)


def drop(name: str, bottom: str, top: str) -> str:
    return layer(name, "Dropout", bottom, top, "dropout_param { dropout_ratio: 0.4 }")


# Layers that draw have the names of other layers, which draw another amount, or nothing.
RANDOM = (
    dummy("input", "x", (5, 9), 'type: "gaussian" std: 1')
    + dummy("input", "target", (5, 3), 'type: "uniform" min: -1 max: 1')
    + dummy("input", "one", (5, 2), "value: 1")
    + product("hidden", "x", "hidden", 31)
    + drop("drop", "hidden", "hidden")
    + product("middle", "hidden", "middle", 7)
    + drop("drop", "middle", "dropped")  # `middle` is read twice: a Split layer lies in between
    + layer("", "Eltwise", "middle dropped", "sum")
    + drop("", "sum", "sum")
    + product("three", "sum", "three", 3)
    + layer("drop", "EuclideanLoss", "three target", "loss")
)

# Layers with params have one name, the one of a layer without params as well, or none.
LEARNING = (
    dummy("input", "x", (5, 9), 'type: "gaussian" std: 1')
    + dummy("input", "target", (5, 3), 'type: "uniform" min: -1 max: 1')
    + drop("a", "x", "x")
    + product("a", "x", "one", 6)
    + layer("a", "TanH", "one", "one")
    + product("a", "one", "two", 4)
    + product("", "two", "three", 4)
    + layer("", "PReLU", "three", "three")
    + product("", "three", "four", 3)
    + layer("loss", "EuclideanLoss", "four target", "loss")
)


UNTESTED = {"test_iter": None, "test_interval": None}


def write(home: Path, net: str, **fields: object) -> Path:
    """A solver for `net`, with snapshots called `home/native…`."""
    (home / "net.prototxt").write_text(net)
    values = {"max_iter": LAST, "snapshot": 7, "display": 1} | fields
    (home / "solver.prototxt").write_text(solver_text(home / "net.prototxt", home / "native", **values))
    return home / "solver.prototxt"


@pytest.mark.parametrize("tested", [False, True], ids=["without tests", "with tests"])
def test_layers_of_one_name_draw_as_many_numbers_as_in_the_whole_training(tmp_path: Path, tested: bool) -> None:
    tests = {"test_iter": 2, "test_interval": 5} if tested else UNTESTED
    solver = write(tmp_path, RANDOM, **tests)
    caffe_train(solver)
    out = tmp_path / "resumed"
    options = ("--on-alarm", "continue")  # the loss becomes infinite
    done = train(solver, out, "--resume", tmp_path / "native_iter_7.solverstate", *options)
    assert "Resuming at iteration 7 exactly" in done.stderr
    assert weights_by_layer(out / f"snapshots/native_iter_{LAST}.caffemodel") == weights_by_layer(
        tmp_path / f"native_iter_{LAST}.caffemodel"
    )


def test_layers_of_one_name_get_their_own_weights_back(tmp_path: Path) -> None:
    """Caffe copies weights by name: it aborts when it resumes its own snapshot of this net."""
    solver = write(tmp_path, LEARNING, **UNTESTED)
    caffe_train(solver)
    expected = weights_by_layer(tmp_path / f"native_iter_{LAST}.caffemodel")
    train(solver, tmp_path / "native", "--resume", tmp_path / "native_iter_7.solverstate")
    assert weights_by_layer(tmp_path / f"native/snapshots/native_iter_{LAST}.caffemodel") == expected
    train(solver, tmp_path / "ours")
    restart(tmp_path / "ours", "--from", 7, "--out", tmp_path / "restarted")
    assert weights_by_layer(tmp_path / f"restarted/snapshots/run_iter_{LAST}.caffemodel") == expected
