"""Synthetic logs, as Caffe prints them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from harness.caffe_files.log_header import LogHeader
from harness.caffe_log.reader import read_log
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.logged.examine import examine
from harness.diagnosis.logged.findings import RunFindings
from harness.readlog import main


def log_text(
    losses: np.ndarray,
    weights: Sequence[float] = (1.0,),
    *,
    average_loss: int = 1,
    display: int = 1,
    first: int = 0,
    outputs: bool = True,
    lr: Callable[[int], float] = lambda _: 0.001,
) -> str:
    """The log that `caffe train` prints for `losses` (T, heads) of the iterations from `first` on.

    The displayed loss is smoothed as in Solver::UpdateSmoothedLoss.
    """
    losses = losses.reshape(len(losses), -1)
    names = ["loss"] if len(weights) == 1 else [f"loss{k + 1}/loss" for k in range(len(weights))]
    kept: list[float] = []
    smoothed = 0.0
    lines = []
    for row, iteration in enumerate(range(first, first + len(losses))):
        total = float(losses[row] @ np.array(weights))
        if len(kept) < average_loss:
            kept.append(total)
            smoothed = (smoothed * (len(kept) - 1) + total) / len(kept)
        else:
            smoothed += (total - kept[(iteration - first) % average_loss]) / average_loss
            kept[(iteration - first) % average_loss] = total
        if iteration % display:
            continue
        stamp = "I0515 08:44:41.838122  1279"
        lines.append(f"{stamp} solver.cpp:228] Iteration {iteration}, loss = {smoothed:g}")
        for k, (name, weight) in enumerate(zip(names, weights, strict=True)):
            if outputs:
                value = losses[row, k]
                shown = f"{name} = {value:g} (* {weight:g} = {value * weight:g} loss)"
                lines.append(f"{stamp} solver.cpp:244]     Train net output #{k}: {shown}")
        lines.append(f"{stamp} sgd_solver.cpp:106] Iteration {iteration}, lr = {lr(iteration):g}")
    return "\n".join(lines) + "\n"


def falling(count: int, start: float, end: float, noise: float = 0.1, seed: int = 0, heads: int = 1) -> np.ndarray:
    """The losses (count, heads) of a run that learns, with log-normal noise."""
    random = np.random.default_rng(seed)
    level = end + (start - end) * np.exp(-np.arange(count) / (0.1 * count))
    return level[:, None] * np.exp(noise * random.standard_normal((count, heads)) - noise**2 / 2)


def steady(count: int, level: float, noise: float = 0.002, seed: int = 1, heads: int = 1) -> np.ndarray:
    return level * (1 + noise * np.random.default_rng(seed).standard_normal((count, heads)))


def as_json(*arguments: object, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Run `readlog.py ARGUMENTS --json` and return its object, which must not contain NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert main([*map(str, arguments), "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert isinstance(found, dict)
    return found


def then(losses: np.ndarray, row: int, rest: np.ndarray) -> np.ndarray:
    rest = rest[: len(losses) - row]
    losses[row : row + len(rest)] = rest
    return losses


LIMITS = read_limits()


def examined(text: str, facts: LogHeader = LogHeader()) -> RunFindings:  # noqa: B008
    """The findings on the last run of a log."""
    return examine(read_log(io.BytesIO(text.encode()), "log").runs[-1], facts, LIMITS)


def jump_of(found: RunFindings) -> int | None:
    """The first display after the jump."""
    return found.jump.iteration if found.jump is not None else None
