"""The interface of engines that carry out legs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from harness.schemas.leg import Leg, LegResult


class LegEngine(Protocol):
    """Carries out legs, several at a time; legs may be submitted at any time, also while results are taken.

    A leg that is complete already, because its run directory says so, is not made again; one that was interrupted goes
    on from its last snapshot.
    """

    def submit(self, leg: Leg) -> None:
        """Add a leg."""
        ...

    def results(self) -> Iterator[LegResult | None]:
        """Yield a result for each leg that was submitted, as soon as it has ended; ends when there are no more.

        None is yielded a few times a second in between, so that who waits can look at the legs' recordings.
        """
        ...

    def stop(self, leg: Leg) -> None:
        """Have a leg take a snapshot and end, by a file STOP in its run directory; its code is 130 then."""
        ...

    def cancel(self) -> None:
        """End all legs as `stop` does, and drop those that wait. Signal handlers may call it."""
        ...

    def close(self) -> None:
        """End what still runs, at once."""
        ...


LegEngines = Callable[[], LegEngine]
