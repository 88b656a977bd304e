"""All pictures of this project: the report, the notebooks and readlog.py draw with these.

Each function takes what was recorded and found out, and returns a matplotlib Figure.
"""

from harness.reports.figures.layers import layers
from harness.reports.figures.log import log_figure
from harness.reports.figures.recorded import fates, losses, overview
from harness.reports.figures.window import contact_sheet, labels, spectra

__all__ = ["contact_sheet", "fates", "labels", "layers", "log_figure", "losses", "overview", "spectra"]
