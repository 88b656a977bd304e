"""Count the lines of a log by their use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.caffe_log.run_tracker import Use

_EXAMPLES = 5


@dataclass
class LineCounts:
    """Numbers of lines by their use, as in Log; `examples` are the first damaged ones."""

    total: int = 0
    used: int = 0
    damaged: int = 0
    noise: int = 0
    unassigned: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)

    def add(self, uses: Sequence[Use], number: int, line: bytes, lines: int = 1) -> None:
        """Count `lines` lines from line `number` on, whose entries have these uses."""
        if Use.USED in uses:
            self.used += lines
        elif Use.DAMAGED in uses:
            self.damaged += lines
            if len(self.examples) < _EXAMPLES:
                self.examples.append((number, line[:200].decode(errors="replace")))
        elif Use.UNASSIGNED in uses:
            self.unassigned += lines
        else:
            self.noise += lines
