"""Describe what a restart changes."""

from __future__ import annotations

from harness.schemas.run_info import Parent


def describe_changes(parent: Parent) -> str:
    """Describe what a restarted run does differently from its parent."""
    changes = [f"{change.field} {change.old} → {change.new}" for change in parent.changes]
    changes += [f"history {parent.history}"] if parent.history != "keep" else []
    changes += [f"without the data of {parent.skip}"] if parent.skip else []
    return ", ".join(changes) or "nothing changed"
