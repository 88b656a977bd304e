"""Sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.diagnosis.recorded.distributions import SORTED_BY
from harness.diagnosis.recorded.evidence_text import MIN_BLOCK
from harness.reports.html.subject import Subject
from harness.reports.text.alarms import first_abnormal
from harness.reports.text.exactness import verification
from harness.reports.text.grammar import list_names
from harness.schemas.layout import Alarm
from harness.schemas.predictions import HeadPredictions


def verdict(subject: Subject) -> str:
    """State the outcome of the run in one sentence."""
    found, iterations = subject.found, subject.recording.iterations
    status, onset = found.status, found.onset
    if status.kind == "nothing":
        return "Nothing was recorded: the run ended before its first iteration was complete."
    if onset is None:
        span = f"iterations {iterations[0]:,} to {iterations[-1]:,}"
        went = f"the loss went from {status.before:.4g} to {status.after:.4g}"
        if status.kind == "never learned":
            level = (
                f"; the chance level is {found.names.chance_loss:.4g}" if found.names.chance_loss is not None else ""
            )
            return f"The net never learned: over {span} {went}{level}."
        if len(iterations) < MIN_BLOCK:
            return (
                f"No divergence was found in {span}, which are too few for a verdict; the loss is {status.after:.4g}."
            )
        return f"Healthy: no divergence was found in {span}; {went}."
    broke = f"Training broke at iteration {onset.iteration:,}"
    if status.kind == "not finite":
        was = f" (the loss was {status.before:.4g} before)" if status.before is not None else ""
        return f"{broke} and ended in values that are NaN or infinite{was}."
    before = f"from {status.before:.4g} " if status.before is not None else ""
    rose = f"{broke}: the loss went {before}to {status.after:.4g} and did not recover"
    heads, plural = list_names(status.heads), len(status.heads) > 1
    if status.kind == "uniform":
        return f"{rose}; {heads} now {'give' if plural else 'gives'} every class the same probability."
    if status.kind == "saturated":
        return f"{rose}; {heads} now {'give' if plural else 'gives'} the true class a probability of 0."
    return f"{rose}."


def mood(subject: Subject) -> str:
    """Choose the colour beside the verdict: `good`, `bad` or `open`. The verdict says the same in words."""
    status = subject.found.status.kind
    if status in ("nothing", "never learned"):
        return "open"
    return "good" if status == "healthy" else "bad"


def ending(subject: Subject) -> str:
    """State how the run ended."""
    ended = subject.info.ended
    if ended is not None:
        return ended.how.rstrip(".") + "."
    if subject.recording.live:
        return "The run is still in progress; this page shows its state when the page was written."
    return "How the run ended was not recorded: both of its processes were killed, or the machine stopped."


def verified(subject: Subject) -> str:
    """State how the digests of the run compare with those of the run that it continues; empty for a new training."""
    found = subject.info.verified
    return verification(found) if found is not None else ""


def where(subject: Subject) -> str:
    """State the evidence for the onset, and where in the net it started."""
    onset = subject.found.onset
    if onset is None:
        return ""
    first = first_abnormal(onset.blob, onset.param)
    return f"{onset.reason[:1].upper()}{onset.reason[1:]}.{f' {first}.' if first else ''}"


def by_rule(alarms: Sequence[Alarm]) -> list[tuple[str, list[Alarm]]]:
    """Group alarms by rule, in the order in which the rules first fired."""
    rules = dict.fromkeys(alarm.rule for alarm in alarms)
    return [(rule, [alarm for alarm in alarms if alarm.rule == rule]) for rule in rules]


def caption(subject: Subject, image: int) -> list[str]:
    """Describe an image of the batch: key, label, prediction and loss before → after the update, range of values."""
    batch, head = subject.batch, subject.head
    assert batch is not None
    lines = [batch.keys[image]] if batch.keys else []
    if batch.labels is not None:
        name = batch.names[image] if batch.names else None
        lines.append(f"label {batch.labels[image]}{f' ({name})' if name else ''}")
    if head is not None:
        both = (head.before, head.after)
        predicted = (_prediction(part.predicted[image], part.probability[image]) for part in both)
        lines.append(f"predicted {' → '.join(predicted)}")
        lines.append(f"loss {' → '.join(f'{part.loss[image]:.3g}' for part in both)}")
    return [*lines, f"values {batch.lowest[image]:.3g} … {batch.highest[image]:.3g}"]


def batch_summary(subject: Subject) -> str:
    """Describe what is unusual about the batch, and the effect of the update on its predictions."""
    batch, head = subject.batch, subject.head
    assert batch is not None
    sentences = []
    outliers = int(batch.outliers.sum())
    if outliers:
        rest = batch.highest[~batch.outliers]
        others = f" (the others: up to {rest.max():.3g})" if len(rest) else ""
        sentences.append(
            f"{outliers} of the {len(batch)} images have values far beyond those of the others: up to "
            f"{np.abs(np.concatenate([batch.lowest, batch.highest])).max():.4g}{others}."
        )
    if head is not None:
        sentences.append(_effect_of_update(head, len(batch)))
    channels = 1 if batch.pixels is None else batch.pixels.shape[1]
    if channels not in (1, 3):
        sentences.append(f"The images show channel 1 of {channels}.")
    return " ".join(sentences)


def window_contents(subject: Subject) -> str:
    """State what the windows contain, and which iterations are compared."""
    found = subject.found
    captured = [f"{kind}s" for kind in subject.info.capture]
    what = list_names(captured) or "The captured arrays"
    windows = ", ".join(map(str, subject.recording.windows))
    text = f"{what[:1].upper()}{what[1:]} of iterations {windows} were recorded in full."
    if {"weights", "gradients"} & set(captured):
        text += f" Compared here: iterations {', '.join(f'{moment:,}' for moment in found.moments)}."
    if found.onset is not None and found.moment != found.onset.iteration:
        text += " None of them is the onset; the first command above repeats the run with a window around it."
    return text


def element_order(subject: Subject) -> str:
    """Name the array by which the largest elements of a blob are chosen."""
    captured = subject.info.capture
    return next((kind for kind in SORTED_BY if kind in captured), SORTED_BY[0])


def _effect_of_update(head: HeadPredictions, count: int) -> str:
    before, after = head.before.loss, head.after.loss
    counted = np.isfinite(before) & np.isfinite(after)
    right = [int((part.predicted == head.labels).sum()) for part in (head.before, head.after)]
    text = f"{head.name} classifies {right[0]} of {count} correctly before the update and {right[1]} after it"
    phase = "(Computed in TEST phase, without dropout.)"
    if head.batch_statistics:
        phase = (
            "(Computed in TEST phase, without dropout; the running averages of BatchNorm are still empty in "
            f"{head.batch_statistics}, so statistics of the batch were used.)"
        )
    if not counted.any():
        return f"{text}; its loss on them is not finite. {phase}"
    old, new = float(before[counted].mean()), float(after[counted].mean())
    images = "them" if counted.all() else f"the {int(counted.sum())} where it is finite"
    worse = ", although the update was computed from these images" if new > old else ""
    return f"{text}; its mean loss on {images} goes from {old:.4g} to {new:.4g}{worse}. {phase}"


def _prediction(predicted: int, probability: float) -> str:
    return "NaN" if predicted < 0 else f"{predicted} ({probability:.0%})"
