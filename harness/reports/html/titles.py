"""Titles of the figures of a report: the run, and what the figure shows of it."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.recorded.batch_evidence import batch_evidence
from harness.diagnosis.recorded.distributions import Distribution, Spectrum
from harness.diagnosis.recorded.filters import Filters
from harness.reports.html.subject import Subject


def titles(subject: Subject) -> dict[str, str]:
    """Return the title of each figure, by its name."""
    found = {
        "overview": _losses(subject),
        "losses": _losses(subject),
        "layers": _layers(subject),
        "distances": _layers(subject),
        "batch": _batch(subject),
        "spectra": _spectra(subject.found.distributions()),
        "filters": _filters(subject.filters) if subject.filters is not None else "",
        "labels": _labels(subject),
        "restarts": _restarts(subject),
        "trials": _cause(subject),
        "margins": _cause(subject),
    }
    return {name: f"{subject.run.resolve().name}: {title}" for name, title in found.items()}


def _losses(subject: Subject) -> str:
    before = len(subject.lineage.parts) - 1
    if not before:
        return _course(subject)
    return f"{_course(subject)}; with the {f'{before} runs' if before > 1 else 'run'} before it"


def _course(subject: Subject) -> str:
    found, status = subject.found, subject.found.status
    if found.onset is not None:
        at = f"at iteration {found.onset.iteration:,}"
        before = f"from {status.before:.3g} " if status.before is not None else ""
        if status.kind == "not finite":
            return f"training breaks {at}; not finite since {found.not_finite_from or found.onset.iteration:,}"
        return f"the loss goes {before}to {status.after:.3g} {at}"
    if status.before is None or not np.isfinite(status.before):
        return "losses"
    return f"the loss goes from {status.before:.3g} to {status.after:.3g}"


def _layers(subject: Subject) -> str:
    onset, travelled = subject.found.onset, subject.found.propagation
    if onset is None:
        return "norms of the layers at the end of the run"
    if not travelled:
        return f"norms of the layers around iteration {onset.iteration:,}"
    first = travelled[0]
    count, total = len(travelled), len(subject.recording.params)
    return (
        f"{count} of {total} gradients leave their baselines within 40 iterations, "
        f"first {first.param} at iteration {first.iteration:,}"
    )


def _batch(subject: Subject) -> str:
    batch = subject.batch
    if batch is None:
        return ""
    return batch_evidence(batch) or f"no image of batch {batch.iteration:,} has unusual values"


def _spectra(parts: tuple[Distribution, ...]) -> str:
    said = []
    for part in parts:
        first, last = part.change
        said.append(
            f"largest {part.kind} {_largest(first)} → {_largest(last)} (iterations {first.iteration:,} → "
            f"{last.iteration:,})"
        )
    return f"{parts[0].param}: {', '.join(said)}" if said else "magnitudes of weights and gradients"


def _largest(spectrum: Spectrum) -> str:
    return "not finite" if spectrum.nonfinite else f"{spectrum.largest:.3g}"


def _filters(filters: Filters) -> str:
    usual = f", usually {filters.usual:.2g} times" if filters.usual is not None else ""
    change = "not finite" if not np.isfinite(filters.change) else f"{filters.change:.2g} times as large as the weights"
    return f"the update of {filters.param} at iteration {filters.iteration:,} is {change}{usual}"


def _labels(subject: Subject) -> str:
    if subject.batch is None or not subject.unusual_labels:
        return ""
    share = subject.unusual_labels[0]
    return (
        f"{share.count} of the {len(subject.batch)} records of batch {subject.batch.iteration:,} have label "
        f"{share.label}, where {share.expected or 0:.2g} are to be expected"
    )


def _cause(subject: Subject) -> str:
    return subject.explanation.verdict.sentence if subject.explanation is not None else ""


def _restarts(subject: Subject) -> str:
    ends = []
    for name, recording in subject.children.items():
        smoothed = recording.series("smoothed_loss")
        ends.append(f"{name} ends at {smoothed[-1]:.3g}" if np.isfinite(smoothed[-1]) else f"{name} is not finite")
    return "restarts: " + ", ".join(ends[:4]) + (f" and {len(ends) - 4} more" if len(ends) > 4 else "")
