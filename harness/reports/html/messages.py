"""Sentences of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.diagnosis.conditions import Status
from harness.diagnosis.ranking import Result
from harness.diagnosis.recorded.batch import Batch
from harness.diagnosis.recorded.batch_evidence import batch_evidence, times
from harness.reports.html.headline import strongest_evidence
from harness.reports.html.subject import Subject
from harness.reports.names import change_name
from harness.reports.text.alarms import first_abnormal
from harness.reports.text.course import course_before
from harness.reports.text.exactness import verification
from harness.reports.text.grammar import name_arrays
from harness.schemas.captures import ALL_CAPTURES, CAPTURES
from harness.schemas.layout import Alarm
from harness.schemas.predictions import HeadPredictions
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.run_info import RunInfo
from harness.schemas.window import Window

_MOST_TESTS = 2  # outputs of a test pass in a table, beside its loss


def mood(status: Status) -> str:
    """Choose the colour beside the verdict: `good`, `bad` or `open`. The verdict says the same in words."""
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


def changes(info: RunInfo) -> str:
    """State what a restart changed; empty for a new training."""
    return "" if info.parent is None else f"{change_name(info.parent)}, from iteration {info.parent.iteration:,}"


def tests(result: Result) -> str:
    """State the last test pass: the test loss, and the last of the other outputs, which are those of the last head."""
    if result.tested is None:
        return ""
    whole = [] if result.test_loss is None else [f"loss {result.test_loss:.4g}"]
    rest = [f"{name} {value:.4g}" for name, value in result.tests.items() if name not in result.heads]
    return f"{', '.join(whole + rest[-_MOST_TESTS:])} (iteration {result.tested:,})"


def verified(subject: Subject) -> str:
    """State how the digests of the run compare with those of the run that it continues; empty for a new training."""
    found = subject.info.verified
    return verification(found) if found is not None else ""


def where(subject: Subject) -> str:
    """State the evidence for the onset, but for that of the loss, and where in the net it started."""
    onset = subject.found.onset
    if onset is None:
        return ""
    said = strongest_evidence(subject) or ""
    clauses = [c for c in onset.reason.split("; ") if not c.startswith("loss ") and c not in said]
    clauses.append(first_abnormal(onset.blob, onset.param))
    sentences = [f"{clause[:1].upper()}{clause[1:]}." for clause in clauses if clause]
    approach, batch = subject.found.approach, subject.batch
    if approach is not None and (batch is None or not batch.outliers.any()):  # outliers are to be looked at first
        sentences += course_before(approach, "iteration")
    return " ".join(sentences)


def by_rule(alarms: Sequence[Alarm]) -> list[tuple[str, list[Alarm]]]:
    """Group alarms by rule, in the order in which the rules first fired."""
    rules = dict.fromkeys(alarm.rule for alarm in alarms)
    return [(rule, [alarm for alarm in alarms if alarm.rule == rule]) for rule in rules]


def badge(batch: Batch, image: int) -> str:
    """Name what makes an image an outlier: `×363` (how many times larger its values are), or `NaN`; else empty."""
    if not batch.is_finite[image]:
        return "NaN" if np.isnan([batch.lowest[image], batch.highest[image]]).any() else "infinite"
    return f"×{times(float(batch.times[image]))}" if batch.outliers[image] and np.isfinite(batch.times[image]) else ""


def caption(subject: Subject, image: int) -> list[str]:
    """Describe an image of the batch: key, label, prediction and loss before → after the update, range of values."""
    batch = subject.batch
    assert batch is not None
    return [*([batch.keys[image]] if batch.keys else []), *image_facts(subject, image)]


def image_facts(subject: Subject, image: int) -> list[str]:
    """Describe an image of the batch as `caption` does, without its key."""
    batch, head = subject.batch, subject.head
    assert batch is not None
    lines = []
    if batch.labels is not None:
        name = batch.names[image] if batch.names else None
        lines.append(f"label {batch.labels[image]}{f' ({name})' if name else ''}")
    if head is not None:
        both = (head.before, head.after)
        predicted = (_prediction(part.predicted[image], part.probability[image]) for part in both)
        lines.append(f"predicted {' → '.join(predicted)}")
        lines.append(f"loss {' → '.join(_loss(part.loss[image]) for part in both)}")
    return [*lines, f"values {batch.lowest[image]:.3g} … {batch.highest[image]:.3g}"]


def batch_summary(subject: Subject) -> str:
    """Describe what is unusual about the batch, and the effect of the update on its predictions."""
    batch, head = subject.batch, subject.head
    assert batch is not None
    evidence = batch_evidence(batch)
    sentences = [f"{evidence}."] if evidence else []
    if head is not None:
        sentences.append(_effect_of_update(head, len(batch)))
    channels = 1 if batch.pixels is None else batch.pixels.shape[1]
    if channels not in (1, 3):
        sentences.append(f"The images show channel 1 of {channels}.")
    if batch.pixels is not None and batch.outliers.any():
        sentences.append("Each outlier is drawn with a range of grey of its own, the other images with one in common.")
    return " ".join(sentences)


def window_contents(subject: Subject) -> str:
    """State what the windows contain, and which iterations are compared."""
    found = subject.found
    kept, moment = found.kept, found.moment
    held = set(kept.window_arrays(moment)) & set(CAPTURES) if moment is not None else set()  # which the page shows
    what = name_arrays(held) or "The captured arrays"
    windows = ", ".join(map(str, kept.windows))
    text = f"{what[:1].upper()}{what[1:]} of iterations {windows} were recorded in full."
    if kept is not subject.recording:
        text = (
            f"{text[:-1]} by {kept.path.parent.name}, which repeats this run: the weights before and after "
            "the iterations that are shown have the same digests in both, and the losses are equal."
        )
    if {"weight", "gradient"} & held:
        text += f" Compared here: iterations {', '.join(f'{moment:,}' for moment in found.moments)}."
    if found.onset is not None and found.moment != found.onset.iteration:
        text += f" None of them is the onset; {_to_record_onset(subject)}."
    return text


def without_window(subject: Subject) -> str:
    """State that nothing was recorded in full, and how it can be."""
    if subject.found.onset is not None:
        return f"No window was recorded; {_to_record_onset(subject)}."
    text = "No window was recorded."
    if subject.recording.live or not len(subject.recording.iterations):
        return text
    rewind = subject.recording.rewind_cost(Window(last := int(subject.recording.iterations[-1]), last + 1))
    if isinstance(rewind, NoRewind):
        return f"{text} It cannot be recorded now: {rewind.reason}."
    return f"{text} rewind --watch A:B records weights, gradients, updates and inputs of iterations A … B-1 afterwards."


def _to_record_onset(subject: Subject) -> str:
    match subject.rewind:
        case Rewind() as found:
            return f"a command above records the iterations {found.window} around the onset now ({found.cost})"
        case NoRewind(reason):
            return f"the iterations around the onset cannot be recorded now: {reason}"
    return "a command above repeats the run with a window around the onset"


def recorded_in_windows(subject: Subject) -> str:
    """State which kinds of arrays were recorded in the windows, and whether the onset is among their iterations."""
    recording, onset = subject.recording, subject.onset
    kinds = {
        iteration: frozenset(recording.window_arrays(iteration)) & set(ALL_CAPTURES)
        for iteration in recording.window_iterations.tolist()
    }
    alike = len(set(kinds.values())) == 1
    if not alike and onset not in kinds:
        what = "not the same was recorded at each iteration"
    else:
        held = kinds[onset] if onset in kinds else next(iter(kinds.values()))
        only = "" if held >= set(CAPTURES) else "only "
        what = f"{only}{name_arrays(held)} were recorded{'' if alike else ' at the onset, not the same elsewhere'}"
    return what if onset is None or onset in kinds else f"{what}; not those of the onset"


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


def _loss(value: float) -> str:
    return f"{value + 0.0:.3g}" if np.isfinite(value) else "NaN"  # without the sign of -0


def _prediction(predicted: int, probability: float) -> str:
    return "NaN" if predicted < 0 else f"{predicted} ({probability:.0%})"
