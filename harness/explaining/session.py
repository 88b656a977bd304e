"""Explain a run: from its diagnosis to explain.json."""

from __future__ import annotations

from dataclasses import dataclass

from harness.budget import Budget
from harness.diagnosis.cause.investigate import investigate
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.errors import BadInput
from harness.experiments import Arms, default_workers, local
from harness.explaining.culprits import Culprits
from harness.explaining.estimate import estimate
from harness.explaining.investigating import Investigation, Stage, carry_out, explanation_of
from harness.explaining.question import Question, question_of
from harness.explaining.replays import Replays
from harness.explaining.showing import Showing
from harness.recording import Recording
from harness.recording.explanation import write_explanation
from harness.reports.investigation import InvestigationTerminal
from harness.schemas.arm import ArmResult
from harness.schemas.explanation import Cost, Explanation
from harness.supervisor.signals import Interrupts


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        at: the iteration at which it went wrong; None for the onset.
        workers: None for as many as fill this machine.
    """

    at: int | None
    budget: Budget
    workers: int | None


def explain(
    recording: Recording,
    diagnosis: Diagnosis,
    request: Request,
    terminal: InvestigationTerminal,
    interrupts: Interrupts,
    investigation: Investigation = investigate,
) -> Explanation | None:
    """Find out why a run broke, and write explain.json after each stage; None where the run has no onset.

    It ends early where the budget is used up, or `interrupts` ask for it; then the explanation is not complete.

    Raises:
        BadInput, RecordingError: the run cannot be replayed; nothing was written, unless arms had been replayed before.
        RecordingFailed: the disk is full.
    """
    question = question_of(recording, diagnosis, request.at, request.budget)
    if question is None:
        return None
    workers = request.workers or default_workers(question.info)
    planned = estimate(question, workers)
    _check_affordable(question, request.budget)
    terminal.message(_plan(question, str(planned)))
    showing = Showing(terminal, question, planned)
    culprits = Culprits(recording)
    with Arms(
        question.run, question.case.first, local(workers), terminal, interrupts, follow=lambda p: follow(p)
    ) as arms, interrupts.handled(lambda: None):
        interrupts.ended = arms.cancel
        ...
