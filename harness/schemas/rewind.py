"""The cost of a rewind, or the reason why it is not possible."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.invocation import next_command, path_argument
from harness.quantities import data_size, duration
from harness.schemas.captures import CAPTURES
from harness.schemas.window import Window


@dataclass(frozen=True)
class Rewind:
    """Iterations that can be recorded in full after the run `run`.

    Attributes:
        window: the iterations.
        capture: the kinds of arrays to record.
        repeated: the iterations that are repeated for that, from the nearest one at which the run can be restarted.
        seconds: what that takes, about.
        size: of the window, in bytes.
    """

    run: Path
    window: Window
    capture: tuple[str, ...]
    repeated: Window
    seconds: float
    size: int

    @property
    def work(self) -> str:
        """What is repeated, in words."""
        count = len(self.repeated)
        return f"{count:,} iteration{'s' if count > 1 else ''} from {self.repeated.start:,} on"

    @property
    def command(self) -> str:
        """The command for the user's shell."""
        some = "" if self.capture == CAPTURES else f" --capture {','.join(self.capture)}"
        return f"{next_command('rewind')} {path_argument(self.run)} --watch {self.window}{some}"

    @property
    def cost(self) -> str:
        """The cost in words."""
        return f"about {duration(max(1, round(self.seconds)))} and {data_size(self.size)}"

    def __str__(self) -> str:
        return f"To record it now, repeat {self.work} ({self.cost}): {self.command}"


@dataclass(frozen=True)
class NoRewind:
    """What keeps iterations from being recorded after the run."""

    reason: str

    def __str__(self) -> str:
        return f"It cannot be recorded now: {self.reason}"
