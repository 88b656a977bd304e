"""The census of the workers of a cluster: what it says of them."""

from __future__ import annotations

import pytest

from harness.cluster.census import Census
from harness.cluster.connection import Node
from harness.experiments.control import Compared
from harness.schemas.arm_task import Ready


@pytest.mark.parametrize(
    ("compared", "said"),
    [
        (Compared(1, None), "No worker can be checked: the run has not recorded enough iterations"),
        (Compared(3, None), "1 of 1 worker reproduces the recorded bits"),
        (Compared(3, 40), "0 of 1 worker reproduce the recorded bits; a does not, its arms count as additional seeds"),
    ],
)
def test_a_worker_that_was_not_checked_is_not_said_to_differ(compared: Compared, said: str) -> None:
    census = Census()
    census.judge(Node("tcp://a", "a", 1), compared, Ready(1))

    assert census.news() == said
    assert census.news() == ""
