"""explain.json is read as it was written; a damaged or newer one is one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import BadInput
from harness.recording.result_files import read_explanation
from tests.helpers.explanations import encoded, rate_explanation, record_explanation


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert read_explanation(tmp_path) is None
    for explanation in (record_explanation(841, ["a", "b"], "conv1"), rate_explanation(30)):
        (tmp_path / "explain.json").write_bytes(encoded(explanation))
        assert read_explanation(tmp_path) == explanation


def test_fields_of_a_later_version_of_the_same_format_are_passed_over(tmp_path: Path) -> None:
    content = json.loads(encoded(rate_explanation(30))) | {"more": [1]}
    (tmp_path / "explain.json").write_text(json.dumps(content))
    assert read_explanation(tmp_path) == rate_explanation(30)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"verdict": {"kind": "record"', "damaged"),
        ('{"verdict": {"kind": "record"}}', "`sentence`"),
        ('{"verdict": {"kind": "weather", "sentence": "x"}, "control": null}', "`$.verdict.kind`"),
        ('{"format_version": 2, "verdict": {}}', "newer caffe-harness"),
    ],
)
def test_a_damaged_or_newer_file_is_one_clear_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "explain.json").write_text(content)
    with pytest.raises(BadInput) as error:
        read_explanation(tmp_path)
    assert said in str(error.value)
    assert str(tmp_path / "explain.json") in str(error.value)
