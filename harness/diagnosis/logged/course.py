"""Findings on the course of a loss, as data: regular leaps, overfitting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Leaps:
    """The loss goes up and down every `period` iterations, between the levels `low` and `high`."""

    period: int
    low: float
    high: float


@dataclass(frozen=True)
class Overfitting:
    """A test loss that rose from its `best` pass (iteration, value) to the `last` one.

    `training`: the level of the training loss at the best pass, and at the end, where it is lower.
    """

    name: str
    best: tuple[int, float]
    last: tuple[int, float]
    training: tuple[float, float]
