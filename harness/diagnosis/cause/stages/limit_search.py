"""Search for the limit of a setting: how high it can be with the training still surviving."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

WITHIN = 1.25  # the factor between the highest value that survives and the lowest that does not


@dataclass(frozen=True)
class LimitSearch:
    """A bisection of positive numbers in their logarithms; the higher a number, the worse for the training.

    Attributes:
        mild: numbers to try until one survives, the mildest last.
        survives: the highest that survived.
        fails: the lowest that did not.
        breaks: the lowest of which it is known that it broke.
        guess: where the limit may be: tried before the middle is.
    """

    mild: tuple[float, ...]
    survives: float | None = None
    fails: float | None = None
    breaks: float | None = None
    guess: float | None = None

    @classmethod
    def below(cls, broken: float, mild: tuple[float, ...], guess: float | None = None) -> LimitSearch:
        """Begin a search below a number that is known to break."""
        return cls(tuple(number for number in mild if number < broken), None, broken, broken, guess)

    @property
    def next(self) -> float | None:
        """The number to try next; None at the end of the search."""
        if self.survives is None:
            return self.mild[0] if self.mild else None
        if self.fails is None or self.fails <= WITHIN * self.survives:
            return None
        if self.guess is not None and self.survives < self.guess < self.fails:
            return self.guess
        return math.sqrt(self.survives * self.fails)

    def told(self, number: float, survives: bool | None) -> LimitSearch:
        """Go on with what became of the training with `number`; None where that is not known."""
        mild = tuple(other for other in self.mild if other != number)
        if survives:
            return replace(self, mild=mild, survives=number)
        return replace(self, mild=mild, fails=number, breaks=self.breaks if survives is None else number)
