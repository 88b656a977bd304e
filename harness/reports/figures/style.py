"""What all figures have in common: colours, axes of iterations, labelled levels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes

from harness.schemas.layout import Head

# Okabe and Ito's palette, which survives colour-blindness.
LINES = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#D55E00")
TOTAL, BROKEN, WINDOW, GOOD = "#000000", "#D55E00", "#F0E442", "#009E73"
GREY = "0.55"
SIZES = "cividis"  # of numbers on a heat map; as far from their past: DISTANCES
DISTANCES = "PuOr_r"

_APART = 0.055  # of the height: labels that do not touch
_LONGEST = 34  # letters of a name beside an axis


@contextmanager
def styled() -> Iterator[None]:
    """Make figures inside of this."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        yield


def plain(text: str) -> str:
    """Text as it is: what stands between two dollars is no formula."""
    return text.replace("$", r"\$")


def shortened(name: str, most: int = _LONGEST) -> str:
    """A layer's name with its middle left out, where it is too long to stand beside an axis."""
    name = name.replace("\n", " ")
    if len(name) > most:
        name = f"{name[: most // 2]}…{name[-(most - most // 2 - 1) :]}"
    return plain(f" {name}" if name.startswith("_") else name)  # a legend leaves out what begins like that


def label_iterations(axes: Axes) -> None:
    """Whole numbers with thousands apart."""
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))


def uniform_levels(heads: Sequence[Head]) -> list[tuple[float, str]]:
    """What the losses are for a net that knows nothing, with what to write beside each."""
    classes = dict.fromkeys(head.classes for head in heads if head.classes)
    levels = [(math.log(k), f"ln {k} = {math.log(k):.3f}") for k in classes if k]
    known = [head for head in heads if head.classes]
    if len(known) == len(heads) > 1:
        total = sum(head.weight * math.log(head.classes or 1) for head in heads)
        levels.append((total, f"every head uniform: {total:.3f}"))
    return levels


def label_levels(axes: Axes, levels: Sequence[tuple[float, str]]) -> None:
    """Dashed lines with labels at the right, moved apart where they would touch. The limits of `axes` come first."""
    to_fraction = axes.transData.transform, axes.transAxes.inverted().transform
    place = -1.0
    for value, text in sorted(levels):
        axes.axhline(value, color="0.45", lw=0.8, ls="--", zorder=1)
        at = float(to_fraction[1](to_fraction[0]((axes.get_xlim()[0], value)))[1])
        place = max(at, place + _APART)
        axes.annotate(
            text, (1, value), xycoords=("axes fraction", "data"), xytext=(1.01, place), textcoords="axes fraction",
            color="0.35", fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip
