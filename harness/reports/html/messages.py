"""The sentences of a report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np

from harness.diagnosis.recorded.distributions import SORTED_BY
from harness.diagnosis.recorded.evidence_text import MIN_BLOCK
from harness.diagnosis.recorded.localize import PARAM_ROWS
from harness.diagnosis.robust_stats import total_norm
from harness.invocation import next_command
from harness.reports.html.subject import Subject
from harness.reports.suggestions import BrokenRun, Suggestion, after_divergence, from_repository
from harness.reports.text.alarms import NEEDS_PARENT, first_out
from harness.reports.text.grammar import list_names
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Exit
from harness.schemas.predictions import HeadPredictions
from harness.schemas.run_info import Parent, RunInfo


def verdict(subject: Subject) -> str:
    """What became of the run, in one sentence."""
    found, iterations = subject.found, subject.recording.iterations
    status, onset = found.status, found.onset
    if status.kind == "nothing":
        return "Nothing was recorded: the run ended before its first iteration was through."
    if onset is None:
        span = f"iterations {iterations[0]:,} to {iterations[-1]:,}"
        if status.kind == "never learned":
            known = found.names.chance_loss
            worth = f", and a net that knows nothing has {known:.4g}" if known is not None else ""
            return (
                f"It has not learned: over {span} the loss went from {status.before:.4g} to {status.after:.4g}{worth}."
            )
        if len(iterations) < MIN_BLOCK:
            return (
                f"No divergence was found over {span}, which are too few to tell more; the loss is {status.after:.4g}."
            )
        went = f"the loss went from {status.before:.4g} to {status.after:.4g}"
        return f"Healthy: over {span} no divergence was found; {went}."
    before = f"from {status.before:.4g} " if status.before is not None else ""
    broke = f"Training broke at iteration {onset.iteration:,}"
    if status.kind == "not finite":
        was = f" (the loss was {status.before:.4g} before)" if status.before is not None else ""
        return f"{broke}: from there it ran into numbers that are not finite{was}."
    rose = f"{broke}: the loss went {before}to {status.after:.4g} and has not come back"
    heads, plural = list_names(status.heads), len(status.heads) > 1
    if status.kind == "uniform":
        return f"{rose}; {heads} now {'give' if plural else 'gives'} every class the same probability."
    if status.kind == "saturated":
        return f"{rose}; {heads} {'are' if plural else 'is'} now certain of one class for every image, and wrong."
    return f"{rose}."


def mood(subject: Subject) -> str:
    """`good`, `bad` or `open`: for the colour beside the verdict, which is never all that says it."""
    status = subject.found.status.kind
    if status in ("nothing", "never learned"):
        return "open"
    return "good" if status == "healthy" else "bad"


def ending(subject: Subject) -> str:
    """How the run itself ended."""
    ended = subject.info.ended
    if ended is not None:
        return ended.how.rstrip(".") + "."
    if subject.recording.live:
        return "The run still goes on; this page shows how far it had come."
    return "Nobody was left to say how the run ended: both of its processes were killed."


def where(subject: Subject) -> str:
    """Where in the net it began."""
    onset = subject.found.onset
    if onset is None:
        return ""
    first = first_out(onset.blob, onset.param)
    return f"{onset.reason[:1].upper()}{onset.reason[1:]}.{f' {first}.' if first else ''}"


def suggestions(subject: Subject) -> list[Suggestion]:
    """Suggest the next commands."""
    found, run = subject.found, from_repository(subject.run)
    first = int(subject.recording.iterations[0]) if len(subject.recording.iterations) else 0
    if found.onset is None:
        ended = subject.info.ended
        through = ended is not None and ended.code == Exit.DONE
        if subject.recording.live or through or not found.snapshots:
            return []
        back = f"continue exactly from the last snapshot, iteration {found.snapshots[-1]:,}"
        return [Suggestion(f"{next_command('restart')} {shlex.quote(str(run))}", back)]
    broken = BrokenRun(
        run=run,
        first=first,
        onset=found.onset.iteration,
        last_good=found.last_good.iteration if found.last_good else None,
        in_window=found.onset.iteration in subject.recording.window_iterations,
        base_lr=subject.base_lr,
        gradient_baseline=gradient_baseline(subject),
        has_outliers=subject.batch is not None and bool(subject.batch.wild.any()),
    )
    if broken.needs_parent:
        parent = subject.info.parent
        command = f"{next_command('restart')} {shlex.quote(parent.run)}" if parent else ""
        return [Suggestion(command, NEEDS_PARENT)]
    return after_divergence(broken)


def by_rule(alarms: Sequence[Alarm]) -> list[tuple[str, list[Alarm]]]:
    """The alarms of each rule, the rule that was raised first first."""
    rules = dict.fromkeys(alarm.rule for alarm in alarms)
    return [(rule, [alarm for alarm in alarms if alarm.rule == rule]) for rule in rules]


def gradient_baseline(subject: Subject) -> float | None:
    """Compute the median norm of the whole gradient before the onset."""
    iterations = subject.recording.iterations
    row = int(np.searchsorted(iterations, subject.onset or 0))
    before = subject.recording.stat("gradient_l2", slice(max(0, row - PARAM_ROWS), row)).values
    length = total_norm(before)
    length = length[np.isfinite(length)]
    return float(np.median(length)) if len(length) and np.median(length) > 0 else None


def exactness(info: RunInfo) -> str:
    """What a repetition of this run can promise."""
    if info.not_exact:
        return f"Not exact: {'; '.join(info.not_exact)}."
    if info.mode != "CPU":
        return "Whether a GPU repeats its bits was never tried: a repetition may differ in the last ones."
    same = f"the same build of Caffe and kind of processor, {info.blas_threads} BLAS threads"
    return f"A restart from its snapshots repeats it bit for bit ({same}); it says so if a layer cannot."


def changes_of(parent: Parent) -> str:
    """What a restarted run does differently from its parent."""
    changes = [f"{change.field} {change.old} → {change.new}" for change in parent.changes]
    changes += [f"history {parent.history}"] if parent.history != "keep" else []
    changes += [f"without the data of {parent.skip}"] if parent.skip else []
    return ", ".join(changes) or "nothing changed"


def run_details(subject: Subject) -> list[tuple[str, str]]:
    """Name and value of what the head of a page lists."""
    info, recording = subject.info, subject.recording
    iterations = recording.iterations
    span = f"{iterations[0]:,} to {iterations[-1]:,}" if len(iterations) else "none"
    weights = sum(param.count for param in recording.params)
    rows = [
        ("Solver", info.solver_file),
        ("Net", f"{_net_name(info)}, {len(recording.params)} param blobs, {weights:,} weights"),
        ("Iterations", f"{span} of {info.until:,}"),
        ("Trained for", duration(float(np.nansum(recording.series("seconds"))))),
        ("Started", info.started),
        ("Caffe", f"{info.caffe.get('version', 'unknown')}, {info.mode}, {info.blas_threads} BLAS threads"),
        ("Random seed", f"{info.random_seed}{' (drawn)' if info.random_seed_drawn else ''}"),
        ("Data", "; ".join(f"{name}: {source.records:,} records" for name, source in info.data.items()) or "none"),
        ("Weights", ", ".join(info.weights) or info.resume or "as initialised"),
        ("Windows", ", ".join(map(str, recording.windows)) or "none"),
        ("Exactness", exactness(info)),
    ]
    if info.parent:
        rows.append(("Restarted from", f"{info.parent.run} at {info.parent.iteration:,}: {changes_of(info.parent)}"))
    if subject.children:
        rows.append(("Restarts of it", "; ".join(subject.children)))
    return rows


def _net_name(info: RunInfo) -> str:
    """A net's text begins with its name, if it has one."""
    first = info.net.partition("\n")[0]
    return first.removeprefix("name: ").strip('"') if first.startswith("name: ") else "unnamed"


