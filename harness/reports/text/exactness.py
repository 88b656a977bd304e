"""Sentences about exactness, for every command, page and file."""

from __future__ import annotations

from harness.diagnosis.exactness import Exactness, Restarts, of_restarts, recorded_exactness
from harness.reports.text.grammar import count
from harness.schemas.run_info import RunInfo


def not_exact(reason: str) -> str:
    """Say why a run is not exact."""
    return f"Not exact: {reason}"


def at_the_start(info: RunInfo) -> list[str]:
    """Say how exactly a run that is about to start continues the training before it; empty for a new training."""
    found = recorded_exactness(info)
    if not found.exact:
        return [not_exact(reason) for reason in found.reasons]
    if info.first:
        parts = "weights, momentum, position in the data and random state"
        return [f"Resuming at iteration {info.first} exactly{_if(found)}: {parts}"]
    return [f"Exact{_if(found)}"] if found.conditions else []


def summary(info: RunInfo) -> str:
    """Say how exactly a run continues the training before it, and how exactly restarts repeat the run.

    Raises:
        BadInput: a prototxt in `info` cannot be parsed.
    """
    return " ".join([*_continuation(info), *_of_restarts(of_restarts(info), info.blas_threads)])


def _continuation(info: RunInfo) -> list[str]:
    found = recorded_exactness(info)
    if not found.exact:
        return [f"Not exact: {'; '.join(found.reasons)}."]
    return [f"It continues the training before it exactly{_if(found)}."] if info.first or found.conditions else []


def _of_restarts(restarts: Restarts, threads: int) -> list[str]:
    where = f"on the same Caffe build and kind of processor with {count(threads, 'BLAS thread')}"
    start, later = restarts.from_start, restarts.from_snapshots
    if start is not None and not start.exact:
        return [f"A restart is not exact: {'; '.join(start.reasons)}."]
    if later.exact and start is not None and not start.conditions:
        return [f"A restart from iteration 0 or from a snapshot repeats it bit for bit {where}."]
    found = []
    if start is not None:
        found.append(f"A restart from iteration 0 repeats it bit for bit {where}{_if(start)}.")
    if later.exact:
        found.append(f"A restart from a snapshot repeats it bit for bit {where}{_if(later)}.")
    else:
        found.append(f"A restart from a snapshot is not exact: {'; '.join(later.reasons)}.")
    return found


def _if(found: Exactness) -> str:
    return f" if {' and '.join(found.conditions)}" if found.conditions else ""
