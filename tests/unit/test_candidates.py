"""Candidates for a break: which changes may help, in their order, and what they change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from harness.caffe_files.messages import pb
from harness.change_options import read_candidate
from harness.diagnosis.cause.case import Case
from harness.diagnosis.cause.trials import Trial, Wanted
from harness.diagnosis.rescue.candidates import candidates_of, last_candidates
from harness.diagnosis.rescue.evidence import placed
from harness.diagnosis.rescue.given import given_at, given_candidate
from harness.diagnosis.rescue.trials import ENOUGH, Outcome, left_to_try, try_all, try_until_past
from harness.errors import BadInput
from harness.schemas.arm import Arm, HistoryScaled, LayerField, RateScaled, RecordsReplaced, SolverField, StreamShifted
from harness.schemas.explanation import ArmSummary, ControlSummary, CulpritRecord, Explanation, Kind, Margin, Verdict
from harness.schemas.layout import Param
from harness.schemas.rescue import Candidate, Step
from harness.supervisor.excluded_records import given_keys
from tests.helpers.explanations import machine_explanation, none_explanation, trial
from tests.helpers.made_up_cases import AT, answered, made_up_case

MARGINS = {"learning_rate": Margin(0.047, 0.055), "clip_gradients": Margin(18.0, 20.0), "momentum": Margin(0.5, 0.6)}
NOTHING_SURVIVES = {
    "learning_rate": Margin(None, 0.0001),
    "clip_gradients": Margin(None, 0.01),
    "momentum": Margin(None, 0.0),
}


def explained(
    kind: Kind,
    arms: Sequence[ArmSummary] = (),
    margins: dict[str, Margin] = MARGINS,
    keys: Sequence[str] = (),
    layers: Sequence[str] = (),
) -> Explanation:
    """Return the explanation of a made-up case; the culprits are the records from index 3 on of its iteration 100."""
    records = tuple(CulpritRecord(key, None, AT, 3 + number, 1.0) for number, key in enumerate(keys))
    verdict = Verdict(kind, "It broke.", iteration=AT, records=records, layers=tuple(layers))
    return Explanation(verdict, ControlSummary(True, 21, 2, 2), tuple(arms), margins)


def reading(case_fields: dict[str, object] | None = None) -> Case:
    """Return a made-up case whose net reads 8 records in an iteration."""
    net = pb.NetParameter()
    net.layer.add(name="data", type="Data").data_param.batch_size = 8
    for name in ("a", "b/x[1]"):
        layer = net.layer.add(name=name, type="InnerProduct")
        layer.param.add(lr_mult=1)
    case = made_up_case(("a", "b/x[1]"), base_lr=0.1, lr_policy="fixed", **(case_fields or {}))
    return Case(**{**vars(case), "net": net})


def kinds(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.kind for candidate in candidates]


def words(candidates: Sequence[Candidate]) -> dict[str, tuple[str, ...]]:
    return {candidate.kind: candidate.steps[0].words for candidate in candidates}


def test_culprit_records_are_left_out_first() -> None:
    arms = [
        trial("the 2 culprit records of 100 replaced", "record", AT, ["healed"] * 8, at=AT),
        trial("batch 100 replaced", "record", AT - 5, ["healed"] * 3, at=AT),
        trial("rate × 0.1", "learning-rate", AT - 5, ["healed"] * 3, at=AT),
    ]
    found = candidates_of(reading(), explained("record", arms, keys=["00_a", "01_b"]))

    assert kinds(found) == ["records", "batches", "clip", "stretch", "history", "rate"]
    assert words(found)["records"] == ("--skip-records", "00_a,01_b")
    assert words(found)["batches"] == ("--skip", "100:101")
    assert "8 of 8 replays" in found[0].why
    assert "3 of 3 replays" in found[1].why
    assert found[1].changes == (StreamShifted(AT, AT + 1),)


def test_leaving_records_out_moves_the_later_ones_up() -> None:
    (change,) = candidates_of(reading(), explained("record", keys=["00_a", "01_b"]))[0].changes
    assert isinstance(change, RecordsReplaced)
    read = {(r.place.iteration, r.place.position): (r.source.iteration, r.source.position) for r in change.replacements}

    assert read[AT, 3] == (AT, 5)
    assert read[AT, 5] == (AT, 7)
    assert read[AT, 6] == (AT + 1, 0)
    assert (AT, 2) not in read
    assert max(read) == (reading().until - 1, 7)


@pytest.mark.parametrize("keys", [["cat,1.jpg"], ["cat,1.jpg", "dog.jpg"], ["@x"], ["-x"], ["a b", "c"]])
def test_any_keys_can_be_left_out(keys: list[str]) -> None:
    (option,) = words(candidates_of(reading(), explained("record", keys=keys))[:1]).values()
    value = option[1] if len(option) == 2 else option[0].removeprefix("--skip-records=")

    assert given_keys(value) == tuple(keys)


def test_what_replays_have_refuted_is_left_out() -> None:
    arms = [trial("batches 100 … 107 replaced", "record", AT - 5, ["broken"] * 3, at=AT)]

    assert candidates_of(reading(), explained("data-shift", arms, NOTHING_SURVIVES)) == ()
    assert kinds(candidates_of(reading(), explained("data-shift", arms))) == ["clip", "stretch", "history", "rate"]


def test_a_stretch_of_data_is_skipped_where_that_heals() -> None:
    arms = [trial("batches 100 … 109 replaced", "record", AT - 5, ["healed"] * 3, at=AT)]

    assert words(candidates_of(reading(), explained("data-shift", arms)))["batches"] == ("--skip", "100:110")


def test_longer_and_longer_stretches_are_skipped_where_the_data_have_changed() -> None:
    arms = [trial(f"other data from {AT - 5} on", "data-shift", AT - 5, ["healed"] * 3, at=AT)]
    case = reading()
    found = [one for one in candidates_of(case, explained("data-shift", arms)) if one.kind == "batches"]
    ends = [AT + factor * case.after for factor in (1, 2, 4, 8, 16)]
    assert [one.steps[0].words for one in found] == [("--skip", f"{AT}:{end}") for end in ends]
    assert [one.changes for one in found] == [(StreamShifted(AT, end),) for end in ends]
    assert found[0].why == "the data from iteration 100 on broke it: 3 of 3 replays with other data continue"


def test_a_lower_rate_for_a_stretch_is_raised_to_what_it_was() -> None:
    case = reading()
    arms = [trial("rate × 0.1", "learning-rate", AT - 5, ["healed"] * 3, at=AT)]
    (stretch,) = (c for c in candidates_of(case, explained("record", arms)) if c.kind == "stretch")

    assert stretch.steps == (
        Step(("--set", "base_lr=0.01", "--history", "rescale"), case.until),
        Step(("--set", "base_lr=0.1")),
    )
    assert stretch.changes == (RateScaled(0.1, case.start, case.until), HistoryScaled(0.1))


def test_the_lower_rate_has_room_below_the_margin() -> None:
    (rate,) = candidates_of(reading(), explained("learning-rate"))[-1:]

    assert rate.steps == (Step(("--set", "base_lr=0.03", "--history", "rescale")),)
    assert "0.047 continues, one at 0.055 breaks" in rate.why


def test_the_rate_of_before_a_rise_is_restored() -> None:
    case = reading()
    raised = Case(**{**vars(case), "rate": case.rate * [0.25 if t < AT - 20 else 1.0 for t in case.iterations]})
    (rate,) = candidates_of(raised, explained("lr-schedule"))[-1:]

    assert rate.steps[0].words[:2] == ("--set", "base_lr=0.025")
    assert "80" in rate.why


def test_what_would_break_again_is_left_out_where_the_cause_stays() -> None:
    late = Case(**{**vars(reading()), "began": -500})

    assert kinds(candidates_of(late, explained("learning-rate"))) == ["clip", "rate"]
    assert kinds(candidates_of(late, explained("lr-schedule"))) == ["clip", "rate"]
    assert kinds(candidates_of(reading(), explained("learning-rate"))) == ["clip", "stretch", "rate"]


def test_types_of_solver_whose_history_is_no_momentum_keep_it() -> None:
    found = candidates_of(reading({"type": "Adam"}), explained("record"))

    assert kinds(found) == ["clip", "stretch", "rate"]
    assert all("--history" not in step.words for candidate in found for step in candidate.steps)


def test_the_gradient_is_clipped_above_what_is_ordinary() -> None:
    (clip,) = (c for c in candidates_of(reading(), explained("learning-rate")) if c.kind == "clip")

    assert clip.changes == (SolverField("clip_gradients", "6.0"),)  # between 2, which is usual, and 18
    assert "none of the 100 iterations before" in clip.why


@pytest.mark.parametrize(
    ("kind", "arms", "fields", "expected"),
    [
        ("layer-lr", [], {}, ("--set-layer", "b/x[[]1]:lr_mult=0.1")),
        ("momentum", [], {"momentum": 0.99}, ("--set", "momentum=0.5", "--history", "reset")),
        ("weight-decay", [], {"weight_decay": 0.5}, ("--set", "weight_decay=0.0005")),
    ],
)
def test_settings_become_usual_where_they_are_the_cause(
    kind: Kind, arms: list[ArmSummary], fields: dict[str, object], expected: tuple[str, ...]
) -> None:
    found = candidates_of(reading(fields), explained(kind, arms, layers=["b/x[1]"]))

    assert expected in [candidate.steps[0].words for candidate in found]
    assert kinds(found)[-1] == "rate"


def test_params_of_a_layer_keep_the_ratio_of_their_rates() -> None:
    case = reading()
    with_bias = Case(**{**vars(case), "params": (*case.params, Param("a", 1, (3,), 2.0, 0.0))})
    options = words(candidates_of(with_bias, explained("layer-lr", layers=["a"])))["layer-rate"]

    assert options == ("--set-layer", "a:param[0].lr_mult=0.1", "--set-layer", "a:param[1].lr_mult=0.2")


def test_a_layer_without_whose_updates_training_breaks_is_left_alone() -> None:
    withheld = trial("updates of a withheld from 100", "layer", AT, ["broken"], at=AT)

    assert "layer-rate" in kinds(candidates_of(reading(), explained("record", layers=["a"])))
    assert "layer-rate" not in kinds(candidates_of(reading(), explained("record", [withheld], layers=["a"])))


def test_what_the_machine_did_needs_no_change() -> None:
    assert kinds(candidates_of(reading(), machine_explanation(AT)))[0] == "unchanged"
    assert candidates_of(reading(), none_explanation()) == ()
    assert kinds(candidates_of(reading(), machine_explanation(AT), forbidden=["unchanged", "clip", "stretch"])) == [
        "history",
        "rate",
    ]


def test_candidates_begin_where_the_cause_can_still_be_undone() -> None:
    case = reading()
    arms = [
        trial("weights × (1 ± 0.001)", "control", AT - 5, ["broken", "broken"], at=AT),
        trial("momentum 0.9", "momentum", AT - 50, ["healed"] * 3, at=AT),
    ]

    assert placed(case, explained("momentum", arms)).start == AT - 50
    assert placed(case, explained("momentum", arms)).jitter == 1e-3
    early = replace(explained("data-shift"), verdict=Verdict("data-shift", "It broke.", iteration=AT - 12))
    assert placed(case, early).start == AT - 17


def test_a_given_candidate_stands_behind_those_that_change_as_much() -> None:
    case = reading()
    given = given_candidate("mine: --set base_lr=0.01 --set-layer 'b*:lr_mult=0.5' --history rescale", case)
    other = given_candidate("skip: --skip 100:103", case)
    found = candidates_of(case, explained("learning-rate"), [given, other])

    assert [candidate.name for candidate in found] == [
        "skip",
        "gradients clipped to 6",
        f"rate × 0.1 until {case.until}, then as before",
        "rate × 0.3",
        "mine",
    ]
    assert given.changes == (
        SolverField("base_lr", "0.01"),
        LayerField("b/x[1]", "param[0].lr_mult", "0.5"),
        LayerField("b/x[1]", "param[1].lr_mult", "0.5"),
        HistoryScaled(pytest.approx(0.1)),  # type: ignore[arg-type]
    )
    assert given.steps == (Step(("--set", "base_lr=0.01", "--set-layer", "b*:lr_mult=0.5", "--history", "rescale")),)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("--set base_lr=1", "not a candidate"),
        ("a:", "not a candidate"),
        ("a: --set", "expected one argument"),
        ("a: --set 'base_lr=1", "No closing quotation"),
        ("a: --until 5", "unrecognized arguments: --until 5"),
        ("a: --set bas_lr=1", "no field bas_lr"),
        ("a: --set-layer zz:lr_mult=1", "--set-layer zz:lr_mult=1: "),
        ("a: --skip 3:5", "candidates begin at iteration 95"),
        ("a: --skip 5", "not a window"),
        ("a: --history rescale --set base_lr=nan", "--set base_lr=nan"),
    ],
)
def test_an_unfit_candidate_is_named(text: str, problem: str) -> None:
    with pytest.raises(BadInput) as error:
        given_candidate(text, reading())

    assert str(error.value).startswith(f"--candidate {text}: ")
    assert problem in str(error.value)
    assert error.value.remedy


def test_what_arms_cannot_express_is_for_a_restart_to_tell() -> None:
    assert given_candidate("a: --skip-records x --set base_lr=0.01", reading()).changes == ()
    assert given_candidate("a: --seed 5", reading()).changes == ()


def tried(
    healing: Sequence[str],
    good: Sequence[str] = (),
    given: Sequence[Candidate] = (),
    failing: Sequence[str] = (),
) -> tuple[list[Trial], list[str]]:
    """Try the candidates of a break by records, of which those of some kinds heal; return trials and restarted kinds.

    Args:
        good: kinds with which training goes on as while it was healthy.
        failing: kinds that heal, and break in their restart.
    """
    case = reading().with_jitter(1e-3)
    candidates = candidates_of(case, explained("record", keys=["00_a"]), given)
    changes = {c.changes: c.kind for c in candidates}
    wanted: list[Wanted] = []
    found: list[Outcome] = []

    def breaks(arm: Arm) -> bool:
        own = next(kind for change, kind in changes.items() if arm.changes[: len(change)] == change)
        return own not in healing

    while True:
        past = [one.candidate for one in found if one.gets_past and one.candidate.kind not in failing]
        as_good = [candidate.name for candidate in past if candidate.kind in good]
        names = [one.candidate.name for one in found]
        left = left_to_try(candidates, names, [candidate.name for candidate in past], as_good)
        if not left:
            break
        found += answered(try_until_past(case, left), breaks, wanted)
    restarted = [one.candidate for one in found if one.gets_past]
    return [trial for one in wanted for trial in one.trials], kinds(restarted)


def test_nothing_else_is_tried_where_the_smallest_change_is_good() -> None:
    trials, restarted = tried(["records", "batches", "clip", "stretch", "history", "rate"], good=["records", "rate"])

    assert restarted == ["records"]
    assert [len(one.arms) for one in trials] == [1, 3]


def test_larger_changes_are_tried_until_one_is_good() -> None:
    trials, restarted = tried(["batches", "clip", "stretch", "rate"], good=["clip", "stretch"])

    assert restarted == ["batches", "clip"]
    assert [len(one.arms) for one in trials if one.kind == "records"] == [1]
    assert {one.kind for one in trials} == {"records", "batches", "clip"}


def test_what_replays_of_the_explanation_have_shown_needs_no_others() -> None:
    replaced = trial("the 2 culprit records of 100 replaced", "record", AT, ["healed"] * 8, at=AT)
    batch = trial("batch 100 replaced", "record", AT - 5, ["healed"] * 3, at=AT)
    clipped = trial("gradient clipped to 4", "gradient-clipping", AT - 5, ["healed", "healed", "broken"], at=AT)
    tenth = trial("rate × 0.1", "learning-rate", AT - 5, ["healed"], at=AT)
    case, wanted = reading().with_jitter(1e-3), list[Wanted]()
    found = explained("record", [replaced, batch, clipped, tenth], {}, keys=["00_a", "01_b"])
    candidates = candidates_of(case, found)
    outcomes = answered(try_all(case, candidates), lambda arm: False, wanted)

    assert {one.kind: one.shown for one in candidates if one.shown} == {"records": 8, "batches": 3, "rate": 1}
    assert all(outcome.gets_past for outcome in outcomes)
    tried = {one.kind for wave in wanted for one in wave.trials}
    assert tried == {"clip", "stretch", "history", "rate"}  # one replay shows nothing


def test_what_arms_refuse_is_for_a_restart_to_tell() -> None:
    case = reading().with_jitter(1e-3)
    candidates = candidates_of(case, explained("record", keys=["00_a"]))
    found = answered(try_until_past(case, candidates), lambda arm: True, more=lambda arm: {"ended": "refused"})

    assert [(one.candidate.kind, one.runs, one.gets_past) for one in found] == [("records", 0, True)]


def test_trials_stop_where_enough_is_known() -> None:
    trials, restarted = tried(["records", "batches", "clip", "stretch", "history", "rate"])

    assert restarted == ["records", "batches", "clip", "rate"]
    assert len(restarted) == ENOUGH + 1
    assert {one.kind for one in trials} == set(restarted)
    assert sum(len(one.arms) for one in trials) == 4 * 1 + 4 * 3


def test_what_breaks_in_its_restart_does_not_count() -> None:
    assert tried(["clip", "history"])[1] == ["clip", "history"]
    every = ["records", "batches", "clip", "stretch", "history", "rate"]
    assert tried(every, failing=["records", "clip"])[1] == every
    assert tried([])[1] == []


def test_a_given_candidate_is_always_tried() -> None:
    given = given_candidate("mine: --set base_lr=0.001", reading())
    every = ["records", "batches", "clip", "rate", "given"]

    assert tried(every, ["records"], [given])[1] == ["records", "given"]
    assert tried(every, ["batches", "given"], [given])[1] == ["records", "given", "batches"]
    assert tried(["given"], ["given"], [given])[1] == ["given"]


def test_where_nothing_gets_past_still_lower_rates_do_perhaps() -> None:
    last = last_candidates(reading(), explained("learning-rate"))

    assert [one.name for one in last] == ["rate × 0.09", "rate × 0.03"]
    assert words(last)["rate"] == ("--set", "base_lr=0.003", "--history", "rescale")
    assert last_candidates(reading(), explained("learning-rate"), ["rate"]) == ()
    assert last_candidates(reading(), explained("learning-rate", margins=NOTHING_SURVIVES)) == ()


@pytest.mark.parametrize("name", ["rate × 0.3", "rate-0.3"])
def test_names_of_given_candidates_stay_unique_also_as_those_of_directories(name: str) -> None:
    given = given_candidate(f"{name}: --set base_lr=0.03", reading())

    assert [c.name for c in candidates_of(reading(), explained("learning-rate"), [given])][-2:] == [
        "rate × 0.3",
        f"{name} (given)",
    ]


def test_a_skip_of_an_earlier_break_is_left_out_at_a_later_one() -> None:
    texts = ["early: --skip 50:52", "other: --set base_lr=0.01 --skip 96:97"]

    assert [candidate.name for candidate in given_at(texts, reading())] == ["other"]


def test_a_file_of_keys_is_that_of_the_directory_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_candidate("a: --skip-records @keys.txt").words == (f"--skip-records=@{tmp_path}/keys.txt",)
    assert read_candidate("a: --skip-records=-1,@2").words == ("--skip-records=-1,@2",)
