"""Colours of figures and pages, each with one meaning. The style sheet of pages has the same ones."""

from __future__ import annotations

from collections.abc import Sequence

from harness.reports.names import head_of

# Most are of the palette of Okabe and Ito, which readers with colour vision deficiency can tell apart
# (https://jfly.uni-koeln.de/color/). All can be seen on white and on the dark background of a page.
HEADS = ("#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#999933", "#7570B3")  # the heads of a net, in its order
RUNS = ("#AA4499", "#17BECF", "#8C564B", "#E7298A")  # other runs that are drawn beside one: its restarts
TOTAL = "#000000"  # the total loss and the learning rate of a run
GREY = "#8C8C8C"  # what is behind: the total of single iterations, earlier runs of a log, what came after a break
BROKEN = "#D55E00"  # the onset, and what is unusual: alarms, outliers
GOOD = "#009E73"  # from before the onset: snapshots, the weights before the update
WINDOW = "#F0E442"  # iterations that were kept whole
MOMENTS = (GOOD, BROKEN, "#A6761D", GREY)  # before the onset, at it, after it, the end of its window
NOT_FINITE = "#D60000"  # NaN and infinity
# Colour maps of heat maps, by their names in matplotlib: for values, and for distances from a baseline.
VALUES = "cividis"
DISTANCES = "PuOr_r"


def accuracy_styles(outputs: Sequence[str], heads: Sequence[str]) -> list[tuple[str, int]]:
    """Choose for each test output the colour of its head, and how many outputs before it have that colour."""
    styles: list[tuple[str, int]] = []
    for place, output in enumerate(outputs):
        head = head_of(output, heads)
        colour = HEADS[(place if head is None else head) % len(HEADS)]
        styles.append((colour, sum(known == colour for known, _ in styles)))
    return styles
