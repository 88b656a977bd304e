"""Describe the evidence for an onset, in clauses with numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.baseline import PARAM_ROWS
from harness.diagnosis.robust_stats import Bools, Floats, total_norm

MIN_BLOCK = 16  # iterations in a block, at least: enough for a median
BASELINE_BLOCKS = 5  # blocks before an onset that make its baseline
_RISE = 1.4  # times, from one iteration to the next: a step of the schedule, no warm-up


def loss_evidence(loss: Floats, row: int, width: int) -> str:
    """Describe how the loss (T,) left its level at `row`; levels are over `width` iterations."""
    rest = np.where(np.isfinite(loss[row:]), loss[row:], np.inf)
    before = f"loss {np.median(loss[max(0, row - width) : row]):.4g}" if row else "loss"
    level = float(np.median(rest[len(rest) // 2 :]))
    if not np.isfinite(level):
        return f"{before} → at most {np.max(rest[np.isfinite(rest)], initial=loss[row]):.4g} while finite"
    start = float(np.median(loss[max(0, row - width) : row])) if row else float(loss[0])
    for stop in range(width, len(rest) + width, width):
        if np.median(rest[stop - width : stop]) >= start + 0.8 * (level - start):
            break
    return f"{before} → {level:.4g} within {min(stop, len(rest))} iterations, without recovery"


def gradient_evidence(
    iterations: npt.NDArray[np.integer],
    gradient_l2: Floats | None,
    row: int,
    labels: Sequence[str] | None,
) -> list[str]:
    """Describe how the gradient (T, P) left its baseline at `row`; nothing where it did not, or is not known."""
    if gradient_l2 is None or not gradient_l2.size or row < MIN_BLOCK:
        return []
    before = gradient_l2[max(0, row - PARAM_ROWS) : row]
    baseline, now = float(np.median(total_norm(before))), float(total_norm(gradient_l2[row : row + 1])[0])
    if not now > 2 * baseline > 0:
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(gradient_l2[row] / np.median(before, axis=0), nan=0.0, posinf=0.0)
    most = int(np.argmax(ratio))
    where = f", most in {labels[most]} (×{ratio[most]:.3g})" if labels is not None and ratio[most] > 0 else ""
    times = f"{now / baseline:.3g} times its baseline of {baseline:.3g}"
    return [f"gradient norm {now:.4g} at iteration {iterations[row]}, {times}{where}"]


def nonfinite_evidence(
    iterations: npt.NDArray[np.integer], loss: Floats, nonfinite: Bools, row: int, labels: Sequence[str] | None
) -> str:
    """Describe which gradients are not finite at `row`, or that the loss is not finite from there on.

    `nonfinite` (P,): which param blobs have a gradient at `row` that is not finite.
    """
    if nonfinite.any():
        blobs = np.flatnonzero(nonfinite)
        more = f" and {len(blobs) - 1} more" if len(blobs) > 1 else ""
        of = f" of {labels[int(blobs[0])]}{more}" if labels is not None else ""
        return f"gradient{of} not finite at iteration {iterations[row]}"
    return f"loss {loss[row]} at iteration {iterations[row]}, not finite from there on"


def rate_evidence(iterations: npt.NDArray[np.integer], lr: Floats, row: int) -> str | None:
    """Describe how the learning rate (T,) rose at `row` or in the iterations just before; None if it did not."""
    first = max(0, row - BASELINE_BLOCKS * MIN_BLOCK)
    rates = lr[first : row + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = np.nan_to_num(rates[1:] / rates[:-1], nan=0.0, posinf=0.0)
    if not len(rise) or rise.max() < _RISE:
        return None
    at = int(np.argmax(rise))
    rose = f"rose from {rates[at]:,.6g} to {rates[at + 1]:,.6g}"
    return f"the learning rate {rose} at iteration {iterations[first + at + 1]:,}"
