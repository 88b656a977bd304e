"""The means of a rescue: the screen, the signals, and the engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.experiments import Engines
from harness.reports.view_terminal import ViewTerminal
from harness.rescuing.restarts import Restarts
from harness.rescuing.showing import Showing
from harness.studies.engine import LegEngines
from harness.supervisor.signals import Interrupts


@dataclass(frozen=True)
class Means:
    """The screen, the signals, and the engines.

    Attributes:
        workers: replays at a time.
        arms, legs: make the engines that have arms replayed and legs carried out.
    """

    terminal: ViewTerminal
    interrupts: Interrupts
    workers: int
    arms: Engines
    legs: LegEngines

    def check_interrupted(self) -> None:
        """Check that nobody has asked for an end.

        Raises:
            KeyboardInterrupt: somebody has.
        """
        if self.interrupts.stop is not None:
            raise KeyboardInterrupt

    @contextmanager
    def restarting(self, showing: Showing) -> Iterator[Restarts]:
        """Carry out legs in the block, shown by `showing`; signals end them with a snapshot.

        Raises:
            KeyboardInterrupt: at the end of the block, where somebody has asked for an end.
        """
        engine = self.legs()
        try:
            with self.interrupts.handled(lambda: None):
                self.interrupts.ended = engine.cancel
                yield Restarts(engine, showing)
            self.check_interrupted()
        finally:
            engine.close()