def duration(seconds: float) -> str:
    """`1 h 2 min 3 s`, as far as it matters."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def caption(subject: Subject, image: int) -> list[str]:
    """What stands below an image of the batch: key, label, prediction and loss before → after the update, values."""
    batch, head = subject.batch, subject.head
    assert batch is not None
    lines = [batch.keys[image]] if batch.keys else []
    if batch.labels is not None:
        lines.append(f"label {batch.labels[image]}")
    if head is not None:
        both = (head.before, head.after)
        lines.append(f"says {' → '.join(_said(part.predicted[image], part.probability[image]) for part in both)}")
        lines.append(f"loss {' → '.join(f'{part.loss[image]:.3g}' for part in both)}")
    return [*lines, f"values {batch.lowest[image]:.3g} … {batch.highest[image]:.3g}"]


def of_the_batch(subject: Subject) -> str:
    """What there is to see in the batch."""
    batch, head = subject.batch, subject.head
    assert batch is not None
    said = []
    wild = int(batch.wild.sum())
    if wild:
        rest = batch.highest[~batch.wild]
        high = f", where those of the others reach {rest.max():.3g}" if len(rest) else ""
        said.append(
            f"{wild} of the {len(batch)} images have values far beyond the others: up to "
            f"{np.abs(np.concatenate([batch.lowest, batch.highest])).max():.4g}{high}."
        )
    if head is not None:
        said.append(_of_the_head(head, len(batch)))
    channels = 1 if batch.pixels is None else batch.pixels.shape[1]
    if channels not in (1, 3):
        said.append(f"Shown is channel 1 of {channels}.")
    return " ".join(said)


def _of_the_head(head: HeadPredictions, count: int) -> str:
    """What its own update did for a batch."""
    before, after = head.before.loss, head.after.loss
    counted = np.isfinite(before) & np.isfinite(after)
    right = [int((part.predicted == head.labels).sum()) for part in (head.before, head.after)]
    text = f"{head.name} has {right[0]} of {count} right before the update and {right[1]} after it"
    if not counted.any():
        return f"{text}; its loss on them is no number. (As the net is tested: without dropout.)"
    old, new = float(before[counted].mean()), float(after[counted].mean())
    of = "them" if counted.all() else f"the {int(counted.sum())} where it is a number"
    better = ", although the update was made from these very images" if new > old else ""
    went = f"its mean loss on {of} goes from {old:.4g} to {new:.4g}{better}"
    return f"{text}; {went}. (As the net is tested: without dropout.)"


def kept(subject: Subject) -> str:
    """What the windows hold, and which of it is compared."""
    found = subject.found
    captured = [f"{kind}s" for kind in subject.info.capture]
    what = list_names(captured) or "What was asked for"
    windows = ", ".join(map(str, subject.recording.windows))
    text = f"{what[:1].upper()}{what[1:]} of iterations {windows} were kept whole."
    if {"weights", "gradients"} & set(captured):
        text += f" Compared here: iterations {', '.join(f'{moment:,}' for moment in found.moments)}."
    if found.onset is not None and found.moment != found.onset.iteration:
        text += " None of them is the onset: the first command above repeats it with a window around it."
    return text


def largest_of(subject: Subject) -> str:
    """By what the elements of a blob are sorted."""
    captured = subject.info.capture
    return next((kind for kind in SORTED_BY if kind in captured), SORTED_BY[0])


def _said(predicted: int, probability: float) -> str:
    return "no number" if predicted < 0 else f"{predicted} ({probability:.0%})"
