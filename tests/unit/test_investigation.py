"""Whole investigations of made-up trainings: what is decided, and how it is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.diagnosis.cause.investigate import Finding
from harness.diagnosis.cause.stages.controls import Controls
from harness.diagnosis.cause.stages.data import DataFinding
from harness.diagnosis.cause.trials import Seen, Trial
from harness.diagnosis.cause.verdict.deciding import Screening
from harness.diagnosis.cause.verdict.sentences import cause
from harness.diagnosis.cause.verdict.stating import MORE, stated_without_onset
from harness.schemas.arm import Arm, ArmResult, Place
from harness.schemas.explanation import Judgement, Kind, Levels
from harness.schemas.layout import Param
from tests.helpers.made_up_cases import AT, BROKEN, HEALTHY, made_up_case
from tests.helpers.made_up_training import Step, Training, investigated, with_data

CASE = with_data(made_up_case())
COUNT = len(CASE.iterations)
RAISED = replace(CASE, rate=np.where(CASE.iterations < 90, 0.01, 0.1))
STEEP = replace(
    CASE,
    params=tuple(Param(layer, 0, (3, 3), 40.0 if layer == "b" else 1.0, 1.0) for layer in "abcd"),
    usual_steps={"a": 1e-3, "b": 4e-2, "c": 1e-3, "d": 1e-3},
)
EARLY = replace(with_data(made_up_case()), at=20, first=0, start=15, began=0)
SOON = AT - 3  # from there on, a setting does its damage

RECORD = Training(CASE, lambda s: s.damage > 2 and s.rate > 0.02, {Place(AT, 3): 1.5, Place(AT, 5): 1.7})
SCHEDULE = Training(RAISED, lambda s: s.t >= SOON and s.rate > 0.05)
RATE = Training(CASE, lambda s: s.t >= SOON and s.rate > 0.05)
MOMENTUM = Training(with_data(made_up_case(momentum=0.99)), lambda s: s.t >= SOON and s.settings["momentum"] > 0.95)
DECAY = Training(
    with_data(made_up_case(weight_decay=0.1)), lambda s: s.t >= SOON and s.settings.get("weight_decay", 0.1) > 0.05
)
LAYER = Training(STEEP, lambda s: s.t >= SOON and "b" not in s.slower and s.rate > 0.05)
SHIFT = Training(CASE, lambda s: len(s.batches) >= 5 and all(batch >= AT - 4 for batch in s.batches[-5:]))
START = Training(EARLY, lambda s: s.t >= 17 and "c" not in s.redrawn)
ALWAYS = Training(CASE, lambda s: s.t >= SOON)

OTHER_DATA = (
    "with other data from 95 on, it breaks as well (3 of 3 replays); with other data from 50 on, it breaks as well "
    "(3 of 3 replays)."
)
SENTENCES: dict[Kind, tuple[Training, int, str]] = {
    "record": (
        RECORD,
        AT,
        "The 2 records at positions 3 and 5 in the batch of 100 broke it. With other records in their place, training "
        "continues (8 of 8 replays); placed in other batches, they break those as well (5 of 5 replays); with the 6 "
        "other records replaced, it still breaks (3 of 3 replays). This requires a learning rate above 0.0199.",
    ),
    "lr-schedule": (
        SCHEDULE,
        90,
        "The learning rate broke it, which the schedule raised from 0.01 to 0.1 by iteration 90. With the rate held at "
        "0.01, training continues (3 of 3 replays); "
        f"{OTHER_DATA}",
    ),
    "learning-rate": (
        RATE,
        AT,
        "The learning rate of 0.1 is too high for this training, whatever data it reads. With the rate × 0.1, training "
        f"continues (3 of 3 replays); {OTHER_DATA}",
    ),
    "momentum": (
        MOMENTUM,
        AT,
        "The momentum of 0.99 broke it (effective rate 10). With momentum 0.9, training continues (3 of 3 replays); "
        f"unchanged from the same start, it breaks (3 of 3 replays); {OTHER_DATA}",
    ),
    "weight-decay": (
        DECAY,
        AT,
        "The weight decay of 0.1 broke it. With weight decay 0.0005, training continues (3 of 3 replays); unchanged "
        f"from the same start, it breaks (3 of 3 replays); {OTHER_DATA}",
    ),
    "layer-lr": (
        LAYER,
        AT,
        "The learning rate of layer b broke it. With the rate × 0.025 for b, training continues (3 of 3 replays); "
        f"{OTHER_DATA}",
    ),
    "data-shift": (
        SHIFT,
        AT,
        "The data from iteration 100 on broke it. With other data from 95 on, training continues (3 of 3 replays); "
        "with the data from 100 on read earlier, it breaks there (3 of 3 replays); with only batches 100 … 107 "
        "replaced, it breaks (3 of 3 replays).",
    ),
    "start-weights": (
        START,
        0,
        "The weights of c with which training began broke it. With c redrawn at the start, training continues (4 of 4 "
        f"replays); {OTHER_DATA.replace('95', '15').replace('50', '0')}",
    ),
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_each_kind_is_decided_and_said(kind: Kind) -> None:
    training, iteration, sentence = SENTENCES[kind]
    found = investigated(training)
    assert (found.verdict.sentence, found.verdict.kind) == (sentence, kind)
    assert found.verdict.iteration == iteration
    assert found.verdict.confidence == 1
    assert found.control is not None
    assert found.control.identical
    assert not found.left_out
    assert found.rewind
    assert found.margins
    names = {claim.sentence for claim in found.verdict.evidence}
    assert all(name[1:] in sentence or name.startswith("Unchanged, with the recorded weights") for name in names)


def test_a_record_that_breaks_only_at_the_raised_rate_is_named_with_it() -> None:
    damage = {Place(AT, 3): 1.5, Place(AT, 5): 1.7}
    verdict = investigated(Training(RAISED, lambda s: s.damage > 2 and s.rate > 0.05, damage)).verdict
    assert verdict.kind == "record"
    assert [condition.kind for condition in verdict.conditions] == ["learning-rate", "lr-schedule"]
    assert verdict.sentence.endswith(
        "and that the schedule raised the learning rate from 0.01 to 0.1 by iteration 90 (held as before, training "
        "continues in 3 of 3 replays)."
    )


UNBALANCED = replace(EARLY, at=90, start=85, start_sizes={"a": 2.4, "c": 0.3}, from_weights=True)


def test_weights_that_were_rescaled_against_each_other_are_named_however_much_heals() -> None:
    """Long after the start as well: their sizes deviate, and a lower rate heals nearly everything."""

    def harms(s: Step) -> bool:
        return s.t >= 87 and s.rate > 0.05 and not s.scaled >= {"a", "c"}

    verdict = investigated(Training(UNBALANCED, harms)).verdict
    assert (verdict.kind, verdict.layers, verdict.iteration) == ("start-weights", ("a", "c"), 0)
    assert verdict.sentence.startswith(
        "The weights of a and c with which training began broke it (sizes beside those of other layers, as fillers "
        "draw them: a × 2.4, c × 0.3). With the weights of a and c scaled to the size of others at the start, training "
        "continues (6 of 6 replays); unchanged from the same start, it breaks (3 of 3 replays); "
    )


@pytest.mark.parametrize("healing", ["", "abcd", "ab"])
def test_unusual_weights_are_not_named_where_their_size_does_not_matter(healing: str) -> None:
    """Nor layers that heal where others do as well when they are drawn anew."""
    early = replace(UNBALANCED, at=20, start=15)
    training = Training(early, lambda s: s.t >= 17 and s.rate > 0.05 and not s.redrawn & set(healing))
    assert investigated(training).verdict.kind == "learning-rate"


def test_a_layer_whose_rate_is_far_above_that_of_others_is_named_even_if_other_start_weights_heal() -> None:
    steep = replace(EARLY, params=STEEP.params, usual_steps=STEEP.usual_steps, from_weights=True)

    def harms(s: Step) -> bool:
        return s.t >= 17 and s.rate > 0.05 and "b" not in s.slower and "c" not in s.redrawn

    verdict = investigated(Training(steep, harms)).verdict
    assert (verdict.kind, verdict.layers) == ("layer-lr", ("b",))


@pytest.mark.parametrize("kind", SENTENCES)
def test_whenever_the_budget_ends_what_is_said_was_seen(kind: Kind) -> None:
    """And nothing else is named as the cause in the meantime."""
    training, _, _ = SENTENCES[kind]
    kinds: list[str] = []
    for most in range(200):
        found = investigated(training, most)
        kinds.append(found.verdict.kind)
        _check_sentences(found)
        if not found.left_out:
            break
    assert kinds[0] == "undecided"
    assert kinds[-1] == kind
    first = kinds.index(kind)
    assert kinds[:first] == ["undecided"] * first
    assert set(kinds[first:]) == {kind}


@pytest.mark.parametrize(
    ("training", "most", "so_far"),
    [
        (
            RECORD,
            5,
            "Not finished: data and settings. So far: with batch 100 replaced, training continues (3 of 3 replays); "
            "with other data from 101 on, it still breaks (2 of 2 replays).",
        ),
        (
            RATE,
            3,
            "Not finished: data and settings. So far: with other data from 95 on, it still breaks (3 of 3 replays).",
        ),
        (RATE, 5, "Not finished: settings. So far: with the rate × 0.1, training continues (1 of 1 replay)."),
    ],
)
def test_a_budget_that_ends_in_a_stage_leaves_what_that_showed(training: Training, most: int, so_far: str) -> None:
    verdict = investigated(training, most).verdict
    assert verdict.sentence == f"The cause is not decided. {so_far}"
    assert verdict.would_decide == (MORE,)
    assert len(verdict.evidence) > 1


def _check_sentences(found: Finding) -> None:
    verdict = found.verdict
    assert verdict.sentence.endswith(".")
    assert ".." not in verdict.sentence
    assert "None" not in verdict.sentence
    assert (verdict.kind == "undecided") == bool(verdict.would_decide)
    if verdict.kind == "undecided":
        assert verdict.sentence.startswith("The cause is not decided. Not finished: " if found.control else "The cause")
    for part in verdict.sentence.split("; "):
        assert "breaks" not in part or "(0 of" not in part


def test_a_batch_of_which_no_record_can_be_tried() -> None:
    training = Training(replace(CASE, net=made_up_case().net), lambda s: s.batches[-1] == AT and s.rate > 0.02)
    verdict = investigated(training).verdict
    assert (verdict.kind, verdict.records) == ("record", ())
    assert verdict.sentence == (
        "Batch 100 broke it. With other batches in place of batch 100, training continues (3 of 3 replays); with "
        "all batches but batch 100 replaced, it still breaks (3 of 3 replays). "
        "This requires a learning rate above 0.0199."
    )


def test_a_record_that_breaks_no_other_batch() -> None:
    """What does not agree is said as it was, and counts."""
    damage = {Place(AT, 3): 3.0}
    training = Training(CASE, lambda s: s.t == AT and s.damage > 2 and s.rate > 0.02, damage)
    verdict = investigated(training).verdict
    assert "placed in other batches, it breaks none of those (0 of 5 replays)" in verdict.sentence
    assert verdict.confidence == (8 + 3) / (8 + 5 + 3)


def test_a_rate_that_was_raised_when_training_was_resumed() -> None:
    """It is the cause, even if fresh weights of a layer heal as well."""
    resumed = replace(CASE, began=AT - 30, first=AT - 30, from_weights=True)
    rate_or_weights = Training(resumed, lambda s: s.t >= SOON and s.rate > 0.05 and "c" not in s.redrawn)
    assert investigated(rate_or_weights).verdict.kind == "start-weights"
    verdict = investigated(replace(rate_or_weights, case=replace(resumed, rate_before=0.01))).verdict
    assert verdict.kind == "learning-rate"
    assert verdict.sentence.startswith(
        "The learning rate of 0.1, raised from 0.01 when training was resumed at iteration 70, is too high for this "
        "training, whatever data it reads. With the rate × 0.1, training continues (3 of 3 replays)"
    )


@pytest.mark.parametrize(
    ("near", "said"),
    [
        ("hhh", "Nothing was found that deviates from its past, and a lower learning rate heals: that of 0.1 may be "
                "too high for this training, which no other data show"),
        ("hbh", "The learning rate of 0.1 is too high for this training"),
        ("bbh", "The learning rate of 0.1 is too high for this training, whatever data it reads"),
    ],
)  # fmt: skip
def test_a_rate_is_too_high_as_far_as_other_data_show_it(near: str, said: str) -> None:
    arms = tuple(Arm(AT, 20, seed=seed) for seed in range(len(near)))
    results = tuple(ArmResult(arm=arm, ended="completed") for arm in arms)
    how: dict[str, Judgement] = {"h": "healed", "b": "broken"}
    seen = Seen(Trial("other data", "data-shift", arms), results, tuple(how[letter] for letter in near))
    found = Screening(Controls(seen, (), 1e-3, 1, None, True), DataFinding(seen))
    assert cause("learning-rate", AT, CASE, found) == said


def test_whatever_is_changed_heals() -> None:
    """No setting is blamed then."""
    training = Training(CASE, lambda s: s.t >= SOON and not s.jittered and s.rate > 0.05 and s.batches[-1] == s.t)
    found = investigated(training)
    assert found.verdict.kind == "undecided"
    assert found.verdict.sentence == (
        "The cause is not decided. Training breaks from exactly these weights only: with weights × (1 ± 1e-05), it "
        "continues (2 of 2 replays)."
    )


def test_nothing_that_is_changed_heals() -> None:
    found = investigated(ALWAYS)
    assert found.verdict.kind == "undecided"
    assert found.verdict.sentence == "The cause is not decided. Nothing that was changed alone heals."
    assert found.verdict.would_decide == ("an earlier snapshot",)
    assert len(found.verdict.evidence) == 2


def test_unchanged_replays_that_do_not_break() -> None:
    healthy = Training(CASE, lambda s: False)
    verdict = investigated(healthy).verdict
    assert (verdict.kind, verdict.iteration, verdict.confidence) == ("none", None, 1)
    assert verdict.sentence == (
        "Training did not break at iteration 100, or it recovered: unchanged, it continues (2 of 2 replays)."
    )
    flipped = replace(healthy, digests=lambda t: t if t < AT - 2 else t + COUNT)
    verdict = investigated(flipped).verdict
    assert (verdict.kind, verdict.iteration) == ("machine", AT - 2)
    assert "from iteration 98 on, the recorded weights are not those that it computes" in verdict.sentence
    verdict = investigated(flipped, not_exact=("Other kernels.",)).verdict
    assert verdict.kind == "undecided"
    assert verdict.sentence == (
        "The cause is not decided. Replays have other bits than the recording, and do not break. Other kernels."
    )
    from_the_start = replace(healthy, digests=lambda t: t + COUNT)
    verdict = investigated(from_the_start).verdict
    assert verdict.kind == "undecided"
    assert "have other weights than recorded from iteration 95 on" in verdict.sentence
    on_the_way = replace(from_the_start, case=replace(CASE, kept=AT - 6))  # a replay from there came to iteration 95
    verdict = investigated(on_the_way).verdict
    assert (verdict.kind, verdict.iteration) == ("machine", AT - 5)


def test_unchanged_replays_that_cannot_be_made() -> None:
    found = investigated(replace(RECORD, ended="refused", why="iteration 100 cannot be read."))
    assert found.verdict.kind == "undecided"
    assert found.verdict.sentence == (
        "The cause is not decided. An unchanged replay was not finished: iteration 100 cannot be read."
    )


@pytest.mark.parametrize(
    ("by", "when"), [(COUNT - 1, "at the end of the run, iteration 199"), (180, "by iteration 180")]
)
def test_a_loss_that_returned_is_no_break(by: int, when: str) -> None:
    verdict = investigated(replace(RECORD, case=replace(CASE, recovered_by=by))).verdict
    assert (verdict.kind, verdict.confidence) == ("none", 1)
    assert verdict.sentence.startswith(f"Training did not break at iteration 100: {when}, the loss is near")


def test_unchanged_replays_that_are_not_clear_are_nothing_to_compare_with() -> None:
    levels = Levels(HEALTHY, BROKEN, BROKEN - 0.01, BROKEN)
    training = Training(replace(CASE, levels=levels), lambda s: s.t >= SOON, digests=lambda t: t + COUNT)
    found = investigated(training)
    assert found.verdict.kind == "undecided"
    assert found.verdict.sentence == (
        "The cause is not decided. Unchanged, it breaks in 0 of 2 replays and continues in 0: there is nothing to "
        "compare with."
    )
    assert "--at" in found.verdict.would_decide[0]


def test_a_run_without_an_onset_that_never_learned_is_not_said_to_have_recovered() -> None:
    plain, never = (stated_without_onset(is_never, 2.3026, {"conv1": 12.0}) for is_never in (False, True))
    assert plain.sentence == "Training did not break, or it recovered: there is no onset."
    assert never.sentence == (
        "Training did not break, for it has learned nothing so far: at the end of the run the loss is 2.3. The weights "
        "that it began with are suspected: sizes beside those of other layers, as fillers draw them: conv1 × 12."
    )
    assert plain.kind == never.kind == "none"
