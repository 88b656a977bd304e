"""The figures of reports, notebooks and readlog.py.

Each function takes data or findings and returns a matplotlib Figure.
"""

from harness.reports.figures.layers import layers
from harness.reports.figures.log import log_figure
from harness.reports.figures.norms import layer_norms
from harness.reports.figures.recorded import accuracy_series, losses, overview, smoothed_losses
from harness.reports.figures.why import margins, orders, trials
from harness.reports.figures.window import contact_sheet, filters, labels, spectra

__all__ = [
    "accuracy_series",
    "contact_sheet",
    "filters",
    "labels",
    "layer_norms",
    "layers",
    "log_figure",
    "losses",
    "margins",
    "orders",
    "overview",
    "smoothed_losses",
    "spectra",
    "trials",
]
