"""The section Rescue of a report: which intervention belongs to which break, and which rescue.json is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from harness.errors import BadInput
from harness.recording.result_files import rescue_from, rescue_of
from harness.reports.html.rescue import breaks, facts, mood
from harness.schemas.explanation import Cost
from harness.schemas.rescue import Attempt, Intervention, Rescue, Tried
from tests.helpers.rescues import made_up_rescue, write_rescue


def made(tmp_path: Path, *names: str) -> list[Path]:
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    return [tmp_path / name for name in names]


def test_each_break_has_the_intervention_that_followed_it() -> None:
    found = made_up_rescue(Path("/runs/a b"), Path("/runs/study"))
    first, second = breaks(found, ["loss3/top-1"])
    assert first.title == "Break at iteration 26 of a b"
    assert first.intervention == found.interventions[0]
    assert second.went_on.endswith("momentum 0.8 (--set momentum=0.8 --history reset), as the run 3.")
    assert facts(found) == (
        "reached iteration 55; 2 interventions; 2,590 iterations computed, in 1 min 17 s with 2 workers"
    )
    assert [mood(tried) for tried in first.tried] == ["good", "bad", "good", "open"]
    assert first.test == "loss3/top-1"
    assert breaks(found, ["loss"])[0].test == "loss"


def test_a_break_that_nothing_got_past_has_none() -> None:
    """A candidate that did not hold, then another at the same break, and a last break: two had no intervention."""
    chosen = (Tried("clip", "clip", "--set clip_gradients=9", 2, 2, chosen=True),)
    attempts = (
        Attempt("/runs/a", 841, "record", "It broke.", chosen),
        Attempt("/runs/a", 841, "record", "It broke.", chosen),
        Attempt("/runs/2", 950, "none", "Again."),
    )
    later = Intervention(800, "clip", "--set clip_gradients=1", "", "/runs/before", "/runs/2", 841)
    one, two, three = breaks(Rescue(False, "/runs/2", (later,), attempts=attempts), ())
    assert one.went_on == "Training was not continued with what was chosen."
    assert two.intervention == later
    assert three.went_on == "Training was not continued from here."
    assert facts(Rescue(False, "/runs/a", until=1000)) == "did not reach iteration 1,000; no interventions"


def test_the_candidates_of_the_last_break_are_shown_without_attempts() -> None:
    tried = (Tried("clip", "clip", "--set clip_gradients=1", 2, 1),)
    (shown,) = breaks(Rescue(False, "/runs/a", tried=tried, cost=Cost(0, 0.0, 0)), ())
    assert (shown.title, shown.tried, mood(tried[0])) == ("", tried, "open")
    assert breaks(Rescue(False, "/runs/a"), ()) == ()


def test_rescue_json_is_read_for_the_run_that_it_names(tmp_path: Path) -> None:
    first, _, last = made(tmp_path, "first", "study/1", "study/3")
    found = made_up_rescue(first, tmp_path / "study")
    write_rescue(tmp_path / "study", found)
    assert rescue_of(last) == found
    assert rescue_of(tmp_path / "study/1") is None
    assert rescue_of(first) is None
    assert rescue_from(first) is None
    shutil.copytree(tmp_path / "study", tmp_path / "first-rescue")
    assert rescue_from(first) == rescue_of(tmp_path / "first-rescue/3") == found
    (tmp_path / "study").rename(tmp_path / "moved")
    assert rescue_of(tmp_path / "moved/3") == found


def test_a_rescue_that_helped_nothing_is_shown_with_the_run_that_broke(tmp_path: Path) -> None:
    (first,) = made(tmp_path, "first")
    (tmp_path / "first-rescue").mkdir()
    failed = msgspec.structs.replace(made_up_rescue(first, tmp_path / "first-rescue"), finished=False, run=str(first))
    write_rescue(tmp_path / "first-rescue", failed)
    assert rescue_of(first) == failed
    (tmp_path / "first-rescue/rescue.json").write_text('{"finished": 1}')
    with pytest.raises(BadInput, match=r"first-rescue/rescue\.json: damaged"):
        rescue_of(first)
