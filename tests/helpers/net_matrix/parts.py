"""Parts of the nets in the matrix.

`$DATA` in a net stands for the folder that `write_data` (data.py) fills, `$HOME` for the net's own folder.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.helpers.lmdbs import CLASSES

LAST = 12  # iterations
SNAPSHOT = 4

SOLVER: dict[str, object] = {
    "net": '"$HOME/net.prototxt"',
    "base_lr": 0.01,
    "lr_policy": '"fixed"',
    "max_iter": LAST,
    "momentum": 0.9,
    "weight_decay": 0.001,
    "display": 3,
    "average_loss": 2,
    "snapshot": SNAPSHOT,
    "snapshot_prefix": '"$HOME/native"',
    "random_seed": 11,
    "solver_mode": "CPU",
}
TESTED: dict[str, object] = {"test_iter": 2, "test_interval": 5}


@dataclass(frozen=True)
class MatrixNet:
    """A net and its solver.

    Attributes:
        layers: the net's prototxt.
        solver: fields that replace those of `SOLVER`; None omits one.
        options: those that `caffe train` and run.py both have.
        encoding: of the net's file.
    """

    layers: str
    solver: dict[str, object] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def solver_text(self) -> str:
        """The solver's prototxt."""
        fields = SOLVER | self.solver
        return "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)


def layer(kind: str, bottoms: str, tops: str, rest: str = "", name: str | None = None) -> str:
    """A layer; its name is that of its first top, else its type."""
    blobs = [f'bottom: "{bottom}"' for bottom in bottoms.split()] + [f'top: "{top}"' for top in tops.split()]
    name = (tops.split() or [kind])[0] if name is None else name
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {rest} }}\n'


def dummy(top: str, shape: str, filler: str = 'type: "gaussian" std: 1') -> str:
    """A DummyData layer with one top."""
    dims = " ".join(f"dim: {size}" for size in shape.split())
    return layer("DummyData", "", top, f"dummy_data_param {{ shape {{ {dims} }} data_filler {{ {filler} }} }}")


def constant(top: str, shape: str, value: float) -> str:
    """A DummyData layer with one top, of the same value everywhere."""
    return dummy(top, shape, f"value: {value}")


def dense(bottom: str, top: str, outputs: int = CLASSES, rest: str = "", name: str | None = None) -> str:
    """An InnerProduct layer."""
    filler = 'weight_filler { type: "gaussian" std: 0.2 }'
    return layer("InnerProduct", bottom, top, f"inner_product_param {{ num_output: {outputs} {filler} }} {rest}", name)


def conv(bottom: str, top: str, kind: str = "Convolution", rest: str = "") -> str:
    """A Convolution or Deconvolution layer with four outputs."""
    filler = 'weight_filler { type: "xavier" }'
    return layer(kind, bottom, top, f"convolution_param {{ num_output: 4 kernel_size: 3 {filler} {rest} }}")


def softmax(bottom: str, rest: str = "") -> str:
    """A SoftmaxWithLoss layer."""
    return layer("SoftmaxWithLoss", f"{bottom} label", "loss", rest)


def sum_of_squares(bottom: str) -> str:
    """A loss of any blob."""
    return layer("Reduction", bottom, "loss", "reduction_param { operation: SUMSQ } loss_weight: 0.5")


LABELS = dummy("label", "4", 'type: "uniform" min: 0 max: 4.9')  # Caffe rounds them down
IMAGES = dummy("data", "4 3 8 8") + LABELS
VECTORS = dummy("data", "4 6") + LABELS
HEAD = dense("x", "ip") + softmax("ip")


def between(*layers: str) -> str:
    """A convolution `conv`, `layers` that lead from it to `x`, and a softmax loss."""
    return IMAGES + conv("data", "conv") + "".join(layers) + HEAD


def beside(*nets: str) -> str:
    """Nets side by side in one: the names of layers, blobs and params begin with the number of their net."""
    return "".join(re.sub(r'\b(name|top|bottom): "', rf'\1: "{number}.', net) for number, net in enumerate(nets))
