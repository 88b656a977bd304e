"""The section Rescue of a report: the breaks that a training met, and what was tried to get past each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.invocation import next_command, path_argument
from harness.quantities import duration
from harness.recording.result_files import rescue_study
from harness.reports.html.subject import Subject
from harness.reports.suggestion import Suggestion
from harness.reports.text.grammar import count
from harness.reports.text.rescue import tested
from harness.schemas.rescue import Intervention, Rescue, Tried

_LONGEST = 100  # characters of options


@dataclass(frozen=True)
class Break:
    """A break, the candidates that were tried, and the intervention with which training went on; None if none helped.

    Attributes:
        title: names where it was; empty where that is not known.
        test: the output of the test net that is shown; empty without one.
    """

    title: str
    sentence: str
    tried: tuple[Tried, ...]
    intervention: Intervention | None
    test: str

    @property
    def went_on(self) -> str:
        """State how training went on."""
        if self.intervention is None:
            chosen = any(tried.chosen for tried in self.tried)
            return f"Training was not continued {'with what was chosen' if chosen else 'from here'}."
        made = self.intervention
        run = f", as the run {Path(made.run).name}" if made.run else ""
        changes = f" ({cut(made.changes)})" if made.changes and made.changes != made.candidate else ""
        why = f": {made.why}" if made.why else ""
        return f"From iteration {made.iteration:,} on, training continued with: {made.candidate}{changes}{run}{why}."


def breaks(found: Rescue, accuracies: Sequence[str]) -> tuple[Break, ...]:
    """Collect the breaks in their order, each with its intervention.

    Args:
        accuracies: outputs of the first test net, as `net_roles.accuracies` orders them.
    """
    left = list(found.interventions)
    shown = []
    for attempt in reversed(found.attempts):  # of several at one break, the last one held
        held = bool(left) and left[-1].broke in (None, attempt.broke)
        title = f"Break at iteration {attempt.broke:,} of {Path(attempt.run).name}"
        made = left.pop() if held else None
        shown.append(Break(title, attempt.sentence, attempt.tried, made, tested(attempt.tried, accuracies)))
    if not found.attempts and (found.tried or left):
        made = left[-1] if left else None
        shown.append(Break("", "", found.tried, made, tested(found.tried, accuracies)))
    return tuple(reversed(shown))


def later(subject: Subject) -> Suggestion | None:
    """State what became of a rescue that began with the run, and name the report of where it ended.

    None without one, and where it ended with the run itself: then the page has the whole of it.
    """
    found = subject.later_rescue
    if found is None or found == subject.rescue:
        return None
    study = rescue_study(subject.run)
    last = study / Path(found.run).name
    command = f"{next_command('report')} {path_argument(last)}" if last.is_dir() else ""
    return Suggestion(command, f"A rescue of this run is in {study.name}: {found.sentence}")


def facts(found: Rescue) -> str:
    """State what the rescue took, and how far it got."""
    said = []
    if found.until is not None:
        said.append(f"{'reached' if found.finished else 'did not reach'} iteration {found.until:,}")
    said.append(count(len(found.interventions), "intervention"))
    cost = found.cost
    if cost.iterations:
        workers = count(cost.workers, "worker")
        said.append(f"{cost.iterations:,} iterations computed, in {duration(cost.seconds)} with {workers}")
    return "; ".join(said)


def outcome(tried: Tried) -> str:
    """State how many of a candidate's replays and restarts got past the break; empty where there were none."""
    return f"{tried.heals} of {tried.runs}" if tried.runs else ""


def mood(tried: Tried) -> str:
    """Choose the colour of an outcome."""
    if not tried.runs:
        return "open"
    return "good" if tried.heals == tried.runs else "bad" if not tried.heals else "open"


def cut(changes: str) -> str:
    """Shorten options that are too long for a table: those with many keys of records."""
    return changes if len(changes) <= _LONGEST else f"{changes[: _LONGEST - 1]}…"


def tests(tried: Tried) -> str:
    """State all outputs of the test pass after the break."""
    return ", ".join(f"{name} {value:.4g}" for name, value in tried.test.items())
