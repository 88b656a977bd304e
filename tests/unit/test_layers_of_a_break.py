"""Whose update does the damage, and the chain from the cause to it, on made-up results of arms."""

from __future__ import annotations

from dataclasses import replace

from msgspec.structs import replace as replace_struct

from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.stages.chain import of_records
from harness.diagnosis.cause.stages.layers import LayerFinding, find_layers
from harness.diagnosis.cause.trials import Wanted
from harness.schemas.arm import Arm, UpdateWithheld
from harness.schemas.explanation import CulpritRecord
from harness.schemas.layout import Head
from tests.helpers.made_up_cases import AT, answered, made_up_case

LAYERS = tuple(f"layer{number}" for number in range(16))
BEFORE = 5
RECORDS = ((3, 0.2, 70.0), (5, 0.9, 140.0), (6, None, 100.0))


def case() -> Case:
    return replace(
        made_up_case(LAYERS),
        usual_steps=dict.fromkeys(LAYERS, 0.001),
        heads=(Head("loss", 1.0, 10), Head("other", 1.0, 55)),
    )


def looked_at(arm: Arm) -> dict[str, object]:
    """What a look at all blobs gives: the later a layer comes, the larger its update at the cause."""
    if not arm.look:
        return {}
    after = arm.horizon - BEFORE
    return {
        "layer_update_l2": {
            layer: (0.1,) * BEFORE + (0.1 * (2 + number),) + (0.2,) * (after - 1) for number, layer in enumerate(LAYERS)
        },
        "blob_peak": {
            "loss": (0.5,) * BEFORE + (90.0,) * after,
            "data": (1.0,) * arm.horizon,
            "conv": (2.0,) * (BEFORE + 1) + (9.0,) * (after - 1),
            "pool": (2.0,) * (BEFORE + 1) + (float("nan"),) * (after - 1),
        },
        "zero_fraction": {
            "conv": (0.5,) * (BEFORE + 3) + (0.995,) * (after - 3),
            "quiet": (0.99,) * arm.horizon,
        },
        "outputs": {"loss": (0.5,) * BEFORE + (2.2,) * after, "other": (4.0,) * arm.horizon},
    }


def found(*damaging: str, least: int = 1, wanted: list[Wanted] | None = None) -> LayerFinding:
    """What is found where updates of `least` of the layers `damaging` break the training."""

    def breaks(arm: Arm) -> bool:
        withheld = {change.layer for change in arm.changes if isinstance(change, UpdateWithheld)}
        return len(set(damaging) - withheld) >= least

    return answered(find_layers(case(), AT), breaks, wanted, looked_at)


def test_each_layer_is_named_whose_update_alone_breaks_it() -> None:
    wanted: list[Wanted] = []
    finding = found("layer15", "layer13", wanted=wanted)
    assert finding.layers == ("layer15", "layer13")
    assert finding.without is not None
    assert finding.without.all_heal
    assert sum(len(one.trials) for one in wanted) == 7
    more = found("layer15", "layer2")  # which was not tried alone
    assert more.layers == ("layer15",)
    assert more.without is not None
    assert more.without.all_break
    assert any("other layers do damage too" in link.sentence for link in more.chain)


def test_where_no_layer_suffices_alone_the_smallest_set_is_found() -> None:
    finding = found("layer15", "layer14", "layer9", least=3)
    assert finding.layers == LAYERS[:8:-1]
    assert finding.without is not None
    assert finding.without.all_heal


def test_no_layers_are_named_where_only_all_together_break_it() -> None:
    finding = found(*LAYERS, least=len(LAYERS))
    assert finding.layers == ()
    assert finding.without is None


def test_nothing_is_claimed_where_it_breaks_without_any_update() -> None:
    finding = found(*LAYERS, least=0)
    assert finding.layers == ()
    assert not any("update" in link.sentence for link in finding.chain)


def test_the_chain_says_what_was_seen_and_where() -> None:
    chain = found("layer15").chain
    sentences = [link.sentence for link in chain]
    first, update, without, only, withheld, dead, end = sentences
    assert first == (
        "In iteration 101, conv is the first blob out of range: its values reach 9, and 2 at most in the 5 iterations "
        "before the cause"
    )
    assert update == (
        "The update of iteration 100 changes layer15 by 0.017 of its weights' norm (17 times as much as usual)"
    )
    assert without == "Without any update from iteration 100 on, training keeps its level (1 of 1 replay)"
    assert only == "With only layer15 updated from 100, it breaks (1 of 1 replay)"
    assert withheld == "With the updates of layer15 withheld from 100, it continues (1 of 1 replay)"
    assert dead == "From iteration 103 on, units die: conv comes to give 99 % zeros or more"
    assert end == "At iteration 115, the head is near chance level: loss 2.2 (ln 10 = 2.3)"
    assert all(link.trials for link in chain)


def test_without_an_iteration_before_nothing_is_compared_with_the_usual() -> None:
    at_once = replace(case(), first=AT, start=AT)
    procedure = find_layers(at_once, AT)
    chain = answered(procedure, lambda arm: not arm.changes, None, looked_at).chain
    assert [link.sentence for link in chain] == [
        "Without any update from iteration 100 on, training keeps its level (1 of 1 replay)",
        "At iteration 115, heads are near chance level: loss 2.2 (ln 10 = 2.3), other 4 (ln 55 = 4.01)",
    ]


def test_a_chain_begins_with_what_the_records_do_alone() -> None:
    alone = [CulpritRecord("", None, 7, n, effect, None, norm, 1e-4, 6.2) for n, effect, norm in RECORDS]
    link = of_records(alone)
    assert link is not None
    assert link.sentence == (
        "In an ordinary batch with each of 3 culprit records alone, the gradient's norm is 70 to 140 (6.2 with an "
        "ordinary record), and the loss after the update rises by 0.2 to 0.9 (0.0001 with an ordinary record; not "
        "finite for 1 of them)"
    )
    assert link.trials == ("records of 7, each among ordinary ones",)
    lost = of_records(alone[2:])
    assert lost is not None
    assert lost.sentence.endswith("and the loss after the update is not finite")
    one = alone[0]
    single = of_records([one])
    assert single is not None
    assert single.sentence.startswith("In an ordinary batch with the culprit record alone, the gradient's norm is 70 (")
    assert of_records([replace_struct(one, relief=2.0)]) is None  # only together with others
    assert of_records([]) is None
