"""Legs of a candidate: the restarts that carry out its steps one after the other."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.rescuing.journal import State
from harness.schemas.leg import Leg
from harness.schemas.rescue import Candidate


def next_leg(candidate: Candidate, origin: State, reached: State | None, until: int, directory: Path) -> Leg | None:
    """Return the next leg of a candidate on its way to `until`; None if it is there.

    Args:
        origin: the state that its steps begin with.
        reached: the state at the end of its legs so far; None if there is none.
        directory: of its first leg; later ones have it with a number.
    """
    state = origin if reached is None else reached
    if state.iteration >= until:
        return None
    begin = origin.iteration
    for number, step in enumerate(candidate.steps, 1):
        end = until if step.until is None else min(step.until, until)
        if state.iteration < end:
            words = step.words if state.iteration == begin else ()
            name = directory if number == 1 else directory.with_name(f"{directory.name}-step-{number}")
            return Leg(state.run, state.iteration, end, words, str(name))
        begin = end
    return None


def words_of(candidate: Candidate) -> str:
    """Return the options of a candidate's steps, as a user writes them."""
    steps = [f"{shlex.join(step.words)}{_until(step.until)}" for step in candidate.steps]
    return "; then ".join(steps)


def _until(iteration: int | None) -> str:
    return "" if iteration is None else f" until iteration {iteration:,}"
