"""Names under which layers are recorded, and names in other encodings than UTF-8."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.caffe_files.layer_names import automatic_losses, unique_names
from harness.caffe_files.messages import parse_text, pb, read_text
from harness.errors import BadInput


def layers(*names: str) -> list[pb.LayerParameter]:
    return [pb.LayerParameter(name=name, type="ReLU") for name in names]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("a", "b"), ["a", "b"]),
        (("a", "a", "a"), ["a", "a#2", "a#3"]),
        (("", "", ""), ["", "#2", "#3"]),
        (("a", "a", "a#2", "a"), ["a", "a#3", "a#2", "a#4"]),
        (("a#2", "a#2", "a", "a"), ["a#2", "a#2#2", "a", "a#3"]),
    ],
)
def test_names_are_unique(given: tuple[str, ...], expected: list[str]) -> None:
    assert unique_names(layers(*given)) == expected


def test_automatic_losses_have_names_that_no_blob_has() -> None:
    net = [
        pb.LayerParameter(name="loss", type="SoftmaxWithLoss", top=["out"]),
        pb.LayerParameter(name="out", type="EuclideanLoss"),
        pb.LayerParameter(name="loss", type="HingeLoss"),
        pb.LayerParameter(name="quiet", type="Silence"),
    ]
    assert automatic_losses(net) == {1: "out#2", 2: "loss#2"}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("café".encode(), "café"),
        ("café".encode("latin-1"), "café"),
        (rb"caf\351", "café"),
        (rb"caf\xE9", "café"),
        (rb"caf\303\251", "café"),
        (rb"caf\351\\351\303\251\"", 'café\\351é"'),
        ("é".encode() + "ü".encode("latin-1"), "éü"),
    ],
)
def test_names_are_read_in_any_encoding(tmp_path: Path, written: bytes, name: str) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(b'layer { name: "' + written + b'" } # \xff')
    assert read_text(path, pb.NetParameter, "net").layer[0].name == name


def test_an_error_beside_a_name_in_another_encoding_is_reported() -> None:
    with pytest.raises(BadInput, match="no field of that name"):
        parse_text(r'name: "\351" nothing: 1', pb.NetParameter, Path("net.prototxt"))
