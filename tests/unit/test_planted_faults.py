"""How planted faults are judged and scored."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bench.faults.breaks import find_break, is_healthy
from tools.bench.faults.harmless import does_no_damage
from tools.bench.faults.judging import Strength, bisected, is_clear, judge
from tools.bench.faults.names import Fault, faults
from tools.bench.faults.nets import NETS
from tools.bench.faults.planting import Planting
from tools.bench.faults.result_file import Answer, Result
from tools.bench.faults.scoring import score
from tools.bench.faults.table import markdown
from tools.bench.faults.training import Training
from tools.bench.faults.truth_file import Truth

CHANCE = 2.3


def losses(*levels: tuple[int, float]) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 0.02, sum(count for count, _ in levels))
    return np.concatenate([np.full(count, level) for count, level in levels]) + noise


def test_a_break_begins_where_the_loss_stays_high() -> None:
    found = find_break(losses((60, 1.5), (140, 0.2), (200, 2.3)), CHANCE, 400)
    assert found is not None
    assert found.iteration == pytest.approx(200, abs=1)
    assert found.healthy == pytest.approx(0.2, abs=0.02)
    assert found.limit(CHANCE) == pytest.approx(1.25, abs=0.02)


def test_a_run_that_ends_with_a_nan_has_broken() -> None:
    found = find_break(np.append(losses((60, 1.5), (140, 0.2)), np.nan), CHANCE, 400)
    assert found is not None
    assert found.iteration == pytest.approx(200, abs=4)
    assert found.limit(CHANCE) < CHANCE


@pytest.mark.parametrize(
    "levels",
    [
        ((60, 1.5), (340, 0.2)),  # healthy
        ((60, 1.5), (140, 0.2), (60, 2.3), (140, 0.2)),  # it recovers
        ((400, 2.3),),  # it never learned
        ((20, 1.5), (20, 0.2), (360, 2.3)),  # it was not healthy for long
        ((60, 1.5), (140, 0.2), *((10, 0.2 + step / 10) for step in range(20))),  # a slow drift
    ],
)
def test_what_is_no_sudden_break(levels: tuple[tuple[int, float], ...]) -> None:
    assert find_break(losses(*levels), CHANCE, 400) is None


def test_a_run_is_healthy_if_it_ends_near_its_best_level() -> None:
    assert is_healthy(losses((60, 1.5), (340, 0.2)), CHANCE, 400)
    assert not is_healthy(losses((60, 1.5), (140, 0.2), (200, 0.7)), CHANCE, 400)
    assert not is_healthy(losses((60, 1.5), (140, 0.2)), CHANCE, 400)


def truth(kind: str = "outlier", kinds: tuple[str, ...] = ("record",), **values: object) -> Truth:
    return Truth("lenet", kind, 0, "", kinds, (150, 150), ("a", "b"), **values)  # type: ignore[arg-type]


def test_a_verdict_is_compared_with_the_truth() -> None:
    said = Answer(0, "record", records=("b", "a"), iteration=150, identical=True, healing=("record", "learning-rate"))
    found = score(truth(), Result(said, divided=True))
    assert (found.kind, found.records, found.iteration, found.false, found.control) == (True, True, True, False, True)
    assert (found.divided, found.random) == (False, 0.5)
    wrong = score(truth(), Result(Answer(0, "learning-rate", records=("a",), iteration=140)))
    assert (wrong.kind, wrong.records, wrong.iteration, wrong.false) == (False, False, False, True)
    assert not score(truth(), Result(Answer(3, "undecided"))).false


def test_two_causes_are_both_to_be_named() -> None:
    two = truth("two-causes", ("record", "lr-schedule"))
    assert score(two, Result(Answer(0, "record", conditions=("lr-schedule",)))).both
    only = score(two, Result(Answer(0, "record")))
    assert only.kind
    assert not only.both


def test_nothing_may_be_named_of_a_healthy_run_whether_asked_at_an_iteration_or_not() -> None:
    healthy = Truth("lenet", "healthy", 0, "nothing", ("none",))
    assert score(healthy, Result(Answer(0, "none"), Answer(0, "none"))).kind
    blamed = score(healthy, Result(Answer(0, "none"), Answer(0, "momentum")))
    assert (blamed.kind, blamed.false) == (False, True)


def test_the_table_shows_what_was_said_of_what() -> None:
    scores = [score(truth(), Result(Answer(0, said))) for said in ("record", "learning-rate")]
    text = markdown(scores)
    assert "| kind, one cause | 1 | 2 | 50% |" in text
    assert "| outlier | 1 of 2 | 0 of 2 |  | 0 of 2 |" in text
    assert "| planted, and what was said | learning-rate | record |\n|---|---|---|\n| outlier | 1 | 1 |" in text


def test_faults_are_selected_by_net_kind_seed_or_pattern() -> None:
    everything = list(faults())
    assert len(everything) == len(set(everything))
    assert {str(fault) for fault in faults(["glyphs280"])} == {str(f) for f in everything if f.net == "glyphs280"}
    assert [str(fault) for fault in faults(["lenet-units-[01]"])] == ["lenet-units-0", "lenet-units-1"]
    assert all(Fault.parse(str(fault)) == fault for fault in everything)


def fault(at: int | None = None, recovers: bool = False) -> Planting:
    return Planting("", Training(NETS["lenet"], [], 1), ("record",), at=at, recovers=recovers)


@pytest.mark.parametrize(
    ("planting", "levels", "strength"),
    [
        (fault(), ((200, 0.2), (200, 2.3)), Strength.RIGHT),
        (fault(), ((400, 0.2),), Strength.TOO_WEAK),
        (fault(), ((50, 0.2), (350, 2.3)), Strength.TOO_STRONG),
        (fault(at=200), ((200, 0.2), (200, 2.3)), Strength.RIGHT),
        (fault(at=200), ((300, 0.2), (100, 2.3)), Strength.TOO_WEAK),  # too late
        (fault(at=200, recovers=True), ((200, 0.2), (20, 2.3), (180, 0.2)), Strength.RIGHT),
        (fault(at=200, recovers=True), ((400, 0.2),), Strength.TOO_WEAK),
        (fault(at=200, recovers=True), ((200, 0.2), (200, 2.3)), Strength.TOO_STRONG),
    ],
)
def test_the_strength_of_a_fault_is_judged_alike_once_it_is_clear(
    planting: Planting, levels: tuple[tuple[int, float], ...], strength: Strength
) -> None:
    trained = losses(*levels)
    assert judge(planting, trained)[0] is strength
    clear = [count for count in range(20, 401, 20) if is_clear(planting, trained[:count])]
    assert all(judge(planting, trained[:count])[0] is strength for count in clear)


def test_a_strength_is_bisected() -> None:
    order = [Strength.TOO_WEAK] * 9 + [Strength.RIGHT] * 3 + [Strength.TOO_STRONG] * 20
    tried: list[int] = []

    def strength(number: int) -> Strength:
        tried.append(number)
        return order[number]

    assert bisected(len(order), strength, wants_strongest=False) == 9
    assert bisected(len(order), strength, wants_strongest=True) == 11
    assert len(tried) <= 10
    assert bisected(9, strength, wants_strongest=True) is None


@pytest.mark.parametrize(
    ("rises", "harmless"),
    [
        ((0.01, 2.0, 3.0), True),  # the net classifies it well
        ((2.4, 0.003, -0.5), True),  # it does not, but its update does nothing
        ((2.4, 0.003, 2.6), False),
        ((np.nan, np.nan, np.nan), False),
        ((2.4, np.nan, np.nan), False),
    ],
)
def test_records_that_do_no_damage(rises: tuple[float, ...], harmless: bool) -> None:
    assert does_no_damage(*rises) == harmless
