"""Logs of different shapes, as Caffe and its forks print them, for the campaign to mutate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

_STAMP = "I0515 08:44:{:02d}.838122  1279 "
_HEADER = """I0515 08:44:35.100000  1279 caffe.cpp:218] Using GPUs 0
I0515 08:44:35.200000  1279 solver.cpp:45] Initializing solver from parameters:
test_iter: 10
test_interval: 500
base_lr: 0.01
display: 20
max_iter: 10000
lr_policy: "step"
gamma: 0.1
momentum: 0.9
weight_decay: 0.0005
stepsize: 400
snapshot: 200
snapshot_prefix: "snap/net"
net: "train_val.prototxt"
I0515 08:44:35.300000  1279 solver.cpp:102] Creating training net from net file: train_val.prototxt
I0515 08:44:35.400000  1279 net.cpp:58] Initializing net from parameters:
name: "net"
state {
  phase: TRAIN
}
layer {
  name: "data"
  type: "Data"
  top: "data"
  top: "label"
  data_param {
    source: "train_lmdb"
    batch_size: 64
    backend: LMDB
  }
}
layer {
  name: "ip"
  type: "InnerProduct"
  bottom: "data"
  top: "ip"
  inner_product_param {
    num_output: 10
  }
}
layer {
  name: "loss"
  type: "SoftmaxWithLoss"
  bottom: "ip"
  bottom: "label"
  top: "loss"
}
I0515 08:44:35.500000  1279 layer_factory.hpp:77] Creating layer data
I0515 08:44:36.000000  1279 solver.cpp:57] Solver scaffolding done.
I0515 08:44:36.100000  1279 solver.cpp:279] Solving net
"""
_FATAL = """F0515 08:45:41.000000  1279 syncedmem.cpp:56] Check failed: error == cudaSuccess (2 vs. 0)  out of memory
*** Check failure stack trace: ***
    @     0x7f0000000000  google::LogMessage::Fail()
"""


def _displays(losses: np.ndarray, first: int = 0, step: int = 20, prefix: str = "") -> Iterator[str]:
    """Print as Caffe 1.0, with a snapshot and a test pass now and then."""
    for row, loss in enumerate(losses):
        at, iteration = prefix + _STAMP.format(row % 60), first + row * step
        if row and row % 10 == 0:
            yield f"{at}solver.cpp:464] Snapshotting to binary proto file snap/net_iter_{iteration}.caffemodel\n"
            state = f"snap/net_iter_{iteration}.solverstate"
            yield f"{at}sgd_solver.cpp:284] Snapshotting solver state to binary proto file {state}\n"
        if row % 25 == 0:
            yield f"{at}solver.cpp:347] Iteration {iteration}, Testing net (#0)\n"
            yield f"{at}solver.cpp:424]     Test net output #0: accuracy = {1 / (1 + loss):g}\n"
            yield f"{at}solver.cpp:424]     Test net output #1: loss = {loss:g} (* 1 = {loss:g} loss)\n"
        yield f"{at}solver.cpp:239] Iteration {iteration} (2.9 iter/s, 34.5s/100 iters), loss = {loss:g}\n"
        yield f"{at}solver.cpp:258]     Train net output #0: loss = {loss:g} (* 1 = {loss:g} loss)\n"
        yield f"{at}sgd_solver.cpp:112] Iteration {iteration}, lr = {0.01 * 0.1 ** (iteration // 400):g}\n"


def _learning(count: int, seed: int, end: float = 0.4) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(1, 0.05, count)
    return (end + (2.3 - end) * np.exp(-np.arange(count) / (count / 6))) * noise


@cache
def healthy() -> bytes:
    """A run with solver and net in its log, which learns."""
    return (_HEADER + "".join(_displays(_learning(80, 1)))).encode()


@cache
def collapsed() -> bytes:
    """A run that jumps to chance level and stays there."""
    return (_HEADER + "".join(_displays(np.r_[_learning(60, 2), np.full(40, np.log(10))]))).encode()


@cache
def not_finite() -> bytes:
    """A run that goes to NaN, then dies."""
    losses = np.r_[_learning(40, 3), 9.5, 87.3365, np.full(10, np.nan)]
    return (_HEADER + "".join(_displays(losses)) + _FATAL).encode()


@cache
def resumed() -> bytes:
    """Three runs in one log, two of them resumed from snapshots."""
    parts = [_HEADER, *_displays(_learning(30, 4))]
    for first in (400, 800):
        restore = _HEADER.replace("279] Solving", "285] Solving") + (
            _STAMP.format(1) + f"caffe.cpp:241] Resuming from snap/net_iter_{first}.solverstate\n"
            + _STAMP.format(2) + "sgd_solver.cpp:318] SGDSolver: restoring history\n"
        )  # fmt: skip
        parts += [restore, *_displays(_learning(30, first) + 0.2, first)]
    return "".join(parts).encode()


@cache
def three_heads() -> bytes:
    """A GoogLeNet with three weighted losses, without solver and net."""
    lines = []
    for row, loss in enumerate(np.r_[_learning(40, 5, 1.5) + 0.5, np.full(30, 5.63)]):
        at = _STAMP.format(row % 60)
        lines.append(f"{at}solver.cpp:228] Iteration {row * 40}, loss = {loss * 1.6:g}\n")
        for head, weight in enumerate((0.3, 0.3, 1.0)):
            name = f"loss{head + 1}/loss{1 if head < 2 else 3}"
            output = f"{name} = {loss:g} (* {weight:g} = {weight * loss:g} loss)"
            lines.append(f"{at}solver.cpp:244]     Train net output #{head}: {output}\n")
        lines.append(f"{at}sgd_solver.cpp:106] Iteration {row * 40}, lr = 0.001\n")
    return "".join(lines).encode()


@cache
def old_caffe() -> bytes:
    """Caffe of 2013, with its scores of tests."""
    lines = []
    for row, loss in enumerate(_learning(50, 6)):
        at = f"I0923 02:11:{row % 60:02d}.838122  1279 "
        lines.append(f"{at}solver.cpp:150] Iteration {row * 100}, loss = {loss:g}\n")
        lines.append(f"{at}solver.cpp:87] Iteration {row * 100}, lr = 0.01\n")
        if row % 5 == 0:
            lines.append(f"{at}solver.cpp:106] Iteration {row * 100}, Testing net\n")
            lines.append(f"{at}solver.cpp:142] Test score #0: {1 / (1 + loss):g}\n")
            lines.append(f"{at}solver.cpp:142] Test score #1: {loss:g}\n")
    return "".join(lines).encode()


@cache
def ranks() -> bytes:
    """Three MPI ranks that write into one log."""
    parts = [list(_displays(_learning(20, 7), prefix=f"[0.{rank}] ")) for rank in range(3)]
    return "".join(line for lines in zip(*parts, strict=True) for line in lines).encode()


@cache
def pasted() -> bytes:
    """A few displays in a forum post, indented and quoted."""
    lines = "".join(_displays(_learning(6, 8))).splitlines()
    return ("My loss does not go down:\n\n> " + "\n> ".join(lines) + "\n\nWhat can I do?\n").encode()


BASE_LOGS: tuple[Callable[[], bytes], ...] = (
    *(healthy, collapsed, not_finite, resumed),
    *(three_heads, old_caffe, ranks, pasted),
)
