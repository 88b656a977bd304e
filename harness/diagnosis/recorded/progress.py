"""Where a run stands: numbers for a display, from the frames that came last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.recorded.evidence_text import norm
from harness.schemas.layout import STATS, Layout

_ROW = {name: row for row, name in enumerate(STATS)}


@dataclass(frozen=True)
class HeadNow:
    """A loss now, beside ln(classes): what it is worth to know nothing (None where it has no classes)."""

    name: str
    loss: float
    weight: float
    uniform: float | None


@dataclass(frozen=True)
class Moving:
    """A param blob and how much of it the last update changed: ‖update‖ / ‖weight‖."""

    label: str
    ratio: float


@dataclass(frozen=True)
class Progress:
    """The state after one iteration."""

    iteration: int
    lr: float
    loss: float
    smoothed_loss: float
    heads: tuple[HeadNow, ...]
    gradient_l2: float
    weight_l2: float
    nonfinite: int
    fastest: tuple[Moving, ...]


def progress(frame: np.void, layout: Layout, fastest: int = 3) -> Progress:
    """What `frame` (one record of layout.frame_dtype) says, with the `fastest` blobs by update / weight."""
    stat = frame["stat"]
    weight, update = stat[_ROW["weight_l2"]], stat[_ROW["update_l2"]]
    with np.errstate(all="ignore"):
        ratio = np.where(weight > 0, update / weight, 0.0)
    order = np.argsort(-np.where(np.isnan(ratio), np.inf, ratio), kind="stable")[:fastest]
    return Progress(
        iteration=int(frame["iteration"]),
        lr=float(frame["lr"]),
        loss=float(frame["loss"]),
        smoothed_loss=float(frame["smoothed_loss"]),
        heads=_heads(frame["output"], layout),
        gradient_l2=float(norm(stat[_ROW["gradient_l2"]])),
        weight_l2=float(norm(weight)),
        nonfinite=int(stat[_ROW["gradient_nonfinite"]].sum()),
        fastest=tuple(Moving(layout.params[i].label, float(ratio[i])) for i in order),
    )


def _heads(outputs: npt.NDArray[np.float32], layout: Layout) -> tuple[HeadNow, ...]:
    columns = layout.output_columns
    return tuple(
        HeadNow(h.name, float(outputs[columns[h.name]]), h.weight, math.log(h.classes) if h.classes else None)
        for h in layout.heads
        if h.name in columns
    )
