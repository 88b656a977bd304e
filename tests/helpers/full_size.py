"""The nets and solvers of prototxt/googlenet280 and prototxt/vgg16_280."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from harness.caffe_files.messages import pb
from tests.helpers.paths import ROOT

GOOGLENET, VGG16 = ROOT / "prototxt/googlenet280", ROOT / "prototxt/vgg16_280"
QUESTION = (ROOT / "tests/logs/question.zh.txt").read_text(encoding="utf-8")
PUBLIC = [f"loss{n}/classifier" for n in (1, 2, 3)]
RENAMED = [f"{name}_280" for name in PUBLIC]


def message(path: Path, kind: Any) -> Any:
    return text_format.Parse(path.read_text(), kind())


def net_of(folder: Path) -> Any:
    return message(folder / "train_val.prototxt", pb.NetParameter)


def trained(net: Any) -> dict[str, Any]:
    """The layers with weights, by name."""
    return {layer.name: layer for layer in net.layer if layer.type in ("Convolution", "InnerProduct")}
