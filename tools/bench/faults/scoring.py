"""Compare what was said of a planted run with what is true of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tools.bench.faults.result_file import Answer, Result
from tools.bench.faults.truth_file import Truth

NO_CAUSE = ("none", "undecided", "")


@dataclass(frozen=True)
class Score:
    """How right an answer is. None where there is nothing to compare.

    Attributes:
        kind: the verdict's kind is right.
        both: of two causes, both are named, one of them as a condition.
        records: the culprits are exactly those that were planted; those that do no damage may be left out.
        layers, iteration: they are right.
        false: a cause is named that is not true.
        control: the control had the recorded digests; for a fault of the machine, that it had not.
        divided: "roll back and divide the rate by ten" named the cause: it heals, and the cause is the learning rate.
        random: probability that the first arm that heals, of those of explain in random order, names the cause.
    """

    truth: Truth
    result: Result
    kind: bool
    both: bool | None
    records: bool | None
    layers: bool | None
    iteration: bool | None
    false: bool
    control: bool | None
    divided: bool | None
    random: float | None


def score(truth: Truth, result: Result) -> Score:
    answer, two = result.answer, truth.kind == "two-causes"
    answers = [answer, *filter(None, [result.unasked])]
    healing = Counter(answer.healing)
    right = sum(healing[kind] for kind in truth.kinds)
    return Score(
        truth=truth,
        result=result,
        kind=all(found.kind in truth.kinds for found in answers),
        both=set(truth.kinds) <= {answer.kind, *answer.conditions} if two else None,
        records=_exact(truth, answer) if truth.kinds == ("record",) else None,
        layers=set(answer.layers) == set(truth.layers) if answer.kind == "layer-lr" and truth.layers else None,
        iteration=_within(answer.iteration, truth.iterations),
        false=any(found.kind not in (*truth.kinds, *NO_CAUSE) for found in answers),
        control=None if answer.identical is None else answer.identical == (truth.kind != "machine"),
        divided=None if result.divided is None else result.divided and "learning-rate" in truth.kinds,
        random=None if truth.is_control else right / healing.total() if healing else 0.0,
    )


def _exact(truth: Truth, answer: Answer) -> bool:
    said, planted = set(answer.records), set(truth.records)
    return planted - set(truth.harmless) <= said <= planted


def _within(iteration: int | None, bounds: tuple[int, int] | None) -> bool | None:
    if bounds is None:
        return None
    return iteration is not None and bounds[0] <= iteration <= bounds[1]
