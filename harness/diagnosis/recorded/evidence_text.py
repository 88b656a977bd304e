"""Why an onset is where it is: sentences with numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SHORTEST = 16  # iterations in a block, at least: enough for a median
AS_USUAL = 5  # blocks that say what was usual before


def norm(parts: Floats) -> Floats:
    """(T,) the length of the whole gradient from (T, P) of its blobs; of (P,) the one length."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.sum(np.square(parts), axis=-1)))


def loss_sentence(loss: Floats, row: int, width: int) -> str:
    rest = np.where(np.isfinite(loss[row:]), loss[row:], np.inf)
    before = f"loss {np.median(loss[max(0, row - width) : row]):.4g}" if row else "loss"
    level = float(np.median(rest[len(rest) // 2 :]))
    if not np.isfinite(level):
        return f"{before} → {np.max(rest[np.isfinite(rest)], initial=loss[row]):.4g} at the most while it is finite"
    start = float(np.median(loss[max(0, row - width) : row])) if row else float(loss[0])
    for stop in range(width, len(rest) + width, width):
        if np.median(rest[stop - width : stop]) >= start + 0.8 * (level - start):
            break
    return f"{before} → {level:.4g} within {min(stop, len(rest))} iterations, and has not come back"


def gradient_sentence(
    iterations: npt.NDArray[np.integer],
    gradient_l2: Floats | None,
    row: int,
    width: int,
    labels: Sequence[str] | None,
) -> list[str]:
    if gradient_l2 is None or not gradient_l2.size or row < SHORTEST:
        return []
    before = gradient_l2[max(0, row - AS_USUAL * width) : row]
    usual, now = float(np.median(norm(before))), float(norm(gradient_l2[row : row + 1])[0])
    if not now > 2 * usual > 0:
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(gradient_l2[row] / np.median(before, axis=0), nan=0.0, posinf=0.0)
    most = int(np.argmax(ratio))
    where = f", most in {labels[most]} (×{ratio[most]:.3g})" if labels is not None and ratio[most] > 0 else ""
    return [f"gradient {now:.4g} at iteration {iterations[row]}, {now / usual:.3g} times its usual {usual:.3g}{where}"]


def broken_sentence(
    iterations: npt.NDArray[np.integer],
    loss: Floats,
    gradient_l2: Floats | None,
    nonfinite: npt.NDArray[np.generic] | None,
    row: int,
    labels: Sequence[str] | None,
) -> str:
    if nonfinite is not None:
        bad = np.asarray(nonfinite[row]).astype(bool)
    else:
        bad = ~np.isfinite(gradient_l2[row]) if gradient_l2 is not None else np.zeros(0, bool)
    if bad.any():
        blobs = np.flatnonzero(bad)
        more = f" and {len(blobs) - 1} more" if len(blobs) > 1 else ""
        whose = f" of {labels[int(blobs[0])]}{more}" if labels is not None else ""
        return f"gradient{whose} not finite at iteration {iterations[row]}"
    return f"loss {loss[row]} at iteration {iterations[row]}, and not finite from there on"
