"""The place where arms are replayed and legs made: this machine, or a Dask cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from harness.cluster.arms import engines_of
from harness.cluster.connection import connected
from harness.cluster.legs import legs_of
from harness.command_parser import positive
from harness.experiments import Engines, local
from harness.studies.engine import LegEngine
from harness.studies.local_legs import LocalLegs


@dataclass(frozen=True)
class Place:
    """Where arms are replayed and legs made.

    Attributes:
        legs: makes an engine; of as many legs at a time, on this machine.
    """

    arms: Engines
    legs: Callable[[int], LegEngine]


@contextmanager
def place(dask: str | None, workers: int | None, tell: Callable[[str], None]) -> Iterator[Place]:
    """Connect to the Dask scheduler at `dask`, or that of a scheduler file; None for this machine.

    Args:
        workers: of this machine; None for as many as fill it.
        tell: is told what the user shall know of the workers of a cluster.

    Raises:
        ModuleNotFoundError: the extra `cluster` is not installed.
        BadInput: the scheduler does not answer, or has no worker that can be used.
    """
    if dask is None:
        yield Place(local(workers), LocalLegs)
        return
    with connected(dask) as cluster:
        legs = legs_of(cluster, tell)
        yield Place(engines_of(cluster), lambda count: legs())


def add_place(parser: argparse._ActionsContainer, what: str) -> None:
    """Add the options --workers and --dask, for `what` ("replays", "restarts")."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=positive, metavar="N", help=f"{what} at a time (default: cores / threads of the run)"
    )
    where.add_argument(
        "--dask",
        metavar="ADDRESS",
        help=f"make {what} on the workers of this Dask scheduler (tcp://HOST:8786, or its scheduler file), not here",
    )
