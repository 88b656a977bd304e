"""The cost of recording: the same training, with and without the harness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.nets import PROBLEMS
from tools.bench.rows import Effort, Row, ratio_row
from tools.bench.turns import ROOT, Comparison, compare


def rows(problem: str, bound: float, pairs: int, window: bool = False) -> Callable[[str, Path, Effort], Iterator[Row]]:
    def make(name: str, home: Path, effort: Effort) -> Iterator[Row]:
        made = PROBLEMS[problem](home)
        turn = effort.turn(made.turn)
        checkouts = [ROOT, *filter(None, [effort.against])]
        compared = compare(
            home, made.solver, turn, effort.of(pairs), window=window, priority=effort.priority, checkouts=checkouts
        )
        what = f"{problem}, all of it captured in a window" if window else f"{problem}, every iteration recorded"
        yield ratio_row(name, what, bound, compared[0])
        if effort.against is not None:
            here, there = compared
            yield ratio_row(f"{name} of {effort.against.name}", what, None, there)
            both = Comparison(turn, there.harness, here.harness, there.harness_cpu, here.harness_cpu)
            yield ratio_row(f"{name} here", what, None, both, effort.against.name)

    return make
