"""Windows: iterations `A:B` (half open, as a slice) whose weights, gradients, updates and inputs are kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import BadInput


@dataclass(frozen=True, order=True)
class Window:
    """Iterations `start` … `stop - 1`."""

    start: int
    stop: int

    def __contains__(self, iteration: int) -> bool:
        return self.start <= iteration < self.stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}"


def parse_watch(text: str, option: str = "--watch") -> Window:
    """Parse the argument of `--watch A:B`, or of another `option` of that form.

    Raises:
        BadInput: not of the form A:B, negative, or empty.
    """
    remedy = f"Write {option} A:B with 0 <= A < B, for instance {option} 118900:119100 (B is not included)"
    match = re.fullmatch(r"\s*([+-]?\d{1,18})\s*:\s*([+-]?\d{1,18})\s*", text, re.ASCII)
    if match is None:
        raise BadInput("not a window", field=option, value=text, remedy=remedy)
    start, stop = int(match[1]), int(match[2])
    if start < 0:
        raise BadInput("iterations count from 0", field=option, value=text, remedy=remedy)
    if stop <= start:
        raise BadInput("the window is empty", field=option, value=text, remedy=remedy)
    return Window(start, stop)


def merge(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Merge windows that overlap or touch, and sort them."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].stop:
            merged[-1] = Window(merged[-1].start, max(merged[-1].stop, window.stop))
        else:
            merged.append(window)
    return tuple(merged)


def clip(windows: Iterable[Window], start: int, stop: int) -> tuple[Window, ...]:
    """Cut `windows` to the iterations `start` … `stop - 1`."""
    parts = (Window(max(w.start, start), min(w.stop, stop)) for w in windows)
    return tuple(part for part in parts if part.start < part.stop)
