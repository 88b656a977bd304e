"""Candidates that the user gives: `--candidate 'NAME: --set base_lr=0.001 --history rescale'`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.caffe_files.edits import set_fields, set_layer_fields, where_of
from harness.caffe_files.messages import pb
from harness.caffe_files.solver import solver_type
from harness.caffe_files.solverstate import history_scale
from harness.change_options import ChangeOptions, read_candidate, read_options
from harness.diagnosis.cause.case import Case
from harness.errors import BadInput
from harness.schemas.arm import AnyChange, HistoryScaled, LayerField, SolverField, StreamShifted
from harness.schemas.rescue import Candidate, CandidateKind, Step
from harness.schemas.window import parse_watch

_FIELD = "--candidate"
_LAYER_FIELD = r".+?:[\w.\[\]]+="  # of --set-layer
_KINDS: dict[str, CandidateKind] = {  # of the fields of the solver
    "clip_gradients": "clip",
    "momentum": "momentum",
    "weight_decay": "decay",
}


def given_candidate(text: str, case: Case) -> Candidate:
    """Return the candidate `NAME: OPTIONS`, which begins at `case.start`.

    Arms leave it out where they cannot express it: other random numbers, and records by their keys.

    Raises:
        BadInput: it has another form, an option that does not change a training, or one that does not fit the run.
    """
    given = read_candidate(text)
    options = given.options
    try:
        changes = tuple(_changes(options, case))
    except BadInput as error:
        where = " ".join(str(part) for part in (error.field, error.value) if part is not None)
        raise BadInput(
            f"{where}: {error.problem}" if where else error.problem, field=_FIELD, value=text, remedy=error.remedy
        ) from None
    if options.skip_records is not None or options.seed is not None:
        changes = ()
    return Candidate("given", given.name, (Step(given.words),), changes, "given with --candidate")


def given_at(texts: Sequence[str], case: Case) -> tuple[Candidate, ...]:
    """Return the candidates for a break, without those that skip data of before `case.start`: of an earlier break.

    Raises:
        BadInput: as `given_candidate`.
    """
    return tuple(given_candidate(text, case) for text in texts if not _skips_before(text, case.start))


def _skips_before(text: str, start: int) -> bool:
    skip = read_candidate(text).options.skip
    return skip is not None and parse_watch(skip, "--skip").start < start


def kinds_changed(words: Sequence[str]) -> list[CandidateKind]:
    """Return the kinds of candidates that change what these options change; "rate" for all that no other kind does."""
    options = read_options(words)
    kinds: list[CandidateKind] = [_KINDS.get(setting.partition("=")[0].strip(), "rate") for setting in options.fields]
    others: dict[CandidateKind, bool] = {
        "records": options.skip_records is not None,
        "batches": options.skip is not None,
        "history": options.history != "keep",
        "layer-rate": bool(options.layer_fields),
    }
    return kinds + [kind for kind, is_changed in others.items() if is_changed]


def _changes(options: ChangeOptions, case: Case) -> Iterator[AnyChange]:
    """Yield the same changes for arms, after checking all of them."""
    solver, _ = set_fields(case.solver, options.fields)
    for setting in options.fields:
        field, _, value = setting.partition("=")
        yield SolverField(field, value)
    layers = {where_of(layer): layer.name for layer in case.net.layer}
    set_layer_fields([case.net], options.layer_fields)  # all together: layers may share a param
    for setting in options.layer_fields:
        _, fields = set_layer_fields([case.net], [setting])
        value = re.sub(_LAYER_FIELD, "", setting, count=1, flags=re.DOTALL)
        for changed in fields:
            yield LayerField(layers[changed.where], changed.field, value)
    factor = history_scale(
        solver_type(solver), options.history, case.solver, solver, case.start, _step(case.solver, case.start)
    )
    if factor is not None:
        yield HistoryScaled(factor)
    if options.skip is not None:
        skipped = parse_watch(options.skip, "--skip")
        if skipped.start < case.start:
            raise BadInput(
                f"candidates begin at iteration {case.start:,}: what comes before was learned already",
                field="--skip",
                value=options.skip,
                remedy=f"Begin at {case.start} or later",
            )
        yield StreamShifted(skipped.start, skipped.stop)


def _step(solver: pb.SolverParameter, iteration: int) -> int:
    """Return Caffe's current_step before an iteration, of a training that went all the way there (lr_policy.py)."""
    if solver.lr_policy == "step":
        return iteration // solver.stepsize
    return sum(value < iteration for value in solver.stepvalue) if solver.lr_policy == "multistep" else 0
