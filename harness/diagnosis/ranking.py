"""Rank runs of one net by how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.diagnosis.recorded.diagnose import Diagnosis


@dataclass(frozen=True)
class Result:
    """What a run had reached at its end.

    Attributes:
        broke: training broke, or nothing was recorded.
        level: the median loss of the last `span` iterations; NaN if nothing was recorded.
        span: iterations over which the level is taken.
        tested: the iteration of the last test pass; None without one.
        tests: the outputs of one value of the test nets in that pass, by name ("name, net #1" from the second net on).
        heads: the names of the losses of the train net.
        test_loss: the weighted sum of the heads in that pass; None where a head was not tested.
    """

    broke: bool
    level: float
    span: int
    tested: int | None
    tests: Mapping[str, float]
    heads: tuple[str, ...]
    test_loss: float | None


@dataclass(frozen=True)
class Ranking:
    """`places`, 1 for the best, in the order of the runs, and what they are ranked by, in a sentence."""

    places: tuple[int, ...]
    criterion: str


def result_of(found: Diagnosis) -> Result:
    """Collect what a run had reached at its end."""
    recording = found.recording
    last: list[int] = []
    tests: dict[str, float] = {}
    for net in range(recording.test_nets):
        for name in recording.test_outputs(net):
            iterations, values = recording.test(name, net)
            if len(iterations) and values.shape[1] == 1:
                tests[f"{name}, net #{net}" if net else name] = float(values[-1, 0])
                last.append(int(iterations[-1]))
    heads = [head for head in recording.heads if head.weight]
    known = bool(heads) and all(head.name in tests for head in heads)
    return Result(
        broke=found.status.kind not in ("healthy", "never learned"),
        level=found.status.after,
        span=found.span,
        tested=max(last) if last else None,
        tests=tests,
        heads=tuple(head.name for head in recording.heads),
        test_loss=sum(head.weight * tests[head.name] for head in heads) if known else None,
    )


def rank(results: Sequence[Result]) -> Ranking:
    """Rank runs: those that did not break first, then by the test loss of one iteration, else by the level of the loss.

    Runs with the same values share a place. NaN comes last.
    """
    tested = {result.tested for result in results if result.tested is not None}
    by_test = len(tested) == 1 and all(result.test_loss is not None for result in results)
    values = [result.test_loss if by_test else result.level for result in results]
    keys = [(r.broke, np.inf if v is None or np.isnan(v) else v) for r, v in zip(results, values, strict=True)]
    order = sorted(set(keys))
    span = max((result.span for result in results), default=0)
    by = f"the test loss at iteration {tested.pop():,}" if by_test else f"the median loss of the last {span} iterations"
    return Ranking(
        tuple(order.index(key) + 1 for key in keys),
        f"Runs that did not break come before those that did, then {by} counts",
    )
