"""The headline of a report: what broke, when, and the strongest evidence."""

from __future__ import annotations

from harness.diagnosis.recorded.batch_evidence import batch_evidence
from harness.diagnosis.recorded.evidence_text import MIN_BLOCK, rate_evidence
from harness.reports.html.subject import Subject
from harness.reports.text.grammar import list_names
from harness.schemas.onset import Onset


def headline(subject: Subject) -> str:
    """State the outcome of the run: after a break with its iteration and the strongest evidence, else with the loss."""
    found = subject.found
    if found.onset is None:
        return _unbroken(subject)
    evidence = strongest_evidence(subject) or _change_of_loss(subject)
    return f"Training broke at iteration {found.onset.iteration:,}: {evidence}"


def strongest_evidence(subject: Subject) -> str | None:
    """Describe what deviated from its own past at the onset: data before learning rate before gradients.

    None if nothing did, as far as it was recorded.
    """
    onset, recording, batch = subject.found.onset, subject.recording, subject.batch
    if onset is None:
        return None
    found = batch_evidence(batch) if batch is not None and batch.iteration == onset.iteration else None
    if found is not None:
        return found
    iterations = recording.iterations
    row = int(iterations.searchsorted(onset.iteration))
    rate = rate_evidence(iterations, recording.series("lr"), row)
    return _clause(onset, "input ") or rate or _clause(onset, "gradient norm")


def outcome(subject: Subject) -> str:
    """State in a sentence what became of the loss of a run that broke; empty where the headline says it."""
    if subject.found.onset is None or strongest_evidence(subject) is None:
        return ""
    status = subject.found.status
    said = _change_of_loss(subject)
    sentence = f"{said[:1].upper()}{said[1:]}"
    heads, plural = list_names(status.heads), len(status.heads) > 1
    if status.kind == "uniform":
        return f"{sentence}; {heads} now {'give' if plural else 'gives'} every class the same probability."
    if status.kind == "saturated":
        return f"{sentence}; {heads} now {'give' if plural else 'gives'} the true class a probability of 0."
    return f"{sentence}."


def _unbroken(subject: Subject) -> str:
    found, iterations = subject.found, subject.recording.iterations
    status = found.status
    if status.kind == "nothing":
        return "Nothing was recorded: the run ended before its first iteration was complete."
    span = f"iterations {iterations[0]:,} to {iterations[-1]:,}"
    went = f"the loss went from {status.before:.4g} to {status.after:.4g}"
    if status.kind == "never learned":
        level = f"; the chance level is {found.names.chance_loss:.4g}" if found.names.chance_loss is not None else ""
        return f"The net never learned: over {span} {went}{level}."
    if len(iterations) < MIN_BLOCK:
        return f"No divergence was found in {span}, which are too few for a verdict; the loss is {status.after:.4g}."
    return f"Healthy: no divergence was found in {span}; {went}."


def _change_of_loss(subject: Subject) -> str:
    status, first_bad = subject.found.status, subject.found.not_finite_from
    before = f"from {status.before:.4g} " if status.before is not None else ""
    if status.kind == "not finite":
        since = f" since iteration {first_bad:,}" if first_bad is not None else ""
        was = f" (the loss was {status.before:.4g} before the onset)" if status.before is not None else ""
        return f"values in the net are NaN or infinite{since}{was}"
    return f"the loss went {before}to {status.after:.4g} and did not recover"


def _clause(onset: Onset, about: str) -> str | None:
    """Return the clause of the evidence for an onset that is about inputs or gradients."""
    found = next((clause for clause in onset.reason.split("; ") if about in clause), None)
    return f"the {found}" if found is not None and found.startswith("gradient") else found
