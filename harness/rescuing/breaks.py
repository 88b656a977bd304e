"""A break of a run: why it broke, by replays, and the state from which training can go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from harness.caffe_files.net_roles import accuracies
from harness.change_options import find_options
from harness.diagnosis.cause.case import Case
from harness.diagnosis.recorded.diagnose import Diagnosis, diagnose
from harness.diagnosis.rescue.data import skip_records
from harness.diagnosis.rescue.given import given_candidate
from harness.errors import BadInput
from harness.explaining.question import Question, question_of
from harness.explaining.session import ExplainRequest, explain
from harness.invocation import next_command, path_argument
from harness.recording import Recording
from harness.recording.result_files import read_explanation
from harness.replay import nearest
from harness.replay.replaying import working_directory
from harness.rescuing.journal import State
from harness.rescuing.means import Means
from harness.rescuing.request import RescueRequest
from harness.schemas.explanation import Explanation
from harness.schemas.leg import Leg
from harness.schemas.run_info import RunInfo


@dataclass(frozen=True)
class Break:
    """A break of a run, and what explain found about it.

    Attributes:
        tested: it has a test net.
        replayed: iterations that it took to explain it now; 0 where it was explained before.
        accuracies: the outputs of that net that are the better the higher they are.
    """

    question: Question
    found: Explanation
    tested: bool
    accuracies: tuple[str, ...]
    replayed: int

    @property
    def run(self) -> Path:
        return self.question.run

    @property
    def case(self) -> Case:
        return self.question.case


def find_break(run: Path, request: RescueRequest, means: Means, is_first: bool) -> Break | None:
    """Find the break of a run, and why it broke; None if training did not break, or has recovered.

    It is explained, unless that is complete already. At the first break of a study, all given candidates must fit;
    at a later one, those that skip data of before are left out.

    Raises:
        BadInput: a candidate of the user does not fit the run, or the training is to end before the break.
        BadInput, RecordingError, RecordingFailed: as `explain`.
        KeyboardInterrupt: somebody has asked for an end.
    """
    with Recording(run) as recording:
        diagnosis = diagnose(recording)
        known = read_explanation(run)
        question = question_of(recording, diagnosis, _asked(diagnosis, known), request.budget)
        if question is None:
            return None
        _check_until(request.until, question.case.at)
        if is_first:  # before hours are spent
            for text in request.given:
                given_candidate(text, question.case)
        way_to(question, question.case.start, run)  # there is one
        replayed = 0
        if known is None or not known.complete or known.levels is None:
            asked = ExplainRequest(question.case.at, request.budget, means.arms)
            known = explain(recording, diagnosis, asked, means.terminal, means.interrupts)
            means.check_interrupted()
            replayed = known.cost.iterations
        tested = recording.test_nets > 0
    if known.verdict.kind == "none":
        return None
    return Break(question, known, tested, accuracies(question.info.test_nets), replayed)


def _check_until(until: int | None, at: int) -> None:
    if until is not None and until <= at:
        remedy = "Give a larger number, or leave it out"
        problem = f"training broke at iteration {at:,}: a rescue trains past it"
        raise BadInput(problem, field="--until", value=until, remedy=remedy)


def broke_at(run: Path) -> int:
    """Return the iteration at which a run went wrong, whose last iterations were found diverged."""
    with Recording(run) as recording:
        onset = diagnose(recording).onset
        return int(recording.iterations[-1]) if onset is None else onset.iteration


def has_broken(run: Path) -> bool:
    """Check whether a run that reached its end broke before it, too late to be stopped as diverged."""
    with Recording(run) as recording:
        return diagnose(recording).onset is not None


def way_to(question: Question, at: int, directory: Path) -> State | Leg:
    """Return the state of a broken run before iteration `at`, if it was kept; else the leg that goes there unchanged.

    It begins with the last state before that the run kept, or as the run itself, with the options of that restart.

    Raises:
        BadInput: there is none.
    """
    run, info = question.run, question.info
    with working_directory(info):
        kept = nearest(run, info, at)
    if kept.iteration > info.first or info.first == 0:
        if kept.iteration == at:
            return State(str(run), at)
        return Leg(str(run), kept.iteration, at, (), str(directory))
    words = _own_words(info)
    if info.goes_on_from is None or words is None or (words and info.first == at):
        rewind = f"{next_command('rewind')} {path_argument(run)} --watch {at}:{at + 1} --capture weight,history"
        raise BadInput(
            f"no state was kept from which a restart can begin between the run's start, iteration {info.first:,}, and "
            f"its break at {question.case.at:,}",
            file=run,
            remedy=f"Record that of iteration {at:,} now, by `{rewind}`, and give the same command again",
        )
    if info.first == at:
        return State(info.goes_on_from, at)
    return Leg(info.goes_on_from, info.first, at, words, str(directory))


def _own_words(info: RunInfo) -> tuple[str, ...] | None:
    """Return the options with which a restart changed the run that it continues; None where they are not known."""
    if info.parent is None:
        return ()
    if info.command[:1] != ("restart.py",):
        return None if info.parent.changes_something else ()
    changed = replace(find_options(info.command[1:]), skip_records=None)  # a file of keys may be gone
    return (*changed.words, *(skip_records(info.parent.skip_records) if info.parent.skip_records else ()))


def _asked(diagnosis: Diagnosis, known: Explanation | None) -> int | None:
    """Return the iteration of a break that has no onset, but that a user had explained (--at)."""
    if diagnosis.onset is not None or known is None or known.verdict.kind == "none":
        return None
    return known.verdict.iteration
