"""Figures of an explanation: the losses of its trials, and its margins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.reports.figures.style import label_iterations, label_log, plain, styled
from harness.reports.number_lines import NumberLine, explanation_lines, own_values
from harness.reports.palette import BROKEN, GREY
from harness.reports.trials import (
    BREAKS,
    HEALS,
    LOOKS,
    UNDECIDED,
    arm_series,
    groups_of,
    is_measured,
    look,
    loss_scale,
    outcome,
)
from harness.schemas.explanation import ArmSummary, Explanation

_MOST = 12  # trials in a figure
_ACROSS = 4
_TITLE_WIDTH = 34  # characters


def trials(explanation: Explanation, kinds: Sequence[str] = ()) -> Figure:
    """Draw the losses of the arms of up to 12 trials, each in front of those of an unchanged replay.

    An arm that heals ends in a green dot, one that breaks in an orange cross, an undecided one in a grey diamond.

    Args:
        kinds: of trials (see `ArmSummary.kind`); default: all that break or heal, in the order of the report.
    """
    known = [trial for group in groups_of(explanation) for trial in group.trials]
    shown = [t for t in known if not is_measured(t) and any(map(len, t.curves)) and (not kinds or t.kind in kinds)][
        :_MOST
    ]
    down = max(1, math.ceil(len(shown) / _ACROSS))
    with styled():
        figure = Figure(figsize=(10, 0.5 + 2.0 * down), layout="constrained")
        panels = figure.subplots(down, _ACROSS, sharey=True, squeeze=False).ravel()
        control = next((trial for trial in known if trial.kind == "control" and trial.curves), None)
        for axes, trial in zip(panels, shown, strict=False):
            _draw(axes, trial, control, explanation)
        for axes in panels[len(shown) :]:
            axes.axis("off")
        _scale(panels[0], shown, explanation)
        handles = [
            mpl.lines.Line2D([], [], color=found.colour, marker=found.marker, label=found.word)
            for found in (HEALS, BREAKS, UNDECIDED)
        ]
        handles.append(mpl.lines.Line2D([], [], color=GREY, lw=2.5, alpha=0.5, label="nothing changed"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def margins(explanation: Explanation, found: Diagnosis) -> Figure:
    """Draw how much survives and how much breaks, with the values that the run has, the curvature along the gradient,
    and the effects of the records that did damage.

    Args:
        found: the diagnosis of the run.
    """
    lines = explanation_lines(explanation, own_values(found, explanation.verdict.iteration))
    with styled():
        figure = Figure(figsize=(10, 0.3 + 0.85 * max(1, len(lines))), layout="constrained")
        panels = figure.subplots(max(1, len(lines)), 1, squeeze=False).ravel()
        for axes, line in zip(panels, lines, strict=False):
            _draw_line(axes, line)
        if not lines:
            panels[0].axis("off")
            panels[0].annotate("no margin is known", (0.5, 0.5), xycoords="axes fraction", ha="center")
    return figure


def orders(explanation: Explanation) -> Figure:
    """Draw the share of other data orders that break, by how many iterations before the cause they start."""
    known = sorted((part for part in explanation.rewind if part.runs), key=lambda part: part.back)
    with styled():
        figure = Figure(figsize=(6, 2.6), layout="constrained")
        axes = figure.subplots()
        shares = [100 * part.breaks / part.runs for part in known]
        axes.step(range(len(known)), shares, where="mid", color=BROKEN, lw=1.6)
        for place, (part, share) in enumerate(zip(known, shares, strict=True)):
            text = f"{part.breaks} of {part.runs}"
            axes.annotate(text, (place, share), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=8)
        axes.set_xticks(range(len(known)), [f"{part.back:,}" for part in known])
        axes.set_ylim(-5, 115)
        axes.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
        axes.set_xlabel("iterations before the cause from which on the data come in another order")
        axes.set_ylabel("orders that break")
    return figure


def _draw(axes: Axes, trial: ArmSummary, control: ArmSummary | None, explanation: Explanation) -> None:
    if control is not None and trial is not control:
        times, losses = arm_series(control, control.curves[0])
        axes.plot(times, losses, color=GREY, lw=2.5, alpha=0.5, zorder=1)
    for number, curve in enumerate(trial.curves):
        if not curve:
            continue
        found = LOOKS[trial.judgements[number] if number < len(trial.judgements) else "unclear"]
        times, losses = arm_series(trial, curve)
        axes.plot(times, losses, color=found.colour, lw=1, zorder=2)
        if np.isfinite(losses[-1]):
            axes.plot(times[-1:], losses[-1:], found.marker, color=found.colour, ms=5, zorder=3, clip_on=False)
        else:  # not finite: at the top
            top = axes.get_xaxis_transform()
            axes.plot(times[-1:], [1], found.marker, transform=top, color=found.colour, ms=5, zorder=3, clip_on=False)
    if explanation.levels is not None:
        axes.axhline(explanation.levels.limit, color="0.45", lw=0.8, ls="--", zorder=0)
    cause = explanation.verdict.iteration
    if cause is not None and trial.start <= cause < trial.start + trial.horizon:
        axes.axvline(cause, color=BROKEN, lw=1, ls=":", zorder=0)
    label_iterations(axes)
    axes.set_xlabel("")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(3, integer=True))
    axes.set_title(fill(plain(trial.name), _TITLE_WIDTH), loc="left", fontsize=8, pad=14)
    axes.annotate(
        outcome(trial), (0, 1), xycoords="axes fraction", xytext=(0, 3), textcoords="offset points",
        color=look(trial).colour, fontsize=8,
    )  # fmt: skip


def _scale(axes: Axes, shown: Sequence[ArmSummary], explanation: Explanation) -> None:
    """Scale the axes of all panels, which share them: logarithmically if the losses span more than a decade."""
    scale = loss_scale(explanation, [arm_series(trial, curve)[1] for trial in shown for curve in trial.curves])
    if scale.is_log:
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(10**scale.low, 10**scale.high)
        label_log(axes.yaxis)
    else:
        axes.set_ylim(scale.low, scale.high)
    axes.set_ylabel("loss")


def _draw_line(axes: Axes, line: NumberLine) -> None:
    axes.set_xlim(0, 100)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    colours: Mapping[str, str] = {"good": HEALS.colour, "bad": BREAKS.colour, "open": "black"}
    for first, last, mood in line.zones:
        axes.axvspan(first, last, color=colours[mood], alpha=0.15, lw=0)
    for point in line.points:
        colour, height = colours[point.look.mood], 0.5 if point.look.mood == "open" else 0
        axes.plot([point.at], [height], point.look.marker, color=colour, ms=7, clip_on=False, mew=1.4)
    axes.set_xticks([at for at, _ in line.ticks], [text for _, text in line.ticks])
    axes.set_title(plain(f"{line.title}: {line.said}"), loc="left", fontsize=8)
