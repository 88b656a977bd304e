"""Sentences about replays: what was verified, what differs, and what was stored of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from harness.reports.text.grammar import count, name_arrays
from harness.schemas.run_info import Verification


def replay_verified(found: Verification) -> str:
    """Say which iterations of a replay, all of them equal, were compared with the run."""
    if not found.compared:
        return "Nothing was replayed."
    those = count(found.compared, "iteration")
    final = ", and so had the weights after the last one" if found.final else ""
    return f"Verified: {those} ({found.first}…{found.through}) had the digests that the run recorded{final}."


def replay_differs(found: Verification, reasons: Sequence[str], weights: Sequence[str] = ()) -> str:
    """Say where a replay left the run that it repeats.

    Args:
        reasons: what is known that keeps it from repeating the run, bit for bit.
        weights: the caffemodels with whose weights it began.
    """
    t = found.first_difference
    assert t is not None
    follows = found.first is not None and t > found.first
    update = f", so the update of iteration {t - 1:,} was another one" if follows else ""
    if weights and not follows:
        why = f"It began with those in {' and '.join(weights)}: put the file back that the run was given"
    elif reasons:
        why = f"Known reasons: {'; '.join(reasons)}"
    else:
        why = (
            "No reason is known: settings, build of Caffe, BLAS threads and kernels, and the fingerprints of the data "
            "are those of the run"
        )
    return f"Iteration {t:,}: the weights of the replay differ from those that the run recorded{update}. {why}."


def window_stored(path: Path, kinds: Collection[str]) -> str:
    """Say which kinds of arrays were stored in the file of a window."""
    size = path.stat().st_size / 2**20
    return f"Stored {name_arrays(kinds)}: {path.parent.name}/{path.name}, {size:,.1f} MiB"
