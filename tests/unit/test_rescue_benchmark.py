"""How rescues of planted faults are scored."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.schemas.rescue import Attempt, Rescue, Tried
from tools.bench.faults.truth_file import Truth, Undo
from tools.bench.rescue.result_file import Alone, Baselines, Rescued
from tools.bench.rescue.scoring import at_random, in_order, is_curable, score
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


def test_the_costs_of_candidates_in_order_and_at_random() -> None:
    alone = [Alone("skip", 100, False), Alone("clip", 60, True), Alone("rate", 80, True)]
    assert in_order(alone) == 160
    assert at_random(alone) == pytest.approx(100 / 3 + 70)
    assert at_random(alone[:1]) == in_order(alone[:1]) == 100


def test_the_table_names_what_is_wrong() -> None:
    baselines = Baselines(1, 0.2, (Alone("records", 100, True),))
    scores = [score(PIXEL, rescued(0, True, "records"), baselines), score(PIXEL, rescued(3, False), None)]
    shown = markdown(scores)
    assert "| curable runs that finish healthy | 1 | 2 | 50% |" in shown
    assert "0.50 times that of the divided rate" in shown
    assert "| lenet-nan-1 | 3 | Nothing helped. |" in shown
