"""--budget of searches: a time or a number of iterations."""

from __future__ import annotations

import time

import pytest

from harness.budget import Budget, parse_budget
from harness.errors import BadInput


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        (None, Budget()),
        ("90s", Budget(seconds=90)),
        ("10m", Budget(seconds=600)),
        ("2h", Budget(seconds=7200)),
        ("500", Budget(iterations=500)),
    ],
)
def test_times_and_iterations(text: str | None, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "0", "0m", "-3", "10 m", "1.5h", "10d", "m", "٣", "9" * 12, "10ms"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"--budget.*Give a time as in 90s"):
        parse_budget(text)


def test_what_is_spent() -> None:
    now = time.monotonic()
    assert not Budget().spent(now - 1e9, 10**9)
    assert Budget(seconds=10).spent(now - 11, 0)
    assert not Budget(seconds=10).spent(now - 1, 10**6)
    assert Budget(iterations=10).spent(now, 10)
    assert not Budget(iterations=10).spent(now, 9)
