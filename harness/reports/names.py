"""Names of curves, the same in every figure and page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.schemas.run_info import Parent

EACH = "total, each iteration"
SMOOTHED = "total, smoothed"
DISPLAYED = "total, as displayed"


def head_name(name: str, weight: float) -> str:
    """Name the curve of a head: with its weight in the total, unless that is 1."""
    return name if weight == 1 else f"{name} (weight {weight:g})"


def change_name(parent: Parent) -> str:
    """Name a restart by what was changed: `base_lr=0.001, skip=841:842`."""
    changes = [
        f"{'' if change.where == 'solver' else f'{change.where}: '}{change.field}={change.new.removesuffix('.0')}"
        for change in parent.changes
    ]
    changes += [f"history={parent.history}"] if parent.history != "keep" else []
    changes += [f"skip={parent.skip}"] if parent.skip else []
    left_out = len(parent.skip_records)
    changes += [f"{left_out:,} record{'s' if left_out > 1 else ''} left out"] if left_out else []
    return ", ".join(changes) or "nothing changed"


def curve_names(runs: Mapping[str, Parent | None]) -> list[str]:
    """Name the curves of runs, given by their names: a restart by what was changed, if no other has the same change."""
    names = [name if parent is None else change_name(parent) for name, parent in runs.items()]
    return [
        name if name == run or names.count(name) == 1 else f"{name} ({run})"
        for run, name in zip(runs, names, strict=True)
    ]


def more_heads(count: int) -> str:
    """Name what a figure leaves out."""
    return f"{count} more heads, not drawn"


def head_of(output: str, heads: Sequence[str]) -> int | None:
    """Find the head that another output of a net belongs to: the only one, or the one in the same block of layers.

    `loss3/top-1` and `loss3/loss3` are in one block. Returns its position in `heads`; None where it is not known.
    """
    if len(heads) == 1:
        return 0
    block = output.rpartition("/")[0]
    same = [position for position, head in enumerate(heads) if block and head.rpartition("/")[0] == block]
    return same[0] if len(same) == 1 else None
