"""The state of layers that stateful_layers.py finds: written beside a snapshot, and put back when it is resumed."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import pb
from harness.caffe_files.stateful_layers import constant_tops, is_recurrent, stateful_layers
from harness.errors import BadInput
from harness.worker.layer_numbers import layer_numbers
from harness.worker.native_memory import Unreadable
from harness.worker.pycaffe import Floats, Net
from harness.worker.recurrent import hidden_state

# By net / which of the layers of this name / number of the blob / name of the layer.
State = Mapping[str, Floats]


def read_state(nets: Sequence[Net], texts: Sequence[pb.NetParameter]) -> State | None:
    """Copy the state of the layers of all nets, which were built from `texts`. None if it cannot be read."""
    try:
        return {key: view.copy() for key, view in _views(nets, texts).items()}
    except Unreadable:
        return None


def write_state(state: State, nets: Sequence[Net], texts: Sequence[pb.NetParameter]) -> list[str]:
    """Put `state` into nets that have not run yet. Returns a sentence for each layer that cannot have it."""
    try:
        views = _views(nets, texts)
    except Unreadable as reason:
        return [f"the hidden state of recurrent layers cannot be set in this build of Caffe ({reason})"]
    missing: dict[str, None] = {}
    for key, view in views.items():
        stored = state.get(key)
        if stored is not None and stored.shape == view.shape:
            view[...] = stored
        else:
            name = key.split("/", 3)[3]
            missing[f"layer {name} begins without the state that it had: none of its shape was stored"] = None
    return list(missing)


def encode_state(state: State) -> bytes:
    """Encode a state as the contents of an .npz file."""
    content = io.BytesIO()
    np.savez(content, **state)  # type: ignore[arg-type]  # its types take the arrays for its other argument, a bool
    return content.getvalue()


def load_state(path: Path) -> State:
    """Load a state from the file beside a snapshot.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(f"cannot be read ({error})", file=path, remedy="Restart from another snapshot") from None


def _views(nets: Sequence[Net], texts: Sequence[pb.NetParameter]) -> dict[str, Floats]:
    """Find the memory of the state of all nets.

    Raises:
        Unreadable: that of a recurrent layer is not where it is expected.
    """
    found = {}
    for number, (net, text) in enumerate(zip(nets, texts, strict=True)):
        stateful = stateful_layers(text)
        numbers = layer_numbers(net, text) if stateful else []
        names: Counter[str] = Counter()
        for position in stateful:
            layer, built = text.layer[position], numbers[position]
            if is_recurrent(layer):
                blobs = hidden_state(net, built)
            else:
                blobs = [net._blobs[net._top_ids(built)[top]].data for top in constant_tops(layer)]
            for index, blob in enumerate(blobs):
                found[f"{number}/{names[layer.name]}/{index}/{layer.name}"] = blob
            names[layer.name] += 1
    return found
