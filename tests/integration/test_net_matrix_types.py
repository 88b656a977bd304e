"""The matrix of nets has every layer type of the build."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.caffe_files.messages import parse_text, pb
from tests.helpers.net_matrix import layers, losses, odd, sources
from tests.helpers.processes import command

ALL = losses.NETS | layers.NETS | sources.NETS | odd.NETS
LEFT_OUT = {"MemoryData": "caffe train aborts at its first batch: it has only the data that a program gives it"}


def test_every_layer_type_is_in_a_net(tmp_path: Path) -> None:
    done = command(sys.executable, "-c", "import caffe; print(*caffe.layer_type_list())", cwd=tmp_path)
    assert done.code == 0, done.stderr
    parsed = [parse_text(net.layers, pb.NetParameter, tmp_path) for net in ALL.values()]
    used = {layer.type for net in parsed for layer in net.layer}
    assert set(done.stdout.split()) - used == set(LEFT_OUT)
    assert len(ALL) >= 40
