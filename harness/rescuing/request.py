"""The request of a user for a rescue."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.budget import Budget
from harness.schemas.rescue import CandidateKind


@dataclass(frozen=True)
class RescueRequest:
    """What the user asks for.

    Attributes:
        until: the iteration before which the training ends; None for the solver's max_iter.
        tries: how often a change is chosen at the most.
        given: the values of --candidate.
        forbidden: kinds of candidates that are left out.
        budget: of each explanation.
        workers: replays and restarts at a time; None for as many as fill this machine.
        dask: the Dask scheduler whose workers make them; None for this machine.
    """

    until: int | None = None
    tries: int = 5
    given: tuple[str, ...] = ()
    forbidden: tuple[CandidateKind, ...] = ()
    budget: Budget = field(default_factory=Budget)
    workers: int | None = None
    dask: str | None = None
