"""Explain a run: from its diagnosis to explain.json."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import numpy as np

from harness import __version__
from harness.budget import Budget
from harness.caffe_files.messages import parse_text, pb
from harness.diagnosis.cause.case import BEFORE, Case
from harness.diagnosis.cause.investigate import Finding, investigate
from harness.diagnosis.cause.start_sizes import unusual_sizes
from harness.diagnosis.cause.trials import Procedure
from harness.diagnosis.cause.verdict.stating import stated_without_onset
from harness.diagnosis.conditions import total_chance_loss
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.errors import BadInput, RecordingError
from harness.experiments import Arms, Engines, local, locked
from harness.experiments.results import DIRECTORY, Results
from harness.explaining.culprits import Culprits
from harness.explaining.estimate import Estimate, estimate
from harness.explaining.investigating import Stage, carry_out, explanation_of, stored_of
from harness.explaining.question import Question, question_of
from harness.explaining.replays import Replays
from harness.explaining.showing import Showing
from harness.invocation import next_command, path_argument
from harness.quantities import duration
from harness.recording import Recording
from harness.recording.result_files import write_explanation
from harness.reports.view_terminal import ViewTerminal
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Progress
from harness.schemas.explanation import Cost, Explanation
from harness.supervisor.signals import Interrupts
from harness.training_data.records import RecordsUnknown

_NOISE = 0.1  # share of the losses that may be lower
_LEARNED = 0.9  # of chance level: below it, a net has learned something


@dataclass(frozen=True)
class ExplainRequest:
    """What the user asks for.

    Attributes:
        at: the iteration at which the run went wrong; None for its onset.
        engines: where arms are replayed.
    """

    at: int | None
    budget: Budget
    engines: Engines = field(default_factory=local)


def explain(
    recording: Recording,
    diagnosis: Diagnosis,
    request: ExplainRequest,
    terminal: ViewTerminal,
    interrupts: Interrupts,
) -> Explanation:
    """Find out why a run broke, and write explain.json after each stage and at the end.

    It ends early where the budget is used up, or `interrupts` ask for it.

    Raises:
        BadInput: another command explains this run just now.
        BadInput, RecordingError: the run cannot be replayed; nothing was written but results of arms.
        RecordingFailed: the disk is full.
    """
    question = question_of(recording, diagnosis, request.at, request.budget)
    if question is None:
        found = _without_onset(recording, diagnosis)
        write_explanation(recording.path.parent, found)
        return found
    _check_affordable(question, request.budget)
    with locked(question.run):
        stored = stored_of(investigate, question.case, Results(question.run / DIRECTORY).load)
        planned = estimate(question, request.engines.count(question.info), stored)
        terminal.message(_plan(question, planned, request.budget))
        if diagnosis.onset is not None and abs(diagnosis.onset.iteration - question.case.at) > BEFORE:
            terminal.message(_of_onset(diagnosis.onset.iteration, request.at))
        return _Session(recording, question, planned, request, terminal, interrupts).run()


class _Session:
    """One investigation, with what it shows and writes."""

    def __init__(
        self,
        recording: Recording,
        question: Question,
        planned: Estimate,
        request: ExplainRequest,
        terminal: ViewTerminal,
        interrupts: Interrupts,
    ) -> None:
        self._question, self._workers, self._interrupts = question, planned.workers, interrupts
        self._culprits = Culprits(recording)
        self._showing = Showing(terminal, question, planned)
        self._arms = Arms(question.run, question.case.first, request.engines, terminal, interrupts, follow=self._follow)
        self._replays = Replays(self._arms, question.way, planned.workers, request.budget, interrupts, self._keep)

    def run(self) -> Explanation:
        with self._arms, self._interrupts.handled(lambda: None):
            self._interrupts.ended = self._arms.cancel
            known = self._not_exact
            try:
                stage = self._carry_out()
            except RecordsUnknown as error:
                raise RecordingError(f"{str(error).removesuffix('.')}. {self._to_record_inputs()}") from None
            if self._not_exact != known:  # what the first replay has said counts from the beginning
                stage = self._carry_out()
        return self._written(stage)

    def _to_record_inputs(self) -> str:
        """Say what to do where data cannot be read again, but perhaps by a replay with Caffe's own layers."""
        case, run = self._question.case, self._question.run
        window = f"{case.first}:{min(case.until, case.last + 1)}"
        command = f"{next_command('rewind')} {path_argument(run)} --watch {window} --capture input"
        return f"If the data are there as they were, record what the net read, and explain the run again: {command}"

    def _carry_out(self) -> Stage:
        return carry_out(self._procedure, self._question.case, self._replays, self._showing.wants, self._done)

    def _procedure(self, case: Case) -> Procedure[Finding]:
        return investigate(case, self._not_exact)

    @property
    def _not_exact(self) -> tuple[str, ...]:
        """What may keep replays from the recorded bits, as far as that is known."""
        said = (reason for result in self._replays.found.values() for reason in result.not_exact)
        return tuple(dict.fromkeys((*self._arms.not_exact, *said)))

    def _follow(self, progress: Progress) -> None:
        self._showing.progress(progress)
        self._showing.show(self._replays)

    def _keep(self, result: ArmResult) -> None:
        self._showing.show(self._replays)

    def _done(self, stage: Stage) -> None:
        self._showing.verdict = self._written(stage).verdict

    def _written(self, stage: Stage) -> Explanation:
        """Write explain.json of an investigation that is as far as `stage`."""
        spent = self._replays.spent
        cost = Cost(spent.iterations, spent.seconds, self._workers)
        found = explanation_of(self._question, stage, self._replays.found, cost, self._not_exact)
        found = msgspec.structs.replace(found, verdict=self._culprits.named(found.verdict))
        write_explanation(self._question.run, found)
        return found


