"""An attempt to get past one break: candidates in replays, the best of them in restarts, and the choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.budget import Budget
from harness.caffe_files.solver import display_interval
from harness.diagnosis.cause.trials import OutOfBudget
from harness.diagnosis.recorded.onset import span_of
from harness.diagnosis.rescue.candidates import candidates_of
from harness.diagnosis.rescue.choosing import Finalist, Judged, choose
from harness.diagnosis.rescue.evidence import placed
from harness.diagnosis.rescue.given import given_at
from harness.diagnosis.rescue.trend import trend_of
from harness.diagnosis.rescue.trials import Outcome, finalists, try_candidates
from harness.errors import RecordingError
from harness.exit_codes import Exit
from harness.experiments import Arms, locked
from harness.explaining.estimate import Estimate
from harness.explaining.investigating import drive
from harness.explaining.replays import Replays
from harness.explaining.showing import Showing as ReplaysShowing
from harness.rescuing.breaks import Break, way_to
from harness.rescuing.journal import Decision, State, Study
from harness.rescuing.means import Interrupted, Means
from harness.rescuing.request import Request
from harness.rescuing.restarts import TrainingEnded, Trial, problem
from harness.rescuing.showing import Showing
from harness.rescuing.steps import words_of
from harness.schemas.arm import ArmResult
from harness.schemas.arm_task import Progress
from harness.schemas.rescue import Attempt, Candidate, Tried

_DISPLAYS = 3  # display intervals past the break that trials have
_ARMS = 2.5  # arms of a candidate, about


@dataclass(frozen=True)
class Attempted:
    """A decision, and the iterations that it took in replays and restarts."""

    decision: Decision
    iterations: int


class Attempting:
    """An attempt to get the training past break `number` of a lineage, on its way to iteration `until`."""

    def __init__(self, study: Study, number: int, broken: Break, until: int, request: Request, means: Means) -> None:
        self._study, self._number, self._broken, self._until = study, number, broken, until
        self._request, self._means = request, means
        self._case = placed(broken.case, broken.found)
        self._iterations = 0

    def run(self, failed: Sequence[str]) -> Attempted:
        """Try candidates, but for those that have `failed`, and choose one.

        Raises:
            Interrupted: somebody has asked for an end.
            BadInput, RecordingError, RecordingFailed, TrainingEnded: replays or restarts are not possible.
        """
        given = given_at(self._request.given, self._case)
        every = candidates_of(self._case, self._broken.found, given, self._request.forbidden)
        candidates = [candidate for candidate in every if candidate.name not in failed]
        outcomes = self._replayed(candidates)
        chosen = finalists(outcomes)
        origin = self._origin() if chosen else State(str(self._broken.run), self._case.start)
        trials = self._restarted(chosen, origin) if chosen else []
        decision = self._decision(outcomes, trials, origin)
        return Attempted(decision, self._iterations)

    def _replayed(self, candidates: Sequence[Candidate]) -> tuple[Outcome, ...]:
        """Try candidates in replays."""
        means, question, case = self._means, self._broken.question, self._case
        count = round(_ARMS * len(candidates))
        expected = count * (case.until - case.start)
        planned = Estimate(count, expected, expected * case.seconds / means.workers, means.workers)
        showing = ReplaysShowing(means.terminal, question, planned)
        with locked(question.run), means.interrupts.handled(lambda: None):

            def follow(progress: Progress) -> None:
                showing.progress(progress)
                showing.show(replays)

            def keep(result: ArmResult) -> None:
                showing.show(replays)

            with Arms(question.run, case.first, means.arms, means.terminal, means.interrupts, follow=follow) as arms:
                means.interrupts.ended = arms.cancel
                replays = Replays(arms, question.way, means.workers, Budget(), means.interrupts, keep)
                try:
                    outcomes = drive(try_candidates(case, candidates), replays, showing.wants)
                except OutOfBudget:  # there is no budget
                    raise Interrupted from None
        self._iterations += replays.spent.iterations
        return outcomes

    def _origin(self) -> State:
        """Return the state with which candidates begin; an unchanged leg goes there from the last one that was kept."""
        start = self._case.start
        leg = way_to(self._broken, start, self._study.path(self._number, f"to-{start}"))
        if isinstance(leg, State):
            return leg
        name = f"unchanged to iteration {start:,}"
        showing = self._showing(f"going to iteration {start:,}", {name: ""}, start - leg.start)
        with self._means.restarting(showing) as restarts:
            result = restarts.run(leg, name)
        self._iterations += restarts.trained
        if result.code == Exit.DIVERGED:
            raise RecordingError(f"{result.directory}: it broke before its parent did")
        if result.code != Exit.DONE:
            raise TrainingEnded(result.code, problem(result))
        return State(result.directory, result.last)

    def _restarted(self, chosen: Sequence[Candidate], origin: State) -> list[Trial]:
        """Try candidates in restarts. Returns their trials, in the order of `chosen`."""
        until = self._trial_end(chosen)
        changes = {candidate.name: words_of(candidate) for candidate in chosen}
        showing = self._showing("candidates in restarts", changes, len(chosen) * (until - origin.iteration))
        past, limit = self._case.until, self._case.levels.limit
        with self._means.restarting(showing) as restarts:
            trials = restarts.trials(chosen, origin, past, until, self._path, limit)
            found = {trial.candidate: trial for trial in trials}
        self._iterations += restarts.trained
        return [found[candidate] for candidate in chosen if candidate in found]

    def _trial_end(self, chosen: Sequence[Candidate]) -> int:
        """Return the iteration before which trials end: three displays past the break, and the next test pass.

        A rate that is lowered for a stretch is up again by then.
        """
        case = self._case
        stretches = [step.until for candidate in chosen for step in candidate.steps if step.until is not None]
        end = max(case.until, *stretches, 0) + _DISPLAYS * span_of(display_interval(case.solver))
        interval = case.solver.test_interval
        if self._broken.tested and interval:
            end = math.ceil(end / interval) * interval + 1  # the pass is made before that iteration
        return min(end, self._until)

    def _path(self, name: str) -> Path:
        return self._study.path(self._number, name)

    def _showing(self, stage: str, changes: dict[str, str], expected: int) -> Showing:
        return Showing(self._means.terminal, stage, self._case.levels, changes, expected)

    def _decision(self, outcomes: Sequence[Outcome], trials: Sequence[Trial], origin: State) -> Decision:
        """Choose a candidate, and return the decision."""
        case, verdict = self._case, self._broken.found.verdict
        at_end = [trial for trial in trials if trial.state is not None]
        display = display_interval(case.solver)
        trend = trend_of(case.iterations, case.loss, case.at, display)
        past = [_finalist(trial, case.until) for trial in at_end]
        choice = choose(past, case.levels, trend, display, self._broken.accuracies)
        judged = {one.candidate.name: one for one in choice.judged}
        by_name = {trial.candidate.name: trial for trial in trials}
        tried = tuple(self._tried(one, by_name.get(one.candidate.name), judged, choice.chosen) for one in outcomes)
        attempt = Attempt(str(self._broken.run), case.at, verdict.kind, verdict.sentence, tried)
        chosen = None if choice.chosen is None else by_name[choice.chosen.name]
        state = None if chosen is None else chosen.state
        return Decision(self._number, attempt, origin, case.levels, choice.chosen, state)

    def _tried(
        self, outcome: Outcome, trial: Trial | None, judged: Mapping[str, Judged], chosen: Candidate | None
    ) -> Tried:
        """Say what became of a candidate."""
        candidate = outcome.candidate
        known = judged.get(candidate.name)
        return Tried(
            candidate=candidate.name,
            kind=candidate.kind,
            changes=words_of(candidate),
            runs=outcome.runs + (trial is not None),
            heals=outcome.heals + (known is not None and known.level <= self._case.levels.limit),
            loss=None if known is None or not math.isfinite(known.level) else known.level,
            test=dict(trial.tests) if trial is not None else {},
            iterations=outcome.iterations + (0 if trial is None else trial.trained),
            chosen=candidate == chosen,
            why=known.why if known is not None else _why_not(outcome, trial),
        )


def _finalist(trial: Trial, first: int) -> Finalist:
    """Return what a trial gave from iteration `first` on; of one that is shorter, what it has at its end."""
    past = trial.loss[trial.iterations >= first]
    loss = past if past.size else trial.loss
    return Finalist(trial.candidate, first, tuple(loss.tolist()), trial.tests)


def _why_not(outcome: Outcome, trial: Trial | None) -> str:
    """Say why a candidate was not a finalist to the end."""
    if trial is not None:
        return trial.why
    if not outcome.runs:
        return "not tried: smaller changes get past"
    if outcome.gets_past:
        return "not restarted: smaller changes get past"
    return f"{outcome.runs - outcome.heals} of {outcome.runs} replays do not get past"
