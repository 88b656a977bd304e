"""Combinations of the values that a sweep is given, and their names."""

from __future__ import annotations

import pytest

from harness.errors import BadInput
from harness.studies.words import Named, alternatives, assignments, candidate, grid, in_turn, name_of, named

RATES = assignments("--set", "base_lr=0.1,0.2")
CLIPS = assignments("--set", "clip_gradients=,5")


def test_values_are_separated_by_commas_outside_of_brackets_and_quotes() -> None:
    assert alternatives("1") == ["1"]
    assert alternatives("[1,2],[3]") == ["[1,2]", "[3]"]
    assert alternatives("\"a,b\",'c,d',e") == ['"a,b"', "'c,d'", "e"]
    assert alternatives(",5") == ["", "5"]
    assert assignments("--set", "stepvalue=[1,2],3") == [("--set", "stepvalue=[1,2]"), ("--set", "stepvalue=3")]
    assert assignments("--set", "base_lr") == [("--set", "base_lr")]  # which restart.py refuses


def test_a_grid_has_all_combinations_and_a_list_one_for_each_value() -> None:
    rates, clips = ("--set", "base_lr=0.1"), ("--set", "clip_gradients=5")
    assert len(grid([RATES, CLIPS])) == 4
    assert (*rates, *clips) in grid([RATES, CLIPS])
    assert in_turn([RATES, CLIPS]) == [
        ("--set", "base_lr=0.1", "--set", "clip_gradients="),
        ("--set", "base_lr=0.2", "--set", "clip_gradients=5"),
    ]
    assert in_turn([RATES, [clips]]) == [(*RATES[0], *clips), (*RATES[1], *clips)]
    with pytest.raises(BadInput, match="has 2 values, and another option has 3"):
        in_turn([RATES, assignments("--set", "momentum=1,2,3")])


def test_names_say_what_is_changed_and_differ() -> None:
    assert name_of((*RATES[0], "--skip", "5:6", "--seed", "3")) == "base_lr=0.1-skip-5-seed=3"
    assert name_of(("--set-layer", "loss*/ip:lr_mult=2", "--history", "reset")) == "loss_ip.lr_mult=2-history-reset"
    assert name_of(("--history", "keep")) == "unchanged"
    slash, space = ("--set", 'net="a/b"'), ("--set", 'net="a b"')
    both = named([slash, space, slash], [Named("net=a_b", ("--seed", "1"))])
    assert len({each.name for each in both}) == len(both) == 3


def test_a_candidate_has_a_name_and_options_of_a_restart() -> None:
    assert candidate("one more: --set base_lr=0.1 --skip '5:6'") == Named(
        "one-more", ("--set", "base_lr=0.1", "--skip", "5:6")
    )
    for text in (
        "no colon",
        "name:",
        ": --seed 1",
        "name: --out x",
        "name: --history new",
        "name: --set 'open",
        "../: --x",
    ):
        with pytest.raises(BadInput, match="--candidate"):
            candidate(text)
