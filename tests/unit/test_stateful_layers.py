"""Layers that keep something from one batch to the next outside their params."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.caffe_files.stateful_layers import stateful_layers

ONES = 'layer { name: "ones" type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 1 } FILLERS } }'
NOISE = 'data_filler { type: "gaussian" }'
CONSTANT = "data_filler { value: 1 }"
IN_PLACE = 'layer { name: "relu" type: "ReLU" bottom: "BLOB" top: "BLOB" }'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('layer { type: "LSTM" } layer { type: "RNN" } layer { type: "InnerProduct" }', [0, 1]),
        ('layer { type: "LSTM" recurrent_param { expose_hidden: true } }', []),
        (ONES.replace("FILLERS", "") + IN_PLACE.replace("BLOB", "b"), [0]),
        (ONES.replace("FILLERS", ""), []),
        (ONES.replace("FILLERS", NOISE) + IN_PLACE.replace("BLOB", "b"), []),
        (ONES.replace("FILLERS", NOISE + CONSTANT) + IN_PLACE.replace("BLOB", "a"), []),
        (ONES.replace("FILLERS", NOISE + CONSTANT) + IN_PLACE.replace("BLOB", "b"), [0]),
        ('layer { type: "Input" top: "a" }' + IN_PLACE.replace("BLOB", "a"), [0]),
        ('layer { type: "Data" top: "a" }' + IN_PLACE.replace("BLOB", "a"), []),
        (
            ONES.replace("FILLERS", CONSTANT)
            + 'layer { type: "Flatten" bottom: "a" top: "flat" }'
            + IN_PLACE.replace("BLOB", "flat"),
            [0],
        ),
        (
            ONES.replace("FILLERS", CONSTANT)
            + 'layer { type: "Power" bottom: "a" top: "other" }'
            + IN_PLACE.replace("BLOB", "other"),
            [],
        ),
    ],
)  # fmt: skip
def test_they_are_found(text: str, expected: list[int]) -> None:
    assert stateful_layers(text_format.Parse(text, pb.NetParameter())) == expected
