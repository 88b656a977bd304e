"""Colours of figures and pages."""

from __future__ import annotations

# The palette of Okabe and Ito, which readers with colour vision deficiency can tell apart (https://jfly.uni-koeln.de/color/).
LINES = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#D55E00")
TOTAL, BROKEN, WINDOW, GOOD = "#000000", "#D55E00", "#F0E442", "#009E73"
GREY = "#8C8C8C"
NOT_FINITE = "#D60000"
# Colour maps of heat maps, by their names in matplotlib: for values, and for distances from a baseline.
VALUES = "cividis"
DISTANCES = "PuOr_r"
