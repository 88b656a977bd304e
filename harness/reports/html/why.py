"""The section Why of a report: what `explain` found, laid out for the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from harness.diagnosis.recorded.batch import Batch
from harness.quantities import duration
from harness.reports.figures.window import picture
from harness.reports.html.figures import BatchImage, encoded
from harness.reports.html.plot import Plot
from harness.reports.html.subject import Subject
from harness.reports.html.trial_plots import Losses, no_return, orders, trial_plots
from harness.reports.number_lines import NumberLine, explanation_lines, own_values
from harness.reports.remedies import remedies
from harness.reports.suggestion import Suggestion
from harness.reports.suggestions import explain_command
from harness.reports.text.grammar import count, list_names
from harness.reports.trials import DECIDING, Group, count_arms, groups_of, look, outcome
from harness.schemas.explanation import ArmSummary, CulpritRecord, Explanation

_MOST_RECORDS = 32  # pictures
_MOST_ITERATIONS = 4  # whose records are read again for them


@dataclass(frozen=True)
class Support:
    """A trial that supports a claim: where its row is on the page, and how it ended; `mood` is its colour."""

    anchor: str
    name: str
    outcome: str
    mood: str


@dataclass(frozen=True)
class Claim:
    """A sentence, and the trials behind it."""

    sentence: str
    support: tuple[Support, ...]


@dataclass(frozen=True)
class TrialRow:
    """A trial as a row of a table, and its curves if they are drawn."""

    anchor: str
    trial: ArmSummary
    support: Support
    arms: int
    changes: str
    end: str
    plot: Plot | None


@dataclass(frozen=True)
class TrialGroup:
    """Trials that ask alike; `is_open` where the reader sees their losses at once."""

    group: Group
    rows: tuple[TrialRow, ...]
    is_open: bool


@dataclass(frozen=True)
class Why:
    """The section Why.

    Attributes:
        explanation: as it was read.
        statement: the first sentence of the verdict, and the others.
        facts: about the verdict as a whole, in a few words each.
        incomplete: what completes the explanation, and what is missing; None where nothing is.
        ordinary: about the numbers below the records.
        unseen: the number of culprit records that are not shown.
        repeat: the commands of all trials without their last word; empty where they differ in more than that.
        remedies: restarts that survived in replays.
    """

    explanation: Explanation
    statement: tuple[str, str]
    facts: tuple[str, ...]
    incomplete: Suggestion | None
    evidence: tuple[Claim, ...]
    conditions: tuple[Claim, ...]
    chain: tuple[Claim, ...]
    records: tuple[BatchImage, ...]
    ordinary: str
    unseen: int
    lines: tuple[NumberLine, ...]
    no_return: Plot | None
    orders: Plot | None
    groups: tuple[TrialGroup, ...]
    repeat: str
    remedies: tuple[Suggestion, ...]


def why(subject: Subject) -> Why | None:
    """Lay out what `explain` found; None if it was not asked."""
    explanation = subject.explanation
    if explanation is None:
        return None
    verdict = explanation.verdict
    supports = {t.name: _support(number, t) for number, t in enumerate(explanation.arms)}

    def claim(sentence: str, trials: Sequence[str]) -> Claim:
        return Claim(_sentence(sentence), tuple(supports[name] for name in trials if name in supports))

    at = verdict.iteration if verdict.iteration is not None else subject.onset
    iterations = subject.recording.iterations
    own = Losses(iterations, subject.recording.series("loss", slice(0, len(iterations))))
    return Why(
        explanation=explanation,
        statement=_statement(verdict.sentence),
        facts=tuple(_facts(explanation)),
        incomplete=None if explanation.complete else _completion(subject, explanation),
        evidence=tuple(claim(link.sentence, link.trials) for link in verdict.evidence),
        conditions=tuple(claim(condition.sentence, condition.trials) for condition in verdict.conditions),
        chain=tuple(claim(link.sentence, link.trials) for link in verdict.chain),
        records=tuple(_records(subject, verdict.records[:_MOST_RECORDS])),
        ordinary=_ordinary(verdict.records),
        unseen=max(0, len(verdict.records) - _MOST_RECORDS),
        lines=explanation_lines(explanation, own_values(subject.found, at)),
        no_return=no_return(explanation, own),
        orders=orders(explanation.rewind),
        groups=tuple(_groups(explanation, supports, trial_plots(explanation, own, at))),
        repeat=_repeat(explanation.arms),
        remedies=tuple(remedies(subject.found, explanation)),
    )


def _support(number: int, trial: ArmSummary) -> Support:
    return Support(f"trial-{number}", trial.name, outcome(trial), look(trial).mood)


def _facts(explanation: Explanation) -> list[str]:
    verdict, control, cost = explanation.verdict, explanation.control, explanation.cost
    facts = []
    if verdict.confidence is not None:
        facts.append(f"{verdict.confidence:.0%} of the deciding replays agree")
    if control is not None:
        facts.append(f"unchanged: {control.breaks} of {count(control.runs, 'replay')} broke")
        facts.append(
            f"the recorded digest at all {control.iterations:,} iterations"
            if control.identical
            else "not the recorded digests"
            + ("" if control.first_difference is None else f" from iteration {control.first_difference:,} on")
        )
        facts += [reason.rstrip(".") for reason in control.not_exact]
    arms = sum(count_arms(trial) for trial in explanation.arms)
    if arms:
        facts.append(count(arms, "replay"))
    if cost.iterations:
        computed = f"{cost.iterations:,} iterations computed by the last explain"
        facts.append(f"{computed}, in {duration(cost.seconds)} with {count(cost.workers, 'worker')}")
    return facts


def _completion(subject: Subject, explanation: Explanation) -> Suggestion:
    left = f", without {list_names(explanation.left_out)}" if explanation.left_out else ""
    purpose = (
        f"this explanation is not complete (explain was interrupted, or its budget was used up{left}): go on with it"
    )
    return Suggestion(explain_command(subject.run).command, purpose)


def _records(subject: Subject, records: Sequence[CulpritRecord]) -> list[BatchImage]:
    """Show culprit records, those with the largest effect first."""
    moments = list(dict.fromkeys(record.iteration for record in records))[:_MOST_ITERATIONS]
    batches = {moment: subject.found.batch(moment) for moment in moments}
    largest = sorted(records, key=lambda record: -(record.effect if record.effect is not None else np.inf))
    return [_record(record, batches.get(record.iteration)) for record in largest]


def _record(record: CulpritRecord, batch: Batch | None) -> BatchImage:
    known = batch is not None and 0 <= record.index < len(batch)
    if batch is not None and known and batch.keys and record.key:
        known = batch.keys[record.index] == record.key
    source = encoded(picture(batch, record.index)) if batch is not None and known and batch.pixels is not None else ""
    label, name = record.label, record.class_name
    if batch is not None and known:
        label = int(batch.labels[record.index]) if label is None and batch.labels is not None else label
        name = batch.names[record.index] if name is None and batch.names else name
    facts = [f"iteration {record.iteration:,}, number {record.index + 1}"] if not record.key else []
    facts += [] if label is None else [f"label {label}{f' ({name})' if name else ''}"]
    effect = "not finite" if record.effect is None else f"{record.effect:+.3g}"
    facts.append(f"loss {effect}")
    facts += [] if record.gradient_l2 is None else [f"gradient {record.gradient_l2:.3g}"]
    return BatchImage(source, record.key, facts, outlier=True, badge=effect)


def _ordinary(records: Sequence[CulpritRecord]) -> str:
    """State what the numbers below culprit records mean, and those of ordinary records."""
    if not records:
        return ""
    said = "Loss: by how much that of the next iteration is higher with this record in an ordinary batch"
    effects = [record.usual_effect for record in records if record.usual_effect is not None]
    said += f" ({median(effects):+.2g} with an ordinary record)." if effects else "."
    if all(record.gradient_l2 is None for record in records):
        return said
    norms = [record.usual_gradient_l2 for record in records if record.usual_gradient_l2 is not None]
    return f"{said} Gradient: the norm for that batch{f' ({median(norms):.3g})' if norms else ''}."


def _groups(explanation: Explanation, supports: Mapping[str, Support], plots: Mapping[str, Plot]) -> list[TrialGroup]:
    found = []
    for group in groups_of(explanation):
        rows = tuple(
            TrialRow(
                anchor=supports[t.name].anchor,
                trial=t,
                support=supports[t.name],
                arms=count_arms(t),
                changes="; ".join(t.changes) or "nothing",
                end=_end(t),
                plot=plots.get(t.name),
            )
            for t in group.trials
        )
        found.append(TrialGroup(group, rows, group.name == DECIDING))
    return found


def _end(trial: ArmSummary) -> str:
    if trial.loss is not None:
        return f"{trial.loss:.4g}"
    return "not finite" if any(curve for curve in trial.curves) or trial.breaks else "–"


def _sentence(text: str) -> str:
    """Write a claim as a sentence: conditions are what the break requires."""
    whole = f"This requires {text}" if text[:1].islower() else text
    return whole if whole.endswith((".", "!", "?")) else f"{whole}."


def _statement(sentence: str) -> tuple[str, str]:
    """Divide a statement into its first sentence and the rest."""
    first, *rest = re.split(r"(?<=[a-z0-9)]\.) (?=[A-Z0-9])", sentence, maxsplit=1)
    return first, "".join(rest)


def _repeat(arms: Sequence[ArmSummary]) -> str:
    """Return the commands of all trials without their last word; empty where they differ in more than that."""
    beginnings = {arm.command.rpartition(" ")[0] for arm in arms if arm.command}
    return beginnings.pop() if len(beginnings) == 1 else ""
