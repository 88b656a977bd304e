"""An explanation on a terminal."""

from __future__ import annotations

from io import StringIO

import msgspec

from harness.reports.console import Console
from harness.reports.text.explanation import show_explanation
from harness.schemas.explanation import Cost, Explanation
from tests.helpers.explanations import record_explanation, undecided_explanation


def text_of(found: Explanation) -> str:
    stream = StringIO()
    show_explanation(found, (), Console(file=stream, width=120))
    return stream.getvalue()


def test_measurements_and_margins_are_counted_and_not_listed() -> None:
    found = record_explanation(841, ["cat.png", "dog.png"], "conv1")
    text = text_of(found)
    assert "the others replaced" in text
    assert "record 1 alone" not in text
    assert "rate × 0.41" not in text
    assert "8 trials of margins and measurements are not shown. Computed now: 2,340 iterations" in text


def test_records_have_their_gradient_and_ordinary_ones_a_row_for_comparison() -> None:
    found = record_explanation(841, ["cat.png", "dog.png"], "conv1")
    lines = text_of(found).splitlines()
    (head,) = [number for number, line in enumerate(lines) if line.startswith("record  ")]
    assert lines[head].split() == ["record", "iteration", "label", "effect", "gradient"]
    assert lines[head + 1].split() == ["cat.png", "841", "0.35", "210"]
    assert lines[head + 2].split()[1:] == ["841", "0.41", "219"]
    assert lines[head + 3].split() == ["ordinary", "records", "841", "0.004", "6.3"]


def test_an_effect_that_is_not_finite_is_said() -> None:
    found = record_explanation(841, ["cat.png"], "conv1")
    (record,) = found.verdict.records
    verdict = msgspec.structs.replace(found.verdict, records=(msgspec.structs.replace(record, effect=None),))
    (row,) = [
        line for line in text_of(msgspec.structs.replace(found, verdict=verdict)).splitlines() if "cat.png  " in line
    ]
    assert row.split() == ["cat.png", "841", "not", "finite", "210"]


def test_what_would_decide_is_said() -> None:
    text = text_of(msgspec.structs.replace(undecided_explanation(841), cost=Cost(0, 1.0, 1)))
    assert "What would decide it" in text
    assert "rewind --watch 800:801" in text
