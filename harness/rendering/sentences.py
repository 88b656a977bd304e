"""What was found out about a run, in sentences that a user can act on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from harness.analysis.forensics.findings import HeadFinding, RunFindings
from harness.analysis.forensics.tracks import SATURATED, TOTAL
from harness.logs.model import Log

_MOST_NAMED = 3
_MOST_TESTS = 2
_NEAR = 0.05  # to the share of images that one class leaves wrong
_UNSURE = ", and unsure, because other powers fit so short a stretch as well"
_SOURCES = {
    "net": "classes from the net in the log",
    "given": "classes as given by --classes",
    "inferred": "classes inferred from the plateau",
}


def sentences(run: RunFindings, log: Log | None = None, solver: Path | None = None) -> list[str]:
    """The findings, the most important one first, with what is to be said of the whole `log`, and the command to type
    next, with the file `solver` in it."""
    parts = (_what, _heads, _when, _rate, _data, _besides, _tests)
    said = [sentence for part in parts for sentence in part(run)]
    return [*said, *_of_log(run, log), *_next(run, solver)]


# -- what happened ---------------------------------------------------------------------------------------------------


def _what(run: RunFindings) -> Iterator[str]:
    match run.verdict, run.why:
        case "healthy", "fallen":
            yield f"The loss has fallen from {run.start:.4g} to {run.loss:.4g} and stays there."
        case "healthy", _:
            yield f"The loss stays level at {run.loss:.4g}, lower than that of a net that knows nothing."
        case "uniform-softmax", "never learned":
            yield (
                f"The loss never left {run.loss:.4g}: after {run.last:,} iterations the net still knows nothing. It "
                "has never learned, rather than lost something: look at the learning rate and lr_mult, the labels, the "
                "scale of the inputs and the weight fillers."
            )
        case "nan", _:
            yield from _nan(run)
        case "saturated-softmax", _:
            yield from _jumped(run)
            yield (
                f"A softmax loss of {SATURATED:.4f} is -ln(FLT_MIN): the true class has probability 0. The outputs of "
                "the net have become so large that only one class has any probability, or (on a GPU, where the loss "
                "layer turns NaN into that same number) they are NaN. The net gets no useful gradient from there."
            )
        case "drift/oscillation", "oscillation":
            yield (
                f"The loss goes up and down by half and more again and again, and ends at {run.loss:.4g}; its best "
                f"level was {run.best:.4g}. A learning rate that is too high does that."
            )
        case "drift/oscillation", "slow rise":
            yield (
                f"The loss rises slowly and for good, from {run.best:.4g} at its best to {run.loss:.4g}, without one "
                "jump: the learning rate is too high for where the net has come to, or the data change."
            )
        case "unknown", "too few" if not run.displays:
            yield "The log shows no loss (with `display: 0` Caffe prints none): only the tests tell."
        case "unknown", "too few":
            yield f"{run.displays} displays are too few to tell what becomes of the loss ({run.loss:.4g} at the end)."
        case "unknown", "still at the start":
            yield f"The loss is still where it began, at {run.loss:.4g}: {run.last:,} iterations are too few to tell."
        case "unknown", _:
            yield (
                f"The loss has not fallen: {run.start:.4g} at the start, {run.loss:.4g} at the end. The log does not "
                "tell what it would be for a net that knows nothing; --classes K does, for a softmax."
            )
        case _:
            yield from _jumped(run)
            if run.verdict == "drift/oscillation":
                yield (
                    "The new level is neither ln(classes) nor that of a saturated softmax. A net whose answer no "
                    "longer depends on its input, but whose biases have learned how frequent each class is, also sits "
                    "below ln(classes)."
                )


def _jumped(run: RunFindings) -> Iterator[str]:
    if run.jump is None:
        yield f"The loss ends at {run.loss:.4g}."
        return
    before = f"from {run.before:.4g} " if run.before is not None else ""
    last = f" (iteration {run.last:,})" if run.last != run.jump else ""
    yield (
        f"The loss jumped {before}at the display of iteration {run.jump:,}, and did not come back: {run.loss:.4g} at "
        f"the end{last}."
    )


def _nan(run: RunFindings) -> Iterator[str]:
    nans = run.nans
    if nans is None:
        names = _names([h for h in run.heads if h.state == "nan"])
        yield f"{names} ends in NaN, while the total that is displayed is a number."
        return
    if nans.first == run.first:
        yield (
            "The loss is not finite from the first display on: look at the inputs (a mean file that does not fit, "
            "unscaled values), at the weights that it starts from, and at the learning rate."
        )
        return
    before = f" (best level before: {run.best:.4g})" if math.isfinite(run.best) else ""
    yield f"The loss is not finite from the display of iteration {nans.first:,} on{before}: nothing sound comes after."
    if run.jump is not None and run.jump < nans.first:
        yield f"It had left its usual range at the display of iteration {run.jump:,} already."
    saturated = [h for h in run.heads if h.state == "saturated"]
    if saturated:
        yield (
            f"{_names(saturated)} shows {SATURATED:.4f}, which is -ln(FLT_MIN): on a GPU the loss layer makes that of "
            "NaN."
        )
    elif nans.saturated:
        yield f"Just before, a softmax was saturated ({SATURATED:.4f} is -ln(FLT_MIN)): the net's outputs had exploded."


def _heads(run: RunFindings) -> Iterator[str]:
    yield from _saturated(run)
    uniform = [h for h in run.heads if h.state == "uniform" and h.classes]
    broken = [h for h in uniform if not h.never_learned]
    if not uniform or (run.verdict == "healthy" and not broken):
        late = [h for h in uniform if h.never_learned]
        if late:
            yield f"{_names(late)} never learned: still at ln(classes), unlike the other heads."
        return
    for classes in dict.fromkeys(h.classes for h in uniform):
        of = [h for h in uniform if h.classes == classes]
        about = "about " if any(h.about for h in of) else ""
        named = "The total" if of[0].name == TOTAL else _names(of)
        yield (
            f"{named} {'sit' if len(of) > 1 else 'sits'} at ln {classes} = {math.log(classes or 1):.3f}: the same "
            f"probability for each of {about}{classes} classes, whatever the input ({_SOURCES[of[0].source or 'net']})."
        )
    others = [h for h in run.heads if h.state not in ("uniform",)]
    if others:
        yield f"Not so {_names(others)}: {', '.join(f'{h.loss:.4g}' for h in others)}."
    if run.explained is not None and len(run.heads) > 1:
        parts = " + ".join(f"{h.weight:g}·{_cost(h):.3f}" for h in run.heads)
        yield f"The plateau of the total is their weighted sum: {parts} = {run.explained:.3f}."
    if broken:
        yield (
            "What the classifiers see no longer depends on the image (dead ReLUs, typically), so no gradient that "
            "could mend it comes back: training on from here is of no use."
        )


def _saturated(run: RunFindings) -> Iterator[str]:
    if run.verdict != "saturated-softmax":
        return
    for head in (h for h in run.heads if h.state == "saturated" and h.name != TOTAL and math.isfinite(h.loss)):
        share = head.loss / SATURATED
        one_class = head.classes is not None and abs(share * head.classes / (head.classes - 1) - 1) < _NEAR
        like = f", as of a net that says one of {head.classes} classes whatever the input" if one_class else ""
        yield f"{head.name} is at {head.loss:.4g}: saturated for {100 * share:.3g} % of the images{like}."


def _cost(head: HeadFinding) -> float:
    return SATURATED if head.state == "saturated" else math.log(head.classes or 1)


def _names(heads: list[HeadFinding]) -> str:
    names = [h.name for h in heads]
    if len(names) > _MOST_NAMED + 1:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# -- when ------------------------------------------------------------------------------------------------------------


def _when(run: RunFindings) -> Iterator[str]:
    onset = run.onset
    if onset is None:
        return
    where = f"The first bad iteration lies in {onset.low:,} … {onset.high:,}"
    if onset.bad is None or onset.window is None:
        yield f"{where}." if onset.low < onset.high else f"The first bad iteration is {onset.low:,}."
        return
    count = round(onset.bad)
    many = "all of them were" if count >= onset.window else f"about {count} of them {'were' if count > 1 else 'was'}"
    assumed = " (assumed: the display interval; the log does not say average_loss)" if onset.assumed else ""
    yield (
        f"{where}, most likely near {onset.estimate:,}: the displayed loss is the mean of the last {onset.window}"
        f"{assumed}, and its value at the jump says that {many} bad."
    )


def _rate(run: RunFindings) -> Iterator[str]:
    schedule = run.schedule
    if schedule is None:
        return
    if schedule.agrees:
        yield f"The learning rates displayed are those of the solver's policy ({schedule.policy})."
    elif schedule.differs is not None:
        iteration, shown, computed = schedule.differs
        yield (
            f"The learning rate displayed at iteration {iteration:,} is {shown:g}, where the solver's policy "
            f"({schedule.policy}) gives {computed:g}: the run was not made with this solver, or the rate was changed."
        )
    elif schedule.policy == "fixed":
        yield f"The learning rate is {schedule.base_lr:g} throughout."
    elif schedule.policy == "step":
        gamma = f" by a factor of {schedule.gamma:.4g}" if schedule.gamma is not None else ""
        at = ", ".join(f"{iteration:,}" for iteration, _ in schedule.steps[:5])
        more = " …" if len(schedule.steps) > 5 else ""
        yield f"The learning rate steps from {schedule.first:g} to {schedule.last:g}{gamma}, seen at {at}{more}."
    elif schedule.policy == "poly":
        yield (
            f"The learning rates displayed follow lr_policy poly with base_lr {schedule.base_lr:g}, power "
            f"{schedule.power:g} and max_iter {schedule.max_iter:,} (inferred{_UNSURE if schedule.unsure else ''}: the "
            "log does not hold the solver)."
        )
    elif schedule.policy is not None:
        power = f", power {schedule.power:g}" if schedule.power is not None else ""
        yield (
            f"The learning rates displayed follow lr_policy {schedule.policy} with base_lr {schedule.base_lr:g}, gamma "
            f"{schedule.gamma:.6g}{power} (inferred: the log does not hold the solver)."
        )
    else:
        yield f"The learning rate goes from {schedule.first:g} to {schedule.last:g}, by no policy that could be told."
    if run.jump is not None and schedule.agrees is not False and schedule.policy and not schedule.rises:
        yield "So the schedule itself did nothing at the jump." if not _step_at(run) else "It steps near the jump."
    if schedule.rises:
        iteration, before, after = max(schedule.rises, key=lambda rise: rise[2] / rise[1] if rise[1] else math.inf)
        times = f", {len(schedule.rises)} times in all" if len(schedule.rises) > 1 else ""
        near = run.jump is not None and any(0 <= run.jump - i <= 5 * (run.display or 1) for i, _, _ in schedule.rises)
        yield (
            f"The learning rate rises, at the most from {before:g} to {after:g} at iteration {iteration:,}{times}"
            f"{': just before the jump, which it may well have caused' if near else ''}."
        )


def _step_at(run: RunFindings) -> bool:
    steps, near = run.schedule.steps if run.schedule else (), 2 * (run.display or 1)
    return any(abs(iteration - (run.jump or 0)) <= near for iteration, _ in steps)


def _data(run: RunFindings) -> Iterator[str]:
    at = run.position
    if at is None:
        return
    records = f"{at.first:,} to {at.last:,}" + (" (around the end)" if at.first > at.last else "")
    resumed = (
        f", counted from iteration {at.resumed:,}, where plain Caffe begins anew with record 0 when it resumes (this "
        "harness does not)"
        if at.resumed
        else ""
    )
    yield (
        f"In data that is read in order (an LMDB always is) the iterations of the onset read the records {records}, "
        f"0-based, in epoch {at.epoch:.1f}{resumed}."
    )
    passed = int(at.epoch)
    if passed:
        yield (
            f"{passed} earlier epoch{'s' if passed > 1 else ''} passed the same records unharmed, so a bad record "
            "alone does not explain it."
        )
    else:
        yield "They are met for the first time there: look at them."


# -- besides ---------------------------------------------------------------------------------------------------------


def _besides(run: RunFindings) -> Iterator[str]:
    nans = run.nans
    if run.poisoned and nans is not None:
        yield (
            f"The displayed total is NaN from iteration {nans.first:,} on while the losses themselves are numbers: one "
            "NaN stays in Caffe's running mean for good. The verdict goes by the losses."
        )
    elif nans is not None and not nans.lasting:
        yield f"{nans.count} displays were not finite, the first at iteration {nans.first:,}; the loss came back."
    if run.spikes:
        worst = max(run.spikes, key=lambda spike: spike.value)
        many = f"{len(run.spikes)} transient spikes" if len(run.spikes) > 1 else "One transient spike"
        yield (
            f"{many} that recovered{', the worst' if len(run.spikes) > 1 else ''} at iteration {worst.first:,}: "
            f"{worst.value:.4g} where {worst.usual:.4g} was usual."
        )
    if run.recovered is not None:
        name, first, last = run.recovered
        when = f"at iteration {first:,}" if first == last else f"between iterations {first:,} and {last:,}"
        yield f"{'The loss' if name == TOTAL else name} was saturated ({SATURATED:.4f}) {when}, and fell back."


def _tests(run: RunFindings) -> Iterator[str]:
    moved = [t for t in run.tests if t.first[0] != t.last[0]]
    # the last head is the one that counts, and its accuracies tell more than its loss
    for test in ([t for t in moved if not t.is_loss] or moved)[-_MOST_TESTS:]:
        yield (
            f"Test output {test.name}: {test.first[1]:.4g} at iteration {test.first[0]:,}, {test.last[1]:.4g} at "
            f"{test.last[0]:,}."
        )
    if run.tests and not moved and run.jump is not None:
        test = run.tests[-1]
        yield (
            f"The last test pass was at iteration {test.last[0]:,}, {'before' if test.last[0] < run.jump else 'after'} "
            f"the jump ({test.name} {test.last[1]:.4g})."
        )


def _of_log(run: RunFindings, log: Log | None) -> Iterator[str]:
    if run.fatal:
        yield f"The process died: {run.fatal}"
    if log is None:
        return
    if log.damaged:
        first = f", the first of them line {log.examples[0][0]:,}" if log.examples else ""
        yield f"{log.damaged:,} damaged line{'s' if log.damaged > 1 else ''} could not be used{first}."
    if log.thinned:
        yield "The log has more displays than are kept: they were thinned out evenly, and dates are that much coarser."
    if log.left_out:
        yield f"{log.left_out:,} older runs in the log were left out."


def _next(run: RunFindings, solver: Path | None) -> Iterator[str]:
    if run.watch is not None:
        a, b = run.watch
        yield (
            "To see what every layer did there, run it again and keep those iterations whole: "
            f"python harness/run.py --solver {solver or 'SOLVER.prototxt'} --watch {a}:{b}"
        )
