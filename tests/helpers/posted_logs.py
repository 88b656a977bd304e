"""Excerpts of logs as people post them: few displays, other prefixes, tests alone, with what an expert sees in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

STAMP = "I0515 08:44:41.838122  1279"
LN10, LN1000, TOP = 2.302585, 6.907755, 87.3365


def rows(
    losses: Sequence[float] | np.ndarray,
    *,
    step: int = 100,
    first: int = 0,
    heads: Sequence[Sequence[float] | np.ndarray] = (),
    names: Sequence[str] = ("loss",),
    weights: Sequence[float] = (1.0,),
    line: str = f"{STAMP} solver.cpp:228] Iteration {{}}, loss = {{}}",
    accuracy: float | None = None,
) -> str:
    """The displays of `losses`, with the outputs of each head (`heads[k]`) if given.

    Args:
        line: with the iteration and the loss.
        accuracy: of the train net, at every display.
    """
    text = []
    for row, loss in enumerate(losses):
        text.append(line.format(first + row * step, f"{loss:g}"))
        if accuracy is not None:
            text.append(f"{STAMP} solver.cpp:244]     Train net output #0: accuracy = {accuracy:g}")
        for number, (values, name, weight) in enumerate(zip(heads, names, weights, strict=False), accuracy is not None):
            shown = f"{name} = {values[row]:g} (* {weight:g} = {values[row] * weight:g} loss)"
            text.append(f"{STAMP} solver.cpp:244]     Train net output #{number}: {shown}")
    return "\n".join(text) + "\n"


def passes(tests: Mapping[int, Mapping[str, float]], net: int = 0) -> str:
    """Test passes: for each iteration, outputs by name; one that is named `loss` is a loss."""
    text = []
    for iteration, outputs in tests.items():
        text.append(f"{STAMP} solver.cpp:337] Iteration {iteration}, Testing net (#{net})")
        for number, (name, value) in enumerate(outputs.items()):
            weight = f" (* 1 = {value:g} loss)" if "loss" in name.rpartition("/")[2] else ""
            text.append(f"{STAMP} solver.cpp:404]     Test net output #{number}: {name} = {value:g}{weight}")
    return "\n".join(text) + "\n"


def noisy(count: int, level: float, noise: float, seed: int = 0) -> np.ndarray:
    return np.asarray(level * np.exp(noise * np.random.default_rng(seed).standard_normal(count)))
