"""Summarise the state of a run in progress, from its last frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.diagnosis.conditions import chance_loss
from harness.diagnosis.robust_stats import total_norm
from harness.schemas.layout import STATS, Layout

_ROW = {name: row for row, name in enumerate(STATS)}


@dataclass(frozen=True)
class HeadNow:
    """A loss, with its chance level (None where it has no classes)."""

    name: str
    loss: float
    weight: float
    chance: float | None


@dataclass(frozen=True)
class Moving:
    """A param blob and the share of it that the last update changed: ‖update‖ / ‖weight‖."""

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
    """Summarise a frame (one element of layout.frame_dtype), with the `fastest` blobs by ‖update‖ / ‖weight‖."""
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
        gradient_l2=float(total_norm(stat[_ROW["gradient_l2"]])),
        weight_l2=float(total_norm(weight)),
        nonfinite=int(stat[_ROW["gradient_nonfinite"]].sum()),
        fastest=tuple(Moving(layout.params[i].label, float(ratio[i])) for i in order),
    )


def _heads(outputs: npt.NDArray[np.float32], layout: Layout) -> tuple[HeadNow, ...]:
    columns = layout.output_columns
    return tuple(
        HeadNow(h.name, float(outputs[columns[h.name]]), h.weight, chance_loss(h.classes) if h.classes else None)
        for h in layout.heads
        if h.name in columns
    )
