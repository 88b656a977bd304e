"""The runs of a lineage in figures: where each takes over, and what it changes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from harness.recording.lineage_reader import Part
from harness.reports.figures.style import shortened

_COLOUR = "0.3"
_SPACING = 0.025  # of the width, between labels
_LONGEST = 40  # characters of a label


def mark_interventions(panels: Sequence[Axes], parts: Sequence[Part]) -> None:
    """Mark where each run takes over: a dashed line with its change at the top, or a dotted one if it has none.

    What was recorded before the last run is drawn paler. Set the limits of the axes before.
    """
    low, high = panels[0].get_xlim()
    labelled = -float("inf")
    for part in parts[1:]:
        for axes in panels:
            axes.axvline(part.begins, color=_COLOUR, lw=0.9, ls="--" if part.intervenes else ":", zorder=6)
        if part.intervenes and part.begins - labelled >= _SPACING * (high - low):
            labelled = part.begins
            panels[0].annotate(
                shortened(part.change, _LONGEST), (part.begins, 0.97), xycoords=("data", "axes fraction"),
                xytext=(2, 0), textcoords="offset points", rotation=90, va="top", color=_COLOUR, fontsize=7.5, zorder=7,
                bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 0.6},
            )  # fmt: skip
    if len(parts) > 1:
        for axes in panels:
            axes.axvspan(low, parts[-1].begins, color="white", alpha=0.45, lw=0, zorder=5)
