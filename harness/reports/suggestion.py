"""A command suggested to the user."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Suggestion:
    """A command for the user's shell, and its purpose. `command` is empty where there is only advice."""

    command: str
    purpose: str
