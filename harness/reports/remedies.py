"""Commands suggested to the user once the cause of a break is known."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.messages import pb
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.invocation import next_command, path_argument
from harness.reports.suggestion import Suggestion
from harness.schemas.explanation import CulpritRecord, Explanation
from harness.schemas.layout import Param

_MOST_KEYS = 16  # of records, in a command
_LOWER = 10  # by which a rate or a decay is divided of which no margin is known
_USUAL_MOMENTUM = 0.9


@dataclass(frozen=True)
class _Explained:
    """A run whose break is explained, as far as remedies depend on it.

    Attributes:
        origin: the directory of the run to restart: this one, or the one that it continues.
        start: the iteration from which that is restarted: of the newest snapshot before the break, or its beginning.
        solver: of the run.
        params: its learnable blobs.
        rate: the learning rate at the break.
    """

    origin: Path
    start: int
    solver: pb.SolverParameter
    params: Sequence[Param]
    rate: float


def remedies(diagnosis: Diagnosis, found: Explanation) -> list[Suggestion]:
    """Suggest the restarts of a run that its replays have shown to survive."""
    recording, kind = diagnosis.recording, found.verdict.kind
    if kind == "none" or not len(recording.iterations):
        return []
    at = found.verdict.iteration
    if at is None:
        at = diagnosis.onset.iteration if diagnosis.onset is not None else int(recording.iterations[-1])
    row = min(int(recording.iterations.searchsorted(at)), len(recording.iterations) - 1)
    origin = _origin(diagnosis, at)
    if origin is None:
        return []
    rate = float(recording.series("lr", slice(row, row + 1))[0])
    return list(_remedies(_Explained(*origin, diagnosis.solver, recording.params, rate), found))


def _origin(diagnosis: Diagnosis, at: int) -> tuple[Path, int] | None:
    """Return the run directory and the iteration from which training can go on before `at`; None if there is none."""
    snapshots, info = [snapshot for snapshot in diagnosis.snapshots if snapshot <= at], diagnosis.info
    if snapshots or info.first == 0:
        return diagnosis.recording.path.parent, max(snapshots, default=0)
    return None if info.goes_on_from is None else (Path(info.goes_on_from), info.first)


def rest_of_explanation(run: Path, found: Explanation) -> list[Suggestion]:
    """Suggest to go on with an investigation that the budget or an interruption has ended."""
    if found.complete:
        return []
    command = f"{next_command('explain')} {path_argument(run)}"
    return [Suggestion(command, "go on with what was left out: nothing that is finished is replayed again")]


def report_of_cause(run: Path) -> Suggestion:
    """Suggest the report of a run that is explained."""
    return Suggestion(f"{next_command('report')} {path_argument(run)}", "show on one page why it broke")


def _remedies(explained: _Explained, found: Explanation) -> Iterator[Suggestion]:
    kind, restart = found.verdict.kind, _restart(explained)
    match kind:
        case "record":
            yield from _without_records(explained, found.verdict.records, found.verdict.iteration)
        case "machine":
            yield Suggestion(restart, "go on from before the break: an unchanged replay does not break")
        case "momentum":
            yield _momentum(restart, found)
        case "weight-decay":
            decay = explained.solver.weight_decay / _LOWER
            yield Suggestion(
                f"{restart} --set weight_decay={decay:.3g}", f"a tenth of the weight decay{_from(explained)}"
            )
        case "layer-lr":
            for layer in found.verdict.layers:
                yield _layer_rate(explained, layer)
    if kind in ("learning-rate", "lr-schedule"):
        yield _rate(explained, found)
    if kind in ("record", "data-shift", "learning-rate", "lr-schedule", "layer-lr"):
        yield from _clip(restart, found)


def _restart(explained: _Explained) -> str:
    return f"{next_command('restart')} {path_argument(explained.origin)} --from {explained.start}"


def _from(explained: _Explained) -> str:
    return f", from iteration {explained.start:,}"


def _without_records(
    explained: _Explained, records: Sequence[CulpritRecord], iteration: int | None
) -> Iterator[Suggestion]:
    keys = [record.key for record in records]
    if keys and all(keys) and len(keys) <= _MOST_KEYS and not any("," in key for key in keys):
        those = "the record" if len(keys) == 1 else f"the {len(keys)} records"
        command = f"{_restart(explained)} --skip-records {shlex.quote(','.join(keys))}"
        yield Suggestion(command, f"without {those}, here and in all later epochs")
    at = sorted({record.iteration for record in records} or ({iteration} if iteration is not None else set()))
    if at:
        which = f"iteration {at[0]:,}" if at[0] == at[-1] else f"iterations {at[0]:,} to {at[-1]:,}"
        yield Suggestion(f"{_restart(explained)} --skip {at[0]}:{at[-1] + 1}", f"without the data of {which}, once")


def _rate(explained: _Explained, found: Explanation) -> Suggestion:
    margin = found.margins.get("learning_rate")
    base = explained.solver.base_lr
    if margin is not None and margin.survives is not None and explained.rate > 0:
        lowered = base * margin.survives / explained.rate
        why = f"a rate of {margin.survives:.3g} survives iteration {found.verdict.iteration:,}"
    else:
        lowered, why = base / _LOWER, "a tenth of base_lr"
    return Suggestion(
        f"{_restart(explained)} --set base_lr={lowered:.3g} --history rescale", f"{why}{_from(explained)}"
    )


def _clip(restart: str, found: Explanation) -> Iterator[Suggestion]:
    margin = found.margins.get("clip_gradients")
    if margin is not None and margin.survives is not None:
        why = "clip the gradient there: the replays with this threshold survive the same data"
        yield Suggestion(f"{restart} --set clip_gradients={margin.survives:.3g}", why)


def _momentum(restart: str, found: Explanation) -> Suggestion:
    margin = found.margins.get("momentum")
    if margin is not None and margin.survives is not None:
        return Suggestion(f"{restart} --set momentum={margin.survives:.3g}", "the highest momentum that survives")
    return Suggestion(f"{restart} --set momentum={_USUAL_MOMENTUM:g}", "the usual momentum")


def _layer_rate(explained: _Explained, layer: str) -> Suggestion:
    highest = max((param.lr_mult for param in explained.params if param.layer == layer), default=1.0)
    value = f"{glob.escape(layer)}:lr_mult={highest / _LOWER:.3g}"
    return Suggestion(
        f"{_restart(explained)} --set-layer {shlex.quote(value)}", f"a tenth of the rate of {layer}{_from(explained)}"
    )
