"""Grade how strong the evidence for a verdict is."""

from __future__ import annotations

from harness.diagnosis.conditions import Verdict
from harness.diagnosis.logged.findings import Strength, Why

_CLEAR, _LIKELY = 20, 6  # displays from which a run that breaks nowhere is known to be healthy, or to be so far
_HELD = 5  # displays that show that a level lasts


def strength_of(verdict: Verdict, why: Why, *, displays: int, held: int, long: bool, agree: bool) -> Strength | None:
    """Return the strength of a verdict; None for "unknown".

    Args:
        displays: of the finite total.
        held: displays from the jump on; all of them without a jump.
        long: there was time to learn.
        agree: several heads are at their chance levels, which explain the total.
    """
    match verdict, why:
        case "unknown", _:
            return None
        case _, "tests":
            return "hint"
        case "nan", _:
            return "clear"
        case "healthy", ("level" | "late fall"):
            return "likely" if displays >= _CLEAR else "hint"
        case "healthy", _:
            return "clear" if displays >= _CLEAR else "likely" if displays >= _LIKELY else "hint"
        case "uniform-softmax", "never learned":
            return "clear" if long else "likely" if displays >= 3 else "hint"
        case "drift/oscillation", _ if displays < _CLEAR:
            return "likely"
        case _:
            return "clear" if held >= _HELD or agree else "likely"
