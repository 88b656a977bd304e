"""Style that all figures share: fonts, axes of iterations, labelled levels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from harness.reports.scales import log_ticks

DASHES = ("-", "--", ":", "-.")  # of curves of one colour
_SPACING = 0.055  # of the height, between labels
_LONGEST = 34  # characters of a name beside an axis


@contextmanager
def styled() -> Iterator[None]:
    """Apply the common style to figures that are made inside this context."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        yield


def plain(text: str) -> str:
    """Escape dollar signs, between which matplotlib expects a formula."""
    return text.replace("$", r"\$")


def shortened(name: str, most: int = _LONGEST) -> str:
    """Shorten the name of a layer in its middle, so that it fits beside an axis."""
    name = name.replace("\n", " ")
    if len(name) > most:
        name = f"{name[: most // 2]}…{name[-(most - most // 2 - 1) :]}"
    return plain(f" {name}" if name.startswith("_") else name)  # legends leave out names that begin with an underscore


def label_iterations(axes: Axes) -> None:
    """Label the x axis with whole iterations and thousands separators."""
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))


def label_log(axis: Axis) -> None:
    """Label a logarithmic axis with 1, 10, 100 or 10ⁿ. Set its limits before."""
    low, high = sorted(axis.get_view_interval())
    ticks = log_ticks(low, high)
    axis.set_major_locator(mpl.ticker.FixedLocator([value for value, _ in ticks]))
    axis.set_major_formatter(mpl.ticker.FixedFormatter([text for _, text in ticks]))
    axis.set_minor_locator(mpl.ticker.NullLocator())


def label_levels(axes: Axes, levels: Sequence[tuple[float, str]]) -> None:
    """Draw levels as dashed lines with labels at the right, moved apart where they would overlap.

    Set the limits of `axes` before.
    """
    label_ends(axes, (), levels)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], levels: Sequence[tuple[float, str]] = ()) -> None:
    """Label curves where they end, and levels as dashed lines, at the right of `axes`, moved apart where they overlap.

    Set the limits of `axes` before.

    Args:
        ends: the last value, the name and the colour of each curve.
        levels: values and texts.
    """
    to_fraction = axes.transData.transform, axes.transAxes.inverted().transform
    for value, _ in levels:
        axes.axhline(value, color="0.45", lw=0.8, ls="--", zorder=1)
    place = -1.0
    for value, text, colour in sorted([*ends, *((value, text, "0.35") for value, text in levels)]):
        at = float(to_fraction[1](to_fraction[0]((axes.get_xlim()[0], value)))[1])
        place = max(at, place + _SPACING)
        axes.annotate(
            text, (1, value), xycoords=("axes fraction", "data"), xytext=(1.01, place), textcoords="axes fraction",
            color=colour, fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip
