"""Sentences about the outcome of a run, and about its heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.diagnosis.conditions import MAX_LOSS
from harness.diagnosis.logged.findings import HeadFinding, Nans, RunFindings
from harness.diagnosis.logged.tracks import TOTAL
from harness.reports.text.grammar import count, list_names
from harness.reports.text.log_summary.unsteady import unsteady

_NEAR = 0.05  # to the share of images that a net with one answer gets wrong
_MANY = 20  # displays from which their number is no reason for doubt
_LOWER = 0.7  # of the loss at the start and at the end: it fell and rose again
_MOVED = 0.05  # of the loss: if start and end differ by more, it has moved
_SOFTMAX = math.log(2) / 2, MAX_LOSS  # range in which a plateau may be that of a softmax
_SOURCES = {
    "net": "classes from the net in the log",
    "given": "classes as given by --classes",
    "inferred": "classes inferred from the plateau",
}


def outcome(run: RunFindings) -> Iterator[str]:
    """Describe the course of the loss and its end."""
    trend = run.trend
    match run.verdict, run.why:
        case "healthy", "fallen" if trend.falling:
            yield f"The loss fell from {trend.start:.4g} to {trend.end:.4g} and is still falling."
        case "healthy", "fallen" if not trend.settled:
            yield f"The loss fell from {trend.start:.4g} to {trend.end:.4g}."
        case "healthy", "fallen":
            yield f"The loss fell from {trend.start:.4g} to {trend.end:.4g} and stays there."
        case "healthy", "late fall":
            yield f"The loss fell only from {trend.start:.4g} to {trend.end:.4g}, but it falls at the end of the log."
        case "healthy", "level":
            yield _level(run)
        case _, "tests":
            shown = count(run.coverage.displays, "display")
            yield f"The log shows {shown} of the training loss; the verdict is based on the tests."
            yield from _last_test_pass(run)
        case "uniform-softmax", "never learned":
            yield from _never_learned(run)
        case "nan", _:
            yield from _not_finite(run)
        case "saturated-softmax", _:
            yield from _jumped(run)
            yield (
                f"A softmax loss of {MAX_LOSS:.4f} is -ln(FLT_MIN): the true class has probability 0. The outputs of "
                "the net have become so large that a single class has all probability, or they are NaN (on a GPU the "
                "loss layer turns NaN into this number)."
            )
        case "drift/oscillation", "oscillation":
            yield (
                f"The loss repeatedly rises and falls by half or more and ends at {trend.end:.4g}; its best level was "
                f"{trend.best:.4g}. Look at the learning rate first."
            )
        case "drift/oscillation", "slow rise":
            yield (
                f"The loss rises slowly and does not recover, from {trend.best:.4g} at its best to {trend.end:.4g}, "
                "without a single jump. Look at the learning rate at this stage, and at the order of the data."
            )
        case "drift/oscillation", ("leaps" | "noise" | "below zero"):
            yield from unsteady(run)
        case "unknown", _:
            yield _unknown(run)
        case _:
            yield from _jumped(run)
            if run.verdict == "drift/oscillation" and _SOFTMAX[0] < trend.end < _SOFTMAX[1]:
                yield (
                    "The new level is neither ln(classes) nor that of a saturated softmax. A net whose output no "
                    "longer depends on its input, but whose biases have learned the class frequencies, is also below "
                    "ln(classes)."
                )
    if run.verdict == "healthy" and run.trend.end == 0:
        yield "At the end it is 0 to all digits: check that the labels differ, and the accuracy on test data."
    if run.why == "oscillation" and run.leaps is not None:
        yield f"It does so with a period of {run.leaps.period:,} iterations."
    if run.strength == "hint" and run.why != "tests":
        shown = count(run.coverage.displays, "display")
        noisy = run.coverage.displays >= _MANY
        yield (
            "That is a hint only: the displayed losses are noisy."
            if noisy
            else f"That is a hint only: {shown} show{'s' if run.coverage.displays == 1 else ''} little."
        )
    if trend.cycles:
        yield f"The loss goes up and down with the learning rate, whose schedule raises it {trend.cycles} times."
    if run.deviations.last_far is not None:
        at, value = run.deviations.last_far
        yield f"The last display ({value:.4g} at iteration {at:,}) is far above the others, but too recent to judge."


def head_states(run: RunFindings) -> Iterator[str]:
    """Describe which heads are at chance level or saturated, and what level of the total that explains."""
    yield from _saturated(run)
    uniform = [h for h in run.heads if h.state == "uniform" and h.classes]
    broken = [h for h in uniform if not h.never_learned]
    if run.plateau.doubted and uniform:
        yield f"--classes {run.plateau.doubted} does not fit: the plateau is not at ln {run.plateau.doubted}."
    if not uniform or (run.verdict == "healthy" and not broken):
        never = [h for h in uniform if h.never_learned]
        if never:
            yield f"{names(never)} never learned: still at ln(classes), unlike the other heads."
        return
    sources = _SOURCES | ({"inferred": "classes inferred from the tests"} if run.why == "tests" else {})
    for classes in dict.fromkeys(h.classes for h in uniform):
        heads = [h for h in uniform if h.classes == classes]
        about = "about " if any(h.approximate for h in heads) else ""
        subject = "The total is" if heads[0].name == TOTAL else f"{names(heads)} {'are' if len(heads) > 1 else 'is'}"
        level = f"ln {classes} = {math.log(classes or 1):.3f}"
        if heads[0].name == TOTAL and heads[0].weight != 1:
            level = f"{heads[0].weight:g}·ln {classes} = {heads[0].weight * math.log(classes or 1):.3f}"
        yield (
            f"{subject} at {level}: the same probability for each of "
            f"{about}{classes} classes, whatever the input ({sources[heads[0].source or 'net']})."
        )
    others = [h for h in run.heads if h.state != "uniform"]
    if others:
        yield f"Not at chance level: {_with_losses(others)}."
    if run.plateau.explained is not None and len(run.heads) > 1:
        parts = " + ".join(f"{h.weight:g}·{_cost(h):.3f}" for h in run.heads)
        yield f"The plateau of the total is their weighted sum: {parts} = {run.plateau.explained:.3f}."
    if broken and run.verdict == "uniform-softmax" and not others:
        yield (
            "Outputs that no longer depend on the image have such losses. Look at the ReLUs before the classifiers, of "
            "whose outputs all may be 0: no gradient passes these, so start again from a snapshot before the jump."
        )
    elif broken and run.verdict == "uniform-softmax":
        yield (
            f"An output that no longer depends on the image has such a loss: look at the layers that only "
            f"{names(broken)} {'have' if len(broken) > 1 else 'has'}."
        )


def names(heads: Sequence[HeadFinding]) -> str:
    """Join the names of `heads`."""
    return list_names([head.name for head in heads])


def _level(run: RunFindings) -> str:
    known = [h for h in run.heads if h.classes and h.state == "learning"]
    if not known:
        return f"The loss stays at {run.trend.end:.4g}; the log does not show its chance level."
    parts = ", ".join(f"{h.name} {h.loss:.4g} (ln {h.classes} = {math.log(h.classes or 1):.3f})" for h in known[:3])
    return f"The loss stays at {run.trend.end:.4g}, below chance level: {parts}."


def _unknown(run: RunFindings) -> str:
    shown, start = run.coverage, run.trend.start
    if not shown.displays:
        off = " (`display: 0`)" if shown.interval == 0 else ""
        return f"The log shows no training loss{off}, only tests." if run.tests else "The log shows no loss."
    end = run.trend.end if math.isfinite(run.trend.end) else start
    few = "are too few" if shown.displays > 1 else "is too little"
    if run.why == "zero":
        return (
            f"The loss is {start:.4g} at the first display, and stays there: there is nothing to learn. Check that the "
            "labels differ, that the softmax has more than one output, and ignore_label."
        )
    if run.why == "large start":
        return (
            f"The loss is {start:.4g} at the first display and {end:.4g} at the last one: above the chance level of "
            "any number of classes, and not that of a saturated softmax. Check that the labels lie in 0 … classes - 1, "
            "which Caffe does not check, and the scale of the inputs."
        )
    if run.why == "too few":
        return f"{count(shown.displays, 'display')} {few} for a verdict (loss {end:.4g} at the end)."
    if shown.displays < _MANY and run.trend.best < _LOWER * min(start, end):
        return (
            f"The loss fell from {start:.4g} to {run.trend.best:.4g} and is {end:.4g} at the end: "
            f"{count(shown.displays, 'display')} {few} to tell whether it stays there."
        )
    if run.why == "still at the start":
        reason = f"{count(shown.displays, 'display')} over {shown.last - shown.first:,} iterations {few} for a verdict."
        if abs(start - end) > _MOVED * max(abs(start), abs(end)):
            return f"The loss was {start:.4g} at the start and is {end:.4g} at the end: {reason}"
        return f"The loss is still at its initial level of {end:.4g}: {reason}"
    ends = f"The loss has not fallen: {start:.4g} at the start, {end:.4g} at the end."
    if start - end > _MOVED * abs(start):
        ends = f"The loss was {start:.4g} at the start and is {end:.4g} at the end."
    uniform = [h for h in run.heads if h.state == "uniform"]
    if uniform:
        return f"{ends} Of the heads, only the chance level of {names(uniform)} is known."
    if any(h.classes for h in run.heads):
        return ends
    hint = "" if run.plateau.doubted else "; for softmax losses, give the number of classes with --classes K"
    return f"{ends} The log does not show its chance level{hint}."


def _never_learned(run: RunFindings) -> Iterator[str]:
    never = [h for h in run.heads if h.never_learned]
    learned = [h for h in run.heads if not h.never_learned and h.state == "learning"]
    if learned:
        yield (
            f"{names(never)} stayed at chance level for {run.coverage.last:,} iterations, while {names(learned)} "
            "learned. Look at the layers between them."
        )
        return
    resumed, shown = run.lifecycle.resumed_at, run.coverage
    since = "never learned" if resumed is None else f"was at chance level when it was resumed at iteration {resumed:,}"
    where = f"up to iteration {shown.last:,}"
    if resumed is None and shown.first > shown.interval:
        since += ", as far as the log shows"
        where = f"in the whole log, from iteration {shown.first:,} to {shown.last:,}"
    stayed = "stayed at chance level"
    if run.trend.start > (1 + _MOVED) * run.trend.end:
        stayed = f"came down from {run.trend.start:.4g} to chance level and stayed there"
    yield (
        f"The loss {stayed} ({run.trend.end:.4g}) {where}: the net "
        f"{since}. Look at the learning rate and lr_mult, the labels, the scale of the inputs and the weight fillers."
    )


def _last_test_pass(run: RunFindings) -> Iterator[str]:
    for state, text in (("nan", "not finite"), ("saturated", f"saturated ({MAX_LOSS:.4f} is -ln(FLT_MIN))")):
        heads = [h for h in run.heads if h.state == state]
        if heads:
            yield f"In the last test pass {names(heads)} {'are' if len(heads) > 1 else 'is'} {text}."

    if run.verdict != "uniform-softmax" or any(h.state == "uniform" for h in run.heads):
        return
    for test in run.tests:
        classes = round(1 / test.last[1]) if not test.is_loss and 0 < test.last[1] < 1 else 0
        if classes and abs(test.last[1] * classes - 1) < _NEAR:
            stays = f"{test.name} stays at {test.last[1]:.4g} from pass to pass"
            yield f"{stays}, as for one answer among {classes} classes."
            return


def _jumped(run: RunFindings) -> Iterator[str]:
    if run.jump is None:
        yield f"The loss ends at {run.trend.end:.4g}."
        return
    before = f"from {run.jump.before:.4g} " if run.jump.before is not None else ""
    last = f" (iteration {run.coverage.last:,})" if run.coverage.last != run.jump.iteration else ""
    yield (
        f"The loss jumped {before}at the display of iteration {run.jump.iteration:,} and did not recover: "
        f"{run.trend.end:.4g} at the end{last}."
    )


def _not_finite(run: RunFindings) -> Iterator[str]:
    nans = run.nans
    bad = [h for h in run.heads if h.state == "nan" and h.name != TOTAL]
    finite = [h for h in run.heads if h.state != "nan" and math.isfinite(h.loss) and h.name != TOTAL]
    if nans is None:
        yield f"{names(bad)} {'end' if len(bad) > 1 else 'ends'} in NaN, although the displayed total is finite."
        return
    if nans.poisoned:
        at = (
            "at every display"
            if nans.first == run.coverage.first
            else f"from the display of iteration {nans.first:,} on"
        )
        yield (
            f"The displayed total is NaN {at} and stays so: one NaN never leaves Caffe's running mean. The losses "
            f"themselves are finite ({_with_losses(finite)})."
        )
        if run.jump is not None:
            yield from _jumped(run)
        return
    yield from _first_not_finite(run, nans, finite)
    saturated = [h for h in run.heads if h.state == "saturated"]
    if bad and finite and not any(h in saturated for h in finite):
        yield f"Not finite: {names(bad)}. Still finite: {_with_losses(finite)}."
    if saturated:
        yield (
            f"{names(saturated)} {'show' if len(saturated) > 1 else 'shows'} {MAX_LOSS:.4f}, which is -ln(FLT_MIN): "
            "on a GPU the loss layer turns NaN into this number."
        )
    elif nans.saturated:
        yield f"Just before, a softmax was saturated ({MAX_LOSS:.4f} is -ln(FLT_MIN)): its inputs were very large."


def _first_not_finite(run: RunFindings, nans: Nans, finite: Sequence[HeadFinding]) -> Iterator[str]:
    if nans.first == run.coverage.first:
        yield (
            "The loss is not finite from the first display on. Look at the inputs (a mean file that does not match, "
            "unscaled values), the initial weights and the learning rate."
        )
        return
    best = f" (best level before: {run.trend.best:.4g})" if math.isfinite(run.trend.best) else ""
    after = "" if finite else "; no loss is finite after that"
    yield f"The loss is not finite from the display of iteration {nans.first:,} on{best}{after}."
    if run.jump is not None and run.jump.iteration < nans.first:
        level = f" of {run.jump.before:.4g}" if run.jump.before is not None else ""
        yield f"It had left its level{level} by the display of iteration {run.jump.iteration:,}."


def _saturated(run: RunFindings) -> Iterator[str]:
    if run.verdict != "saturated-softmax":
        return
    for head in (h for h in run.heads if h.state == "saturated" and h.name != TOTAL and math.isfinite(h.loss)):
        share = head.loss / MAX_LOSS
        one_class = head.classes is not None and abs(share * head.classes / (head.classes - 1) - 1) < _NEAR
        like = f", as for a net that predicts one of {head.classes} classes whatever the input" if one_class else ""
        yield f"{head.name} is at {head.loss:.4g}: saturated for {100 * share:.3g}% of the images{like}."


def _with_losses(heads: Sequence[HeadFinding]) -> str:
    return ", ".join(f"{head.name} ({head.loss:.4g})" for head in heads)


def _cost(head: HeadFinding) -> float:
    return MAX_LOSS if head.state == "saturated" else math.log(head.classes or 1)
