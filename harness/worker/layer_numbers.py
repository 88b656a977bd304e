"""Which layer of a net that Caffe built is which layer of its prototxt.

Names do not tell: Caffe lets several layers have one name, or none. Positions do not either: Caffe adds an Input layer
for inputs that the net itself declares (UpgradeNetInput, upgrade_proto.cpp), and a Split layer after each layer with a
top that several others read (InsertSplits, insert_splits.cpp). All other layers keep their order.
"""

from __future__ import annotations

from harness.caffe_files.messages import pb
from harness.worker.pycaffe import Net

_ADDED = ("Input", "Split")  # types of layers that Caffe adds


def layer_numbers(net: Net, text: pb.NetParameter) -> list[int]:
    """Find the number in the built `net` of every layer of its message `text`, which holds the layers of its phase.

    The message may have `Data` layers where the net has the Python layers that replace them (seekable_nets.py).

    Raises:
        ValueError: the net was not built from that message.
    """
    numbers: list[int] = []
    for number, (name, layer) in enumerate(zip(net._layer_names, net.layers, strict=True)):
        wanted = text.layer[len(numbers)] if len(numbers) < len(text.layer) else None
        if wanted is not None and name == wanted.name and layer.type in (wanted.type, "Python"):
            numbers.append(number)
        elif layer.type not in _ADDED:
            raise ValueError(f"layer {number} of the built net, {name} ({layer.type}), is not in its prototxt")
    if len(numbers) < len(text.layer):
        raise ValueError(f"the built net lacks layer {text.layer[len(numbers)].name} of its prototxt")
    return numbers
