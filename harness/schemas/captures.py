"""The kinds of arrays that windows hold."""

from __future__ import annotations

CAPTURES = ("weight", "gradient", "update", "input")  # by default
PARAM_CAPTURES = CAPTURES[:3]  # those that param blobs have
ALL_CAPTURES = (*PARAM_CAPTURES, "history", "input")
