"""How rescues of planted faults are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
import pytest
from msgspec.structs import replace

from harness.schemas.rescue import Attempt, Rescue, Tried
from tools.bench.faults.truth_file import Truth, Undo
from tools.bench.rescue.result_file import Alone, Baselines, Rescued
from tools.bench.rescue.scoring import at_random, is_curable, score
from tools.bench.rescue.table import markdown

OTHER_DATA = Undo("all batches from before", ("data-shift",), 200, 100, ("StreamShifted()",), 3, 0)
TENTH = Undo("a tenth of the learning rate", ("learning-rate",), 200, 100, ("RateScaled()",), 3, 0)
AFRESH = Undo("trained without it", ("start-weights",), 0, 400, (), 1, 0)
PIXEL = Truth("lenet", "nan", 1, "a pixel is NaN", ("record",), records=("00001",), undos=(OTHER_DATA,))
FOR_GOOD = Truth(
    "lenet", "units", 1, "from iteration 200 on, all values are larger", ("data-shift",), undos=(OTHER_DATA,)
)


def truth_of(what: str, *undos: Undo) -> Truth:
    return Truth("lenet", "labels", 1, what, ("data-shift",), undos=undos)


def rescued(code: int, healthy: bool, *chosen: str) -> Rescued:
    tried = tuple(Tried(name, "rate", "", iterations=100, chosen=True) for name in chosen)
    attempts = (Attempt("run", 200, "record", "", tried),)
    said = Rescue(code == 0, "run", attempts=attempts, sentence="Nothing helped.")
    return Rescued(code, healthy, 0.1 if healthy else 2.3, 5.0, not chosen, said)


@pytest.mark.parametrize(
    ("truth", "divided", "curable"),
    [
        (PIXEL, False, True),
        (truth_of("the labels of the iterations 200 to 239 are turned by 3", OTHER_DATA), False, True),
        (truth_of("the labels of the iterations 200 to 399 are turned by 3", OTHER_DATA, TENTH), False, False),
        (FOR_GOOD, False, False),
        (FOR_GOOD, True, True),
        (replace(FOR_GOOD, kinds=("start-weights",), undos=(AFRESH,)), False, False),
    ],
)
def test_a_run_is_curable_if_a_restart_can_express_what_heals_it(truth: Truth, divided: bool, curable: bool) -> None:
    assert is_curable(truth, divided) is curable


@pytest.mark.parametrize(
    ("truth", "result", "right"),
    [
        (PIXEL, rescued(0, True, "records"), True),
        (PIXEL, rescued(0, False, "records"), False),  # it reached its end, and is not healthy there
        (PIXEL, rescued(3, False), False),
        (FOR_GOOD, rescued(3, False), True),
        (FOR_GOOD, rescued(0, True, "rate"), True),
        (FOR_GOOD, rescued(0, False, "rate"), False),
    ],
)
def test_what_is_right_depends_on_whether_a_run_is_curable(truth: Truth, result: Rescued, right: bool) -> None:
    assert score(truth, result, None).right is right


def test_a_healthy_run_is_to_be_left_alone() -> None:
    healthy = Truth("lenet", "healthy", 1, "nothing", ("none",))
    alone = Rescued(0, True, 0.1, 1.0, True, Rescue(False, "run"))
    assert score(healthy, alone, None).right
    assert not score(healthy, rescued(0, True, "rate"), None).right


def costs(tested: Sequence[Alone]) -> Iterator[tuple[int, int]]:
    """Yield what each order of changes costs, until one is good or four get past; and until no smaller one is left."""
    for order in permutations(tested):
        first = smallest = past = 0
        best = len(tested)
        for one in order:
            if best == len(tested) and past < 4:
                first += one.iterations
                past += bool(one.gets_past)
            if (rank := tested.index(one)) < best:
                smallest += one.iterations
                best = rank if one.good else best
        yield first, smallest


@pytest.mark.parametrize(("good", "past", "broken"), [(1, 1, 1), (2, 4, 1), (0, 5, 2), (0, 2, 2), (3, 0, 0), (0, 0, 2)])
def test_the_cost_at_random_is_that_of_the_mean_order(good: int, past: int, broken: int) -> None:
    tested = [Alone("past", 150 + 7 * number, True, "batches") for number in range(past)]
    tested += [Alone("good", 100 + 10 * number, True, "clip", good=True) for number in range(good)]
    tested += [Alone("broken", 20 + number, False, "rate") for number in range(broken)]
    firsts, smallests = zip(*costs(tested), strict=True)
    found = at_random(tested[::-1] if good == 1 else tested)  # it orders them by their kinds
    assert found.for_any == pytest.approx(np.mean(firsts))
    assert found.for_smallest == pytest.approx(np.mean(smallests if good else firsts))


def test_the_table_names_what_is_wrong() -> None:
    baselines = Baselines(1, 0.2, (Alone("records", 150, True),), explained=400)
    scores = [score(PIXEL, rescued(0, True, "records"), baselines), score(PIXEL, rescued(3, False), None)]
    shown = markdown(scores)
    assert "| curable runs that finish healthy | 1 | 2 | 50% |" in shown
    assert "| `rescue`, until its choice | 100 | 100 | | |" in shown
    assert "| random search for any good change | 150 | 150 | 0.67 of that | 3.3 times that |" in shown
    assert "0.50 times that of the divided rate" in shown
    assert "| lenet-nan-1 | 3 | Nothing helped. |" in shown
