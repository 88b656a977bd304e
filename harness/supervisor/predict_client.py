"""Predict every image of an iteration's batch, before and after its update, with the real Caffe in a worker."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from harness.caffe_files.deploy import SoftmaxHead
from harness.caffe_files.messages import caffe_directory
from harness.caffe_log.death import death_message, without_header
from harness.errors import BadInput
from harness.processes import child_environment
from harness.recording import Recording
from harness.schemas.predictions import HeadPredictions, NoPredictions, Predictions

_SMALLEST = float(np.finfo(np.float32).tiny)  # FLT_MIN


def predictions(recording: Recording, iteration: int) -> tuple[HeadPredictions, ...]:
    """Predict the inputs of `iteration` (t) with each SoftmaxWithLoss head of the train net, in the net's order.

    N is batch × iter_size, in the order of `Recording.keys`. The net is in TEST phase: Dropout is off and BatchNorm
    uses its running averages, so the predictions are free of the noise of a training pass; the mean of the losses
    is the recorded loss of iteration t only if the net has neither layer. W_{t+1} is what was recorded, or at the
    end of a window W_t less the update; BatchNorm's running averages are then still those of W_t, because Caffe writes
    them in the forward pass, not in the update. Where they are still empty, the batch's own statistics are used
    (`HeadPredictions.batch_statistics`). Heads that predict one class per pixel or time step are left out.

    Caffe runs in a process of its own, with one BLAS thread, in the directory from which the run was started.

    Raises:
        NoPredictions: the net has no such head, or that process died; with what Caffe printed.
        RecordingError: `iteration` is in no window, or its weights, updates or inputs were not captured.
    """
    first = recording.params[0] if recording.params else None
    if first is not None:
        recording.weight(iteration, first.layer, first.index)  # raises for what is missing before Caffe is started
    try:
        caffe_directory()
    except BadInput as error:
        raise NoPredictions(f"{recording.path}: the predictions of iteration {iteration} need Caffe: {error}") from None
    started_from = Path(str(recording.attributes.get("directory", "")))
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "harness.worker.predict", recording.path.resolve(), str(iteration), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=child_environment(blas_threads=1),
            cwd=started_from if started_from.is_dir() else None,
            check=False,
        )
        refusal = Path(name) / "refusal"
        if refusal.is_file():
            raise NoPredictions(refusal.read_text())
        if done.returncode != 0:
            code = done.returncode
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            said = death_message(line.strip() for line in done.stdout.decode(errors="replace").splitlines())
            raise NoPredictions(
                f"{recording.path}: the predictions of iteration {iteration} cannot be computed; the worker died "
                f"({how}): {without_header(said[-1]) if said else 'it printed nothing'}"
            )
        with np.load(Path(name) / "logits.npz") as file:
            heads = msgspec.json.decode(str(file["heads"]), type=list[SoftmaxHead])
            return tuple(
                replace(
                    _head(head, *(file[f"{what}_{n}"] for what in ("labels", "before", "after"))),
                    batch_statistics=str(file["batch_statistics"]),
                )
                for n, head in enumerate(heads)
            )


def _head(
    head: SoftmaxHead,
    given: npt.NDArray[np.float32],
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
) -> HeadPredictions:
    labels = given.astype(np.int64)
    ignored = head.ignore_label
    return HeadPredictions(
        name=head.name,
        weight=head.weight,
        classes=before.shape[1],
        labels=labels,
        before=softmax(before, labels, ignored),
        after=softmax(after, labels, ignored),
    )


def softmax(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64], ignore_label: int | None = None
) -> Predictions:
    """Compute the predictions of a softmax of `logits` (N, classes) for N images with `labels` (N,).

    The loss is that of SoftmaxWithLossLayer::Forward_cpu (softmax_loss_layer.cpp), in double precision.
    """
    with np.errstate(all="ignore"):  # a net that has diverged gives infinities and NaN
        wide = logits.astype(np.float64)
        powers = np.exp(wide - wide.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    counted = (labels >= 0) & (labels < logits.shape[1])
    if ignore_label is not None:
        counted &= labels != ignore_label
    of_label = np.where(counted, probabilities[rows, np.where(counted, labels, 0)], np.nan)
    predicted = probabilities.argmax(axis=1)
    return Predictions(
        loss=-np.log(np.maximum(of_label, _SMALLEST)),
        predicted=np.where(np.isnan(probabilities).any(axis=1), -1, predicted),
        probability=probabilities[rows, predicted],
        label_probability=of_label,
    )
