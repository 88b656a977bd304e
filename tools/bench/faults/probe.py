"""Train with plain pycaffe, and return the losses: how the strength of a fault is searched.

As a module that is run, it is the process with Caffe: it reads a request a line, and answers each with a line of JSON.
On request it asks in between, in a line with the losses so far, whether they are enough; the answer is true or false.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.bench.faults.training import TrainingFiles
from tools.bench.nets import ROOT

_MOST = 30  # trainings of a process
_ASKS_EVERY = 20  # iterations

Losses = npt.NDArray[np.float64]


class Probe:
    """Trains in a process with Caffe, which is replaced after a loss that is not finite; a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._trained = 0  # by this process

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._end()

    def losses(
        self,
        files: TrainingFiles,
        iterations: int,
        save: Path | None = None,
        is_clear: Callable[[Losses], bool] | None = None,
    ) -> Losses:
        """Train, and return the loss of each iteration, up to the first one that is not finite.

        Args:
            save: a caffemodel to write at the end.
            is_clear: is asked every 20 iterations whether the losses so far are enough.

        Raises:
            RuntimeError: Caffe died.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tools.bench.faults.probe"],
                cwd=ROOT,
                env=dict(os.environ) | {"GLOG_minloglevel": "2", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request: object = files.as_json() | {
            "iterations": iterations,
            "save": None if save is None else str(save),
            "asks": is_clear is not None,
        }
        while True:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            if not line:
                self._end()
                raise RuntimeError(f"{files.solver}: Caffe died")
            answer = json.loads(line)
            losses = np.array(answer["losses"], np.float64)
            if not answer["asks"] or is_clear is None:
                break
            request = is_clear(losses)
        self._trained += 1
        if not np.isfinite(losses[-1]) or self._trained == _MOST:  # Caffe keeps solvers that have callbacks
            self._end()
        return losses

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.stdout.close()
            self._process, self._trained = None, 0


def _trained(
    caffe: Any, solver: str, weights: str | None, iterations: int, save: str | None, asks: bool
) -> list[float]:
    training = caffe.get_solver(solver)
    if weights is not None:
        training.net.copy_from(weights)
    found: list[float] = []
    heads = [(name, training.net.blob_loss_weights[name]) for name in training.net.outputs]
    heads = [(name, weight) for name, weight in heads if weight]

    def check(layer: int) -> None:
        """End a training before a backward pass that MAX pooling would make outside of its memory."""
        if not np.isfinite(loss()):
            raise FloatingPointError

    def loss() -> float:
        return float(sum(weight * training.net.blobs[name].data for name, weight in heads))

    training.net.before_backward(check)
    with suppress(FloatingPointError):
        for iteration in range(1, iterations + 1):
            training.step(1)
            found.append(loss())
            if asks and not iteration % _ASKS_EVERY and iteration < iterations and _is_enough(found):
                return found
    if len(found) < iterations:
        found.append(loss())
    if save is not None:
        training.net.save(save)
    return found


def _is_enough(losses: list[float]) -> bool:
    """Ask whether these losses are enough."""
    print(json.dumps({"losses": losses, "asks": True}), flush=True)
    return bool(json.loads(sys.stdin.readline()))


def _serve() -> None:
    argparse.ArgumentParser(prog="python -m tools.bench.faults.probe", description=__doc__).parse_args()
    import caffe

    caffe.set_mode_cpu()
    for line in sys.stdin:
        print(json.dumps({"losses": _trained(caffe, **json.loads(line)), "asks": False}), flush=True)


if __name__ == "__main__":
    _serve()
