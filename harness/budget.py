"""The budget of a search: seconds, or iterations that it trains."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from harness.errors import BadInput

_UNITS = {"s": 1, "m": 60, "h": 3600}
_LARGEST = 10**9


@dataclass(frozen=True)
class Budget:
    """A limit of one kind; None is no limit."""

    seconds: float | None = None
    iterations: int | None = None

    def spent(self, begun: float, iterations: int) -> bool:
        """Check whether nothing is left, `iterations` having been trained since `begun` (of time.monotonic)."""
        if self.iterations is not None and iterations >= self.iterations:
            return True
        return self.seconds is not None and time.monotonic() - begun >= self.seconds


def parse_budget(text: str | None) -> Budget:
    """Parse the value of --budget: `90s`, `10m`, `2h`, or a number of iterations.

    Raises:
        BadInput: it is none of these.
    """
    if text is None:
        return Budget()
    match = re.fullmatch(r"(\d{1,9})(?:([smh])|)", text.strip(), re.ASCII)
    if match is None or not 0 < int(match[1]) <= _LARGEST:
        raise BadInput("neither a time nor a number of iterations", field="--budget", value=text,
                       remedy="Give a time as in 90s, 10m or 2h, or a number of iterations as in 500")  # fmt: skip
    count = int(match[1])
    return Budget(seconds=float(count * _UNITS[match[2]])) if match[2] else Budget(iterations=count)
