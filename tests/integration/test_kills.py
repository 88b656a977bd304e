"""A small part of the campaign of kills: one of each phase of a run, and of each victim."""

from __future__ import annotations

import pytest

from tools.campaigns.kills import check


# worker at the start, supervisor in a window and in a snapshot, both in training, supervisor while closing, a reader
# in its repair, both at the start of a restart
@pytest.mark.parametrize("number", [0, 8, 9, 17, 11, 5, 20])
def test_nothing_is_lost(number: int) -> None:
    case = check(number)
    assert case.failure is None, case