def _without_onset(recording: Recording, diagnosis: Diagnosis) -> Explanation:
    never = diagnosis.status.kind == "never learned" or _is_above_chance(recording)
    net = parse_text(diagnosis.info.net, pb.NetParameter, recording.path)
    sizes = unusual_sizes(recording, net) if never else {}
    return Explanation(stated_without_onset(never, diagnosis.status.after, sizes), None, harness=__version__)


def _is_above_chance(recording: Recording) -> bool:
    """Check whether the loss was at chance level or above it all the time, but for noise."""
    loss, chance = recording.series("loss", slice(0, len(recording.iterations))), total_chance_loss(recording.heads)
    return chance is not None and len(loss) > 0 and bool(np.quantile(loss, _NOISE) > _LEARNED * chance)


def _plan(question: Question, planned: Estimate, budget: Budget) -> str:
    case = question.case
    text = f"Explaining iteration {case.at:,} of {question.run.name}: {planned}"
    if budget.seconds is not None and planned.seconds > budget.seconds:
        text += f", of which the budget allows {duration(budget.seconds)}"
    if budget.iterations is not None and planned.iterations > budget.iterations:
        text += f", of which the budget allows {budget.iterations:,} iterations"
    if question.way:
        text += f"; first, an unchanged replay from {question.begin.reason} to iteration {case.first:,}"
    return text


def _of_onset(onset: int, at: int | None) -> str:
    """Say that replays do not begin near the onset; `at` is the iteration that the user gives."""
    of_run = f"The onset of this run is iteration {onset:,}"
    if at is not None:
        return f"{of_run}; leave --at out to explain that"
    return f"{of_run}, long before training breaks: replays begin where they reach the break"


def _check_affordable(question: Question, budget: Budget) -> None:
    """Check that the budget suffices for the replay that goes to the start.

    Raises:
        BadInput: it does not.
    """
    way, seconds = question.way, question.way * question.case.seconds
    over_time = budget.seconds is not None and seconds > budget.seconds
    over_count = budget.iterations is not None and way > budget.iterations
    if over_time or over_count:
        takes = f"takes about {duration(seconds)}" if over_time else f"takes {way:,} iterations"
        raise BadInput(
            f"an unchanged replay from {question.begin.reason} to iteration {question.case.first:,} alone {takes}",
            file=question.run,
            field="--budget",
            value=f"{budget.seconds:g}s" if budget.iterations is None else budget.iterations,
            remedy="Give a larger budget, or none",
        )
