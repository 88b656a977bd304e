"""What can become of the history of a solver at a restart with another rate."""

from __future__ import annotations

HISTORY_MODES = ("keep", "rescale", "reset")
