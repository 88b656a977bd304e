"""The runs of a lineage in figures: where each takes over, and what it changes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from harness.diagnosis.recorded.thinning import extremes
from harness.recording.lineage_part import Part
from harness.reports.figures.style import shortened
from harness.reports.palette import BROKEN

_COLOUR = "0.3"
_SPACING = 0.025  # of the width, between labels
_MOST_CONTINUATIONS = 40  # runs of a lineage of which those that change nothing are marked as well
_LONGEST = 40  # characters of a label
_MOST_POINTS = 4000  # of all lines that were not continued


def mark_interventions(panels: Sequence[Axes], parts: Sequence[Part]) -> None:
    """Mark where each run takes over: a dashed line with its change at the top, or a dotted one if it has none.

    What was recorded before the last run is drawn paler. Set the limits of the axes before.
    """
    if len(parts) < 2:
        return
    low, high = panels[0].get_xlim()
    labelled = -float("inf")
    for part in parts[1:]:
        if not part.intervenes and len(parts) > _MOST_CONTINUATIONS:
            continue
        for axes in panels:
            axes.axvline(part.begins, color=_COLOUR, lw=0.9, ls="--" if part.intervenes else ":", zorder=6)
        if part.intervenes and part.begins - labelled >= _SPACING * (high - low):
            labelled = part.begins
            side = "right" if part.begins - low > _SPACING * (high - low) else "left"  # of the text, at the line
            panels[0].annotate(
                shortened(part.change, _LONGEST), (part.begins, 0.97), xycoords=("data", "axes fraction"),
                xytext=(-2 if side == "right" else 2, 0), textcoords="offset points", rotation=90, ha=side, va="top",
                color=_COLOUR, fontsize=7.5, zorder=7, bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 0.6},
            )  # fmt: skip
    for axes in panels:
        axes.axvspan(low, max(low, parts[-1].begins), color="white", alpha=0.45, lw=0, zorder=5)


def draw_what_was_left(axes: Axes, parts: Sequence[Part]) -> None:
    """Draw the smoothed losses that earlier runs recorded beyond the iteration at which the next one takes over."""
    label, most = "not continued", max(20, _MOST_POINTS // max(1, len(parts)))
    for part in parts[:-1]:
        rows = slice(part.count, part.recording.count)
        losses = part.recording.series("smoothed_loss", rows)
        if len(losses):
            shown = extremes(losses, most)
            times = part.recording.series("iteration", rows)[shown]
            axes.plot(times, losses[shown], color=BROKEN, lw=0.9, ls="--", label=label, zorder=2)
            label = ""  # one entry in the legend
