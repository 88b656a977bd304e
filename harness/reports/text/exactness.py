"""Sentences about exactness, for every command, page and file."""

from __future__ import annotations

from pathlib import Path

from harness.diagnosis.exactness import Exactness, Restarts, of_restarts, recorded_exactness
from harness.invocation import next_command, path_argument
from harness.reports.text.grammar import count
from harness.schemas.run_info import RunInfo, Verification

_MOMENTUM = {"keep": "momentum", "rescale": "rescaled momentum", "reset": "momentum set to zero"}


def not_exact(reason: str) -> str:
    """Say why a run is not exact."""
    return f"Not exact: {reason}"


def at_the_start(info: RunInfo) -> list[str]:
    """Say how exactly a run that is about to start continues the training before it; empty for a new training."""
    found = recorded_exactness(info)
    if not found.exact:
        return [not_exact(reason) for reason in found.reasons]
    if info.first:
        begun = info.native_start
        momentum = _MOMENTUM[info.parent.history if info.parent else "keep"]
        parts = f"weights, {momentum}, position in the data and random state"
        resumed = [f"Resuming at iteration {info.first} exactly{_if(found)}: {parts}"]
        if begun is not None and begun.known_from is not None and not found.conditions:
            where = f"was resumed at iteration {begun.iteration}" if begun.iteration else "ran from iteration 0"
            resumed.append(f"{begun.known_from} says that caffe train {where}: data and random numbers began there")
        return resumed
    return [f"Exact{_if(found)}"] if found.conditions else []


def summary(info: RunInfo, file: Path) -> str:
    """Say how exactly a run continues the training before it, as settings and digests show, and how exactly restarts
    repeat it. `file` is its run.json.

    Raises:
        BadInput: a prototxt in `info` cannot be parsed.
    """
    compared = [verification(info.verified)] if info.verified else []
    return " ".join([*_continuation(info), *compared, *_of_restarts(of_restarts(info, file), info.blas_threads)])


def verification(found: Verification) -> str:
    """Say how the digests of a run compare with those that were recorded before."""
    if not found.compared:
        return f"Not verified: {found.problem or _nothing_in_common(found)}."
    runs = " and ".join(found.against)
    same = found.first_difference is None
    at = f"{found.equal:,} of {found.compared:,} iterations that both recorded ({found.first}…{found.through})"
    text = f"{'Verified: its' if same else 'Its'} digests equal those of {runs} at {at}"
    if not same:
        text += f"; the first weights that differ are those of iteration {found.first_difference}"
    elif found.final:
        text += ", and so do the final weights"
    if found.unchanged_through is not None:
        text += f"; what was changed acts on the weights after iteration {found.unchanged_through}"
    return f"{text}. Nothing further was compared: {found.problem}." if found.problem else f"{text}."


def first_difference(found: Verification, info: RunInfo, out: Path) -> list[str]:
    """Say that the weights of the run in the directory `out` differ from those recorded before, and what that means.

    Returns a sentence, and a command on a line of its own where that helps.
    """
    t, run = found.first_difference, found.against[-1]
    if t == info.first:
        what = f"Iteration {t}: the weights at the start of this run differ from those that {run} recorded"
        means = "so it does not begin where that run was"
    elif t == found.first:
        what = f"Iteration {t}: the weights differ from those that {run} recorded"
        means = "which has no earlier iteration to compare"
    else:
        what = (
            f"Iteration {t}: the weights differ from those that {run} recorded, although nothing that acts on them was "
            "changed"
        )
        means = f"so the update of iteration {t - 1 if t else t} was another one"
    stated = Exactness(info.not_exact, info.exact_if)
    if not stated.exact:
        why = f"Known reasons: {'; '.join(stated.reasons)}"
    elif stated.conditions:
        why = f"It is exact only{_if(stated)}"
    else:
        command = f"    {next_command('compare')} {path_argument(run)} {path_argument(out)}"
        why = "run.json states no reason for it. To see what differs first, once this run has ended:"
        return [f"{what}, {means}. {why}", command]
    return [f"{what}, {means}. {why}."]


def _nothing_in_common(found: Verification) -> str:
    runs = " and ".join(found.against)
    if found.unchanged_through is not None:
        return f"{runs} recorded none of the iterations up to {found.unchanged_through}, on which no change acts"
    return f"{runs} recorded none of its iterations"


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
