"""What happened in a run, and to which of its heads, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.diagnosis.conditions import MAX_LOSS
from harness.diagnosis.logged.findings import HeadFinding, RunFindings
from harness.diagnosis.logged.tracks import TOTAL
from harness.reports.text.grammar import count, list_names

_NEAR = 0.05  # to the share of images that one class leaves wrong
_ENDS = 0.05  # of the loss: ends that lie farther apart have moved
_SOFTMAX = math.log(2) / 2, MAX_LOSS  # between which a plateau may be that of a softmax
_SOURCES = {
    "net": "classes from the net in the log",
    "given": "classes as given by --classes",
    "inferred": "classes inferred from the plateau",
}


def what(run: RunFindings) -> Iterator[str]:
    """What became of the loss."""
    trend = run.trend
    match run.verdict, run.why:
        case "healthy", "fallen" if trend.falling:
            yield f"The loss has fallen from {trend.start:.4g} to {trend.end:.4g} and is still falling."
        case "healthy", "fallen":
            yield f"The loss has fallen from {trend.start:.4g} to {trend.end:.4g} and stays there."
        case "healthy", _:
            yield _level(run)
        case (("uniform-softmax" | "saturated-softmax" | "nan"), "tests"):
            yield f"The log shows {count(run.coverage.displays, 'display')} of the training loss: the tests tell."
            yield from _of_the_tests(run)
        case "uniform-softmax", "never learned":
            yield from _never_learned(run)
        case "nan", _:
            yield from _nan(run)
        case "saturated-softmax", _:
            yield from _jumped(run)
            yield (
                f"A softmax loss of {MAX_LOSS:.4f} is -ln(FLT_MIN): the true class has probability 0. The outputs of "
                "the net have become so large that only one class has any probability, or (on a GPU, where the loss "
                "layer turns NaN into that same number) they are NaN. The net gets no useful gradient from there."
            )
        case "drift/oscillation", "oscillation":
            yield (
                f"The loss goes up and down by half and more again and again, and ends at {trend.end:.4g}; its best "
                f"level was {trend.best:.4g}. A learning rate that is too high does that."
            )
        case "drift/oscillation", "slow rise":
            yield (
                f"The loss rises slowly and for good, from {trend.best:.4g} at its best to {trend.end:.4g}, without "
                "one jump: the learning rate is too high for where the net has come to, or the data change."
            )
        case "unknown", _:
            yield _unknown(run)
        case _:
            yield from _jumped(run)
            if run.verdict == "drift/oscillation" and _SOFTMAX[0] < trend.end < _SOFTMAX[1]:
                yield (
                    "The new level is neither ln(classes) nor that of a saturated softmax. A net whose answer no "
                    "longer depends on its input, but whose biases have learned how frequent each class is, also sits "
                    "below ln(classes)."
                )
    if trend.cycles:
        yield f"It goes up and down with the learning rate, which rises {trend.cycles} times: that is the schedule's."
    if run.deviations.last_far is not None:
        at, value = run.deviations.last_far
        yield f"The last display ({value:.4g} at iteration {at:,}) is far above the others, and too new to judge."


def _level(run: RunFindings) -> str:
    known = [h for h in run.heads if h.classes and h.state == "learning"]
    if not known:
        return (
            f"The loss stays level at {run.trend.end:.4g}; the log does not tell what it would be for a net that knows "
            "nothing."
        )
    of = ", ".join(f"{h.name} {h.loss:.4g} (ln {h.classes} = {math.log(h.classes or 1):.3f})" for h in known[:3])
    return f"The loss stays level at {run.trend.end:.4g}, lower than that of a net that knows nothing: {of}."


def _unknown(run: RunFindings) -> str:
    if not run.coverage.displays:
        off = " (`display: 0`)" if run.coverage.interval == 0 else ""
        return f"The log shows no training loss{off}: only the tests tell." if run.tests else "The log shows no loss."
    end = run.trend.end if math.isfinite(run.trend.end) else run.trend.start
    if run.why == "too few":
        few = "are too few" if run.coverage.displays > 1 else "is too little"
        return (
            f"{count(run.coverage.displays, 'display')} {few} to tell what becomes of the loss ({end:.4g} at the end)."
        )
    moved = abs(run.trend.start - end) > _ENDS * max(abs(run.trend.start), abs(end))
    if run.why == "still at the start":
        shown = run.coverage
        span = f"{count(shown.displays, 'display')} over {shown.last - shown.first:,} iterations are too few to tell."
        if moved:
            return f"The loss was {run.trend.start:.4g} at the start and is {end:.4g} at the end: {span}"
        return f"The loss is still at the {end:.4g} with which the log begins: {span}"
    ends = f"The loss has not fallen: {run.trend.start:.4g} at the start, {end:.4g} at the end."
    uniform = [h for h in run.heads if h.state == "uniform"]
    if uniform:
        return f"{ends} What its losses would be for a net that knows nothing is known of {names(uniform)} only."
    if any(h.classes for h in run.heads):
        return ends
    hint = "" if run.plateau.doubted else "; --classes K does, for a softmax"
    return f"{ends} The log does not tell what it would be for a net that knows nothing{hint}."


def _never_learned(run: RunFindings) -> Iterator[str]:
    never, others = _apart(run)
    learned = [h for h in others if h.state == "learning"]
    since = "has never learned, rather than lost something"
    if run.lifecycle.resumed_at is not None:
        since = f"was so when it was resumed at iteration {run.lifecycle.resumed_at:,}"
    look = "look at the learning rate and lr_mult, the labels, the scale of the inputs and the weight fillers."
    if learned:
        yield (
            f"{names(never)} never left what a net costs that knows nothing, in {run.coverage.last:,} iterations; "
            f"{names(learned)} learned. Look at what lies between them."
        )
    else:
        yield (
            f"The loss never left {run.trend.end:.4g}: after {run.coverage.last:,} iterations the net still knows "
            f"nothing. It {since}: {look}"
        )


def _apart(run: RunFindings) -> tuple[list[HeadFinding], list[HeadFinding]]:
    never = [h for h in run.heads if h.never_learned]
    return never, [h for h in run.heads if not h.never_learned]


def _of_the_tests(run: RunFindings) -> Iterator[str]:
    for state, is_what in (("nan", "no number"), ("saturated", f"saturated ({MAX_LOSS:.4f} is -ln(FLT_MIN))")):
        of = [h for h in run.heads if h.state == state]
        if of:
            yield f"In the last test pass {names(of)} {'are' if len(of) > 1 else 'is'} {is_what}."


def _jumped(run: RunFindings) -> Iterator[str]:
    if run.jump is None:
        yield f"The loss ends at {run.trend.end:.4g}."
        return
    before = f"from {run.jump.before:.4g} " if run.jump.before is not None else ""
    last = f" (iteration {run.coverage.last:,})" if run.coverage.last != run.jump.iteration else ""
    yield (
        f"The loss jumped {before}at the display of iteration {run.jump.iteration:,}, and did not come back: "
        f"{run.trend.end:.4g} at the end{last}."
    )


def _nan(run: RunFindings) -> Iterator[str]:
    nans = run.nans
    bad = [h for h in run.heads if h.state == "nan" and h.name != TOTAL]
    sound = [h for h in run.heads if h.state != "nan" and math.isfinite(h.loss) and h.name != TOTAL]
    if nans is None:
        end = "end" if len(bad) > 1 else "ends"
        yield f"{names(bad)} {end} in NaN, while the total that is displayed is a number."
        return
    if nans.poisoned:
        of = "" if nans.first == run.coverage.first else f" from the display of iteration {nans.first:,}"
        losses = ", ".join(f"{h.name} {h.loss:.4g}" for h in sound)
        yield (
            f"The displayed total is NaN{of or ' at every display'}, and will stay so: one NaN stays in Caffe's "
            f"running mean for good. The losses themselves are numbers ({losses})."
        )
        if run.jump is not None:
            yield from _jumped(run)
        return
    if nans.first == run.coverage.first:
        yield (
            "The loss is not finite from the first display on: look at the inputs (a mean file that does not fit, "
            "unscaled values), at the weights that it starts from, and at the learning rate."
        )
    else:
        best = f" (best level before: {run.trend.best:.4g})" if math.isfinite(run.trend.best) else ""
        after = ": nothing sound comes after" if not sound else ""
        yield f"The loss is not finite from the display of iteration {nans.first:,} on{best}{after}."
        if run.jump is not None and run.jump.iteration < nans.first:
            rose = f" of {run.jump.before:.4g}" if run.jump.before is not None else ""
            yield f"It had left its usual range{rose} at the display of iteration {run.jump.iteration:,} already."
    if bad and sound and not any(h.state == "saturated" for h in sound):
        of = ", ".join(f"{h.name} ({h.loss:.4g})" for h in sound)
        yield f"NaN: {names(bad)}. Still {'numbers' if len(sound) > 1 else 'a number'}: {of}."
    saturated = [h for h in run.heads if h.state == "saturated"]
    if saturated:
        yield (
            f"{names(saturated)} {'show' if len(saturated) > 1 else 'shows'} {MAX_LOSS:.4f}, which is -ln(FLT_MIN): "
            "on a GPU the loss layer makes that of NaN."
        )
    elif nans.saturated:
        yield f"Just before, a softmax was saturated ({MAX_LOSS:.4f} is -ln(FLT_MIN)): the net's outputs had exploded."


def of_the_heads(run: RunFindings) -> Iterator[str]:
    """Which heads know nothing, and what that explains."""
    yield from _saturated(run)
    uniform = [h for h in run.heads if h.state == "uniform" and h.classes]
    broken = [h for h in uniform if not h.never_learned]
    if run.plateau.doubted and uniform:
        yield f"--classes {run.plateau.doubted} does not fit: the plateau is not at ln {run.plateau.doubted}."
    if not uniform or (run.verdict == "healthy" and not broken):
        late = [h for h in uniform if h.never_learned]
        if late:
            yield f"{names(late)} never learned: still at ln(classes), unlike the other heads."
        return
    sources = _SOURCES | ({"inferred": "classes inferred from the tests"} if run.why == "tests" else {})
    for classes in dict.fromkeys(h.classes for h in uniform):
        of = [h for h in uniform if h.classes == classes]
        about = "about " if any(h.approximate for h in of) else ""
        named = "The total" if of[0].name == TOTAL else names(of)
        yield (
            f"{named} {'sit' if len(of) > 1 else 'sits'} at ln {classes} = {math.log(classes or 1):.3f}: the same "
            f"probability for each of {about}{classes} classes, whatever the input ({sources[of[0].source or 'net']})."
        )
    others = [h for h in run.heads if h.state not in ("uniform",)]
    if others:
        yield f"Not so {names(others)}: {', '.join(f'{h.loss:.4g}' for h in others)}."
    if run.plateau.explained is not None and len(run.heads) > 1:
        parts = " + ".join(f"{h.weight:g}·{_cost(h):.3f}" for h in run.heads)
        yield f"The plateau of the total is their weighted sum: {parts} = {run.plateau.explained:.3f}."
    if broken and run.verdict == "uniform-softmax" and not others:
        yield (
            "What the classifiers see no longer depends on the image (dead ReLUs, typically), so no gradient that "
            "could mend it comes back: training on from here is of no use."
        )
    elif broken and run.verdict == "uniform-softmax":
        yield (
            f"What {names(broken)} {'see' if len(broken) > 1 else 'sees'} no longer depends on the image; what the "
            "other heads see still does."
        )


def _saturated(run: RunFindings) -> Iterator[str]:
    if run.verdict != "saturated-softmax":
        return
    for head in (h for h in run.heads if h.state == "saturated" and h.name != TOTAL and math.isfinite(h.loss)):
        share = head.loss / MAX_LOSS
        one_class = head.classes is not None and abs(share * head.classes / (head.classes - 1) - 1) < _NEAR
        like = f", as of a net that says one of {head.classes} classes whatever the input" if one_class else ""
        yield f"{head.name} is at {head.loss:.4g}: saturated for {100 * share:.3g} % of the images{like}."


def _cost(head: HeadFinding) -> float:
    return MAX_LOSS if head.state == "saturated" else math.log(head.classes or 1)


def names(heads: Sequence[HeadFinding]) -> str:
    """Join the names of `heads`."""
    return list_names([head.name for head in heads])
