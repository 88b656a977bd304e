"""Logs of a few displays, as Caffe prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

STAMP = "I0515 08:44:41.838122  1279"


BEGUN = f"""{STAMP} solver.cpp:45] Initializing solver from parameters:
base_lr: 0.01
display: 20
lr_policy: "fixed"
{STAMP} solver.cpp:102] Creating training net from net file: x.prototxt
{STAMP} solver.cpp:279] Solving X
"""


FATAL = "F0515 08:45:41.000000  1279 syncedmem.cpp:56] Check failed: error == cudaSuccess (2 vs. 0)  out of memory\n"


def shown(iteration: int, loss: float, *, mark: str = "", heads: Sequence[float] = ()) -> str:
    outputs = "".join(
        f"{STAMP} solver.cpp:244] {mark}    Train net output #{k}: head{k} = {value:g} (* 1 = {value:g} loss)\n"
        for k, value in enumerate(heads)
    )
    return (
        f"{STAMP} solver.cpp:228] {mark}Iteration {iteration}, loss = {loss:g}\n{outputs}"
        f"{STAMP} sgd_solver.cpp:106] {mark}Iteration {iteration}, lr = 0.01\n"
    )


def run_of(losses: Sequence[float] | np.ndarray, first: int = 0) -> str:
    return BEGUN + "".join(shown(first + 20 * row, float(loss)) for row, loss in enumerate(losses))


def learning(count: int, end: float = 0.4) -> np.ndarray:
    noise = np.random.default_rng(3).normal(1, 0.05, count)
    return (end + (2.3 - end) * np.exp(-np.arange(count) / (count / 6))) * noise


COLLAPSED = np.r_[learning(150), np.full(51, math.log(10))]
