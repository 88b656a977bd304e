"""An explanation in an anonymous capsule names no record, file or class, in sentences either."""

from __future__ import annotations

from msgspec.structs import replace

from harness.capsules.privacy.anonymous_explanation import anonymous_explanation
from tests.helpers.explanations import record_explanation


def test_names_are_replaced_wherever_they_are_whole_words() -> None:
    found = record_explanation(841, ["00000007_anna.png", "mine.h5:12"], "conv1")
    first, second = found.verdict.records
    records = (replace(first, label=3, class_name="anna"), second)
    sentence = "00000007_anna.png (anna) and mine.h5:12 in the batch of 841 broke it, not 00000007_anna.png2."
    arms = (replace(found.arms[0], name="mine.h5:12 replaced", changes=("anna",)), *found.arms[1:])
    named = replace(found, verdict=replace(found.verdict, records=records, sentence=sentence), arms=arms)
    clean = anonymous_explanation(named, {"00000007_anna.png": "00000000"})
    index = second.index
    assert clean.verdict.sentence == (
        f"00000000 (class 3) and record {index} in the batch of 841 broke it, not 00000007_anna.png2."
    )
    assert [(record.key, record.class_name, record.index) for record in clean.verdict.records] == [
        ("00000000", None, first.index),
        ("", None, index),
    ]
    assert clean.arms[0].name == f"record {index} replaced"
    assert clean.arms[0].changes == ("class 3",)
    assert not any(arm.command for arm in clean.arms)
    assert clean.verdict.kind == "record"
    assert clean.margins == found.margins
