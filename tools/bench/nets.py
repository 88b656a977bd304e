"""The nets and random data of the benchmarks, written as files that any Caffe program can use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from google.protobuf import text_format

from harness.caffe_files.messages import pb, read_text

ROOT = Path(__file__).resolve().parents[2]
GLYPHS = ROOT / "prototxt" / "glyphs280"
FOREVER = 10_000_000  # max_iter; --until ends a run

# Channels of bvlc_googlenet's inception modules: 1x1, 3x3_reduce, 3x3, 5x5_reduce, 5x5, pool_proj.
_INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


_GOOGLENET_TRANSFORM = "mirror: true crop_size: 224 mean_value: 104 mean_value: 117 mean_value: 123"


@dataclass(frozen=True)
class Problem:
    """A solver file, and the iterations of one turn (about two seconds, if possible)."""

    solver: Path
    turn: int


def random_lmdb(path: Path, count: int, shape: tuple[int, int, int], classes: int) -> Path:
    """Write an LMDB of `count` images of noise, uint8 (channels, height, width), with labels below `classes`."""
    random = np.random.default_rng(1)
    channels, height, width = shape

    def datum() -> Any:
        image = random.integers(0, 256, shape, np.uint8)
        label = int(random.integers(classes))
        return pb.Datum(channels=channels, height=height, width=width, data=image.tobytes(), label=label)

    return write_lmdb(path, ((f"{number:08d}".encode(), datum().SerializeToString()) for number in range(count)))


def jpeg_lmdb(path: Path, count: int, side: int, classes: int) -> Path:
    """Write an LMDB of `count` colour JPEGs that resemble ImageNet's photographs: smooth, with a little noise."""
    import cv2  # not in a process that loads Caffe, which has another OpenCV

    random = np.random.default_rng(1)

    def datum() -> Any:
        coarse = random.integers(0, 256, (side // 16, side // 16, 3), np.uint8)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        image = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        data = cv2.imencode(".jpg", image)[1].tobytes()
        return pb.Datum(
            channels=3, height=side, width=side, data=data, label=int(random.integers(classes)), encoded=True
        )

    return write_lmdb(path, ((f"{number:08d}".encode(), datum().SerializeToString()) for number in range(count)))


def write_lmdb(path: Path, records: Iterable[tuple[bytes, bytes]]) -> Path:
    """Write an LMDB of `records`, which are in the order of their keys."""
    with lmdb.open(str(path), map_size=1 << 33) as environment, environment.begin(write=True) as transaction:
        transaction.cursor().putmulti(records, append=True)
    return path


def glyphs280(home: Path) -> Problem:
    """Write the solver of prototxt/glyphs280 without test passes and snapshots."""
    if not (GLYPHS / "data" / "train_lmdb" / "data.mdb").is_file():
        subprocess.run([sys.executable, str(GLYPHS / "make_data.py")], check=True, cwd=ROOT)
    solver = read_text(GLYPHS / "quick_solver.prototxt", pb.SolverParameter, "solver")
    solver.net = str(ROOT / solver.net)
    return Problem(_write_solver(home, solver), 15)


def lenet(home: Path, source: Path | None = None) -> Problem:
    """Write LeNet as in Caffe's examples/mnist, with batches of 28, on images of noise or on `source`."""
    source = source or random_lmdb(home / "lmdb", 4096, (1, 28, 28), 10)
    text = f"""name: "LeNet"
{_data(source, 28, "scale: 0.00390625")}
{_convolution("conv1", "data", "conv1", "num_output: 20 kernel_size: 5")}
layer {{ name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
{_convolution("conv2", "pool1", "conv2", "num_output: 50 kernel_size: 5")}
layer {{ name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
{_classifier("ip1", "pool2", 500)}
layer {{ name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }}
{_classifier("ip2", "ip1", 10)}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }}
"""
    return Problem(_write(home, text, base_lr=0.001, display=100), 100)


def googlenet(home: Path, batch: int = 32, source: Path | None = None) -> Problem:
    """Write bvlc_googlenet for 280 classes: its layers, shapes, fillers and transforms, on noise or on `source`."""
    source = source or random_lmdb(home / "lmdb", 96, (3, 256, 256), 280)
    parts = [
        'name: "GoogleNet"',
        _data(source, batch, _GOOGLENET_TRANSFORM),
        _relu_convolution("conv1/7x7_s2", "data", "num_output: 64 pad: 3 kernel_size: 7 stride: 2"),
        _pool("pool1/3x3_s2", "conv1/7x7_s2", "MAX", 3, 2),
        _lrn("pool1/norm1", "pool1/3x3_s2"),
        _relu_convolution("conv2/3x3_reduce", "pool1/norm1", "num_output: 64 kernel_size: 1"),
        _relu_convolution("conv2/3x3", "conv2/3x3_reduce", "num_output: 192 pad: 1 kernel_size: 3"),
        _lrn("conv2/norm2", "conv2/3x3"),
        _pool("pool2/3x3_s2", "conv2/norm2", "MAX", 3, 2),
    ]
    bottom = "pool2/3x3_s2"
    for stage in _INCEPTION:
        parts.append(_inception(stage, bottom))
        bottom = f"inception_{stage}/output"
        if stage in ("4a", "4d"):
            parts.append(_auxiliary("loss1" if stage == "4a" else "loss2", bottom))
        if stage in ("3b", "4e"):
            pool = f"pool{stage[0]}/3x3_s2"
            parts.append(_pool(pool, bottom, "MAX", 3, 2))
            bottom = pool
    parts += [
        _pool("pool5/7x7_s1", bottom, "AVE", 7, 1),
        _dropout("pool5/drop_7x7_s1", "pool5/7x7_s1", 0.4),
        _classifier("loss3/classifier", "pool5/7x7_s1", 280),
        _loss("loss3/loss3", "loss3/classifier", "loss3/loss3", 1),
    ]
    return Problem(_write(home, "\n".join(parts), base_lr=0.001, display=40, average_loss=40), 1)


def reading(home: Path, source: Path, batch: int = 32) -> Problem:
    """Write a net that has only the input of bvlc_googlenet."""
    text = f"""name: "reading"
{_data(source, batch, _GOOGLENET_TRANSFORM)}
layer {{ name: "ignored" type: "Silence" bottom: "data" bottom: "label" }}
"""
    return Problem(_write(home, text, base_lr=0.001, display=100), 20)


def tiny(home: Path) -> Problem:
    """Write a net of one layer, about 0.1 ms per iteration, to count bytes over many iterations."""
    source = random_lmdb(home / "lmdb", 64, (1, 4, 4), 3)
    text = f"""name: "tiny"
{_data(source, 2, "scale: 0.00390625")}
{_classifier("ip", "data", 3)}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
"""
    return Problem(_write(home, text, base_lr=0.001, display=100), 500)


def googlenet_shapes(home: Path) -> Problem:
    """Write googlenet with one image per batch: the same blobs in a net that is built quickly."""
    return googlenet(home, 1)


PROBLEMS: dict[str, Callable[[Path], Problem]] = {
    made.__name__: made for made in (glyphs280, lenet, googlenet, googlenet_shapes, tiny)
}


# -- files --------------------------------------------------------------------------------------------------------


def _write(home: Path, net: str, **fields: Any) -> Path:
    (home / "net.prototxt").write_text(net)
    return _write_solver(
        home,
        pb.SolverParameter(net=str(home / "net.prototxt"), lr_policy="fixed", momentum=0.9, **fields),
    )


def _write_solver(home: Path, solver: Any) -> Path:
    """Write a solver without test passes and snapshots, which cost the same with and without the harness."""
    for field in ("test_iter", "test_interval", "test_initialization", "snapshot"):
        solver.ClearField(field)
    solver.snapshot_after_train = False
    solver.snapshot_prefix = str(home / "native")
    solver.max_iter = FOREVER
    solver.random_seed = 280
    solver.solver_mode = pb.SolverParameter.CPU
    path = home / "solver.prototxt"
    path.write_text(text_format.MessageToString(solver))
    return path


# -- layers -------------------------------------------------------------------------------------------------------

_LEARNS = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
_FILLERS = 'weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0.2 }'


def _data(source: Path, batch: int, transform: str) -> str:
    return f"""layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}"""


def _convolution(name: str, bottom: str, top: str, shape: str) -> str:
    return f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top}" {_LEARNS}
  convolution_param {{ {shape} {_FILLERS} }} }}"""


def _relu_convolution(name: str, bottom: str, shape: str) -> str:
    stage, _, rest = name.rpartition("/")
    relu = f'layer {{ name: "{stage}/relu_{rest}" type: "ReLU" bottom: "{name}" top: "{name}" }}'
    return f"{_convolution(name, bottom, name, shape)}\n{relu}"


def _pool(name: str, bottom: str, method: str, kernel: int, stride: int, pad: int = 0) -> str:
    return f"""layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}"
  pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}"""


def _lrn(name: str, bottom: str) -> str:
    return f"""layer {{ name: "{name}" type: "LRN" bottom: "{bottom}" top: "{name}"
  lrn_param {{ local_size: 5 alpha: 0.0001 beta: 0.75 }} }}"""


def _dropout(name: str, blob: str, ratio: float) -> str:
    return f"""layer {{ name: "{name}" type: "Dropout" bottom: "{blob}" top: "{blob}"
  dropout_param {{ dropout_ratio: {ratio} }} }}"""


def _classifier(name: str, bottom: str, outputs: int) -> str:
    return f"""layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {_LEARNS}
  inner_product_param {{ num_output: {outputs} {_FILLERS} }} }}"""


def _loss(name: str, bottom: str, top: str, weight: float) -> str:
    return f"""layer {{ name: "{name}" type: "SoftmaxWithLoss" bottom: "{bottom}" bottom: "label" top: "{top}"
  loss_weight: {weight} }}"""


def _inception(stage: str, bottom: str) -> str:
    one, reduce3, three, reduce5, five, pool = _INCEPTION[stage]
    at = f"inception_{stage}"
    return "\n".join(
        (
            _relu_convolution(f"{at}/1x1", bottom, f"num_output: {one} kernel_size: 1"),
            _relu_convolution(f"{at}/3x3_reduce", bottom, f"num_output: {reduce3} kernel_size: 1"),
            _relu_convolution(f"{at}/3x3", f"{at}/3x3_reduce", f"num_output: {three} pad: 1 kernel_size: 3"),
            _relu_convolution(f"{at}/5x5_reduce", bottom, f"num_output: {reduce5} kernel_size: 1"),
            _relu_convolution(f"{at}/5x5", f"{at}/5x5_reduce", f"num_output: {five} pad: 2 kernel_size: 5"),
            _pool(f"{at}/pool", bottom, "MAX", 3, 1, 1),
            _relu_convolution(f"{at}/pool_proj", f"{at}/pool", f"num_output: {pool} kernel_size: 1"),
            f'layer {{ name: "{at}/output" type: "Concat" top: "{at}/output" '
            + " ".join(f'bottom: "{at}/{branch}"' for branch in ("1x1", "3x3", "5x5", "pool_proj"))
            + " }",
        )
    )


def _auxiliary(at: str, bottom: str) -> str:
    return "\n".join(
        (
            _pool(f"{at}/ave_pool", bottom, "AVE", 5, 3),
            _relu_convolution(f"{at}/conv", f"{at}/ave_pool", "num_output: 128 kernel_size: 1"),
            _classifier(f"{at}/fc", f"{at}/conv", 1024),
            f'layer {{ name: "{at}/relu_fc" type: "ReLU" bottom: "{at}/fc" top: "{at}/fc" }}',
            _dropout(f"{at}/drop_fc", f"{at}/fc", 0.7),
            _classifier(f"{at}/classifier", f"{at}/fc", 280),
            _loss(f"{at}/loss", f"{at}/classifier", f"{at}/loss1", 0.3),
        )
    )
