"""Predictions of the real Caffe: weights and inputs from a recording, logits into a file.

This runs as a process of its own. It reads the recording itself, one blob at a time, so that the weights are in memory
once. It runs on the CPU, also for runs on a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import harness.worker.lazy_caffe_io  # noqa: F401  # before caffe

# isort: split
import caffe
import msgspec
import numpy as np
from google.protobuf import text_format

from harness.caffe_files.deploy import DeployNet, SoftmaxHead, deploy_net
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import NetFile
from harness.recording import BadInput, Recording, RecordingError
from harness.schemas.predictions import NoPredictions
from harness.worker.pycaffe import Floats, Net

ReadBlob = Callable[[str, int], Floats]


def predict(recording: Recording, iteration: int, directory: Path) -> dict[str, Floats | str]:
    """Compute the inputs of the softmax heads with W_t and with W_{t+1}, on the inputs of iteration t.

    Args:
        recording: the recording of a run.
        iteration: t.
        directory: for the deploy net's file.

    Returns:
        `heads`: JSON, a list of name, weight and ignore_label; `batch_statistics`: the names of BatchNorm layers that
        normalise by the batch, because their running averages are empty; and for each head, by its number in that list,
        `labels_n` (N,), `before_n` and `after_n` (N, classes) float32. N counts the images of all passes of the
        iteration.

    Raises:
        RecordingError: weights or inputs were not recorded, or the net has no such head.
    """
    attributes = recording.attributes
    passes = int(parse_text(str(attributes["solver"]), pb.SolverParameter, recording.path).iter_size)
    train = NetFile(str(recording.path), parse_text(str(attributes["net"]), pb.NetParameter, recording.path))

    def batches(top: str) -> Floats:
        """(passes, *shape)"""
        values = recording.input(iteration, top)
        return values if passes > 1 else values[np.newaxis]

    deploy = deploy_net(train, lambda top: batches(top).shape[1:])
    if not deploy.heads:
        raise NoPredictions(f"{recording.path}: the train net has no SoftmaxWithLoss layer, so it predicts no classes")
    empty = _empty_averages(recording, iteration, deploy)
    for layer in empty:
        layer.batch_norm_param.use_global_stats = False
    inputs = {top: batches(top) for top in deploy.inputs}
    file = directory / "deploy.prototxt"
    file.write_text(text_format.MessageToString(deploy.param))
    net: Net = caffe.Net(str(file), caffe.TEST)
    heads = _heads_of_images(recording, net, deploy, {v.shape[1] for v in inputs.values()})
    result: dict[str, Floats | str] = {
        "heads": msgspec.json.encode(heads).decode(),
        "batch_statistics": ", ".join(layer.name for layer in empty),
    }
    for when, read in (("before", _weights(recording, iteration)), ("after", _next_weights(recording, iteration))):
        _fill(net, deploy, read)
        logits, labels = _forward(net, heads, inputs, passes)
        result |= {f"{when}_{n}": values for n, values in enumerate(logits)}
        result |= {f"labels_{n}": values for n, values in enumerate(labels)}
    return result


def _empty_averages(recording: Recording, iteration: int, deploy: DeployNet) -> list[pb.LayerParameter]:
    """List the BatchNorm layers of the deploy net whose running averages hold nothing yet, as in a new training.

    Their third blob, by which the averages are divided, is 0 until the first forward pass (batch_norm_layer.cpp).
    """
    return [
        layer
        for layer in deploy.param.layer
        if layer.type == "BatchNorm"
        and not recording.weight(iteration, *deploy.owners.get((layer.name, 2), (layer.name, 2))).any()
    ]


def _heads_of_images(recording: Recording, net: Net, deploy: DeployNet, batches: set[int]) -> list[SoftmaxHead]:
    """Select the heads that predict one class for each image of a batch, and not one a pixel or a time step."""
    heads = []
    for head in deploy.heads:
        shape = tuple(net.blobs[head.logits].shape)
        axis = head.axis % len(shape)
        if axis == 1 and shape[0] in batches and all(n == 1 for n in shape[2:]):
            heads.append(head)
    if not heads:
        raise NoPredictions(
            f"{recording.path}: no SoftmaxWithLoss layer predicts one class an image: "
            + ", ".join(f"{h.name} reads {tuple(net.blobs[h.logits].shape)}" for h in deploy.heads)
        )
    return heads


def _weights(recording: Recording, iteration: int) -> ReadBlob:
    return lambda layer, index: recording.weight(iteration, layer, index)


def _next_weights(recording: Recording, iteration: int) -> ReadBlob:
    """Read W_{t+1}: as recorded, or at the end of a window W_t less the update, which is the same bit for bit."""
    if "weight" in recording.window_arrays(iteration + 1):
        return _weights(recording, iteration + 1)
    return lambda layer, index: recording.weight(iteration, layer, index) - recording.update(iteration, layer, index)


def _fill(net: Net, deploy: DeployNet, read: ReadBlob) -> None:
    for name, layer in zip(net._layer_names, net.layers, strict=True):
        for index, blob in enumerate(layer.blobs):
            blob.data[...] = read(*deploy.owners.get((name, index), (name, index)))


def _forward(
    net: Net, heads: Sequence[SoftmaxHead], inputs: Mapping[str, Floats], passes: int
) -> tuple[list[Floats], list[Floats]]:
    """Compute the logits (N, classes) and the labels (N,) of each head, all passes one after the other."""
    logits: list[list[Floats]] = [[] for _ in heads]
    labels: list[list[Floats]] = [[] for _ in heads]
    for number in range(passes):
        for top, values in inputs.items():
            net.blobs[top].data[...] = values[number]
        net.forward()
        for n, head in enumerate(heads):
            read = net.blobs[head.logits].data
            logits[n].append(read.reshape(read.shape[:2]).copy())
            labels[n].append(net.blobs[head.labels].data.ravel().copy())
    return [np.concatenate(parts) for parts in logits], [np.concatenate(parts) for parts in labels]


def main(path: Path, iteration: int, directory: Path) -> None:
    """Write the predictions to `logits.npz` in `directory`, or why there are none to `refusal`."""
    np.seterr(all="ignore")
    caffe.set_mode_cpu()
    try:
        with Recording(path) as recording:
            np.savez(directory / "logits.npz", allow_pickle=False, **predict(recording, iteration, directory))
    except (BadInput, RecordingError) as error:
        (directory / "refusal").write_text(str(error))
        sys.exit(2)


if __name__ == "__main__":
    caffe.init_log(2, True)  # errors only, to stderr: the client shows what it died of
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
