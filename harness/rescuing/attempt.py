"""An attempt to get past one break: candidates in replays, the best of them in restarts, and the choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.solver import display_interval
from harness.diagnosis.rescue.candidates import candidates_of, last_candidates
from harness.diagnosis.rescue.choosing import Finalist, Judged, choose, goes_on_as_healthy
from harness.diagnosis.rescue.evidence import placed
from harness.diagnosis.rescue.given import given_at
from harness.diagnosis.rescue.trend import level_of
from harness.diagnosis.rescue.trials import Outcome, left_to_try, restarts_end
from harness.errors import RecordingError
from harness.exit_codes import Exit
from harness.rescuing.breaks import Break, way_to
from harness.rescuing.healthy import healthy_before
from harness.rescuing.journal import Decision, State, Study
from harness.rescuing.means import Means
from harness.rescuing.replaying import Replaying, replaying
from harness.rescuing.request import RescueRequest
from harness.rescuing.restarts import Restarted, TrainingEnded, problem
from harness.rescuing.showing import Showing
from harness.rescuing.steps import words_of
from harness.schemas.rescue import Attempt, Candidate, Tried


@dataclass(frozen=True)
class Attempted:
    """A decision, and the iterations that it took in replays and restarts."""

    decision: Decision
    iterations: int


class Attempting:
    """An attempt to get the training past break `number` of a lineage, on its way to iteration `until`."""

    def __init__(
        self, study: Study, number: int, broken: Break, until: int, request: RescueRequest, means: Means
    ) -> None:
        self._study, self._number, self._broken, self._until = study, number, broken, until
        self._request, self._means = request, means
        self._case = placed(broken.case, broken.found)
        self._display = display_interval(self._case.solver)
        earlier = next((one.healthy for one in reversed(study.decisions) if one.number < number), None)
        self._healthy = healthy_before(broken.run, self._case, broken.found, earlier)
        self._iterations = 0
        self._outcomes: dict[str, Outcome] = {}  # by the name of the candidate, by how little it changes
        self._done: set[str] = set()  # the names of those that were tried
        self._restarted: dict[str, Restarted] = {}
        self._origin: State | None = None  # with which candidates begin, once one is restarted

    def run(self, failed: Sequence[str]) -> Attempted:
        """Try candidates, but for those that have `failed`, and choose one.

        The smallest change is tried first; the others where training does not go on with it as while it was healthy.

        Raises:
            KeyboardInterrupt: somebody has asked for an end.
            BadInput, RecordingError, RecordingFailed, TrainingEnded: replays or restarts are not possible.
        """
        case, found, forbidden = self._case, self._broken.found, self._request.forbidden
        given = given_at(self._request.given, case)
        candidates = [one for one in candidates_of(case, found, given, forbidden) if one.name not in failed]
        with replaying(self._broken.question, case, self._means) as replays:
            self._try(candidates, replays)
            if not self._past():
                last = [one for one in last_candidates(case, found, forbidden) if one.name not in failed]
                self._try([*candidates, *last], replays)
        return Attempted(self._decision(), self._iterations + replays.iterations)

    def _try(self, candidates: Sequence[Candidate], replays: Replaying) -> None:
        """Try candidates, in replays and in restarts, as long as more than those that were tried are needed."""
        until = min(restarts_end(self._case, candidates, self._broken.tested), self._until)
        self._outcomes = {one.name: self._outcomes.get(one.name, Outcome(one)) for one in candidates}
        while left := left_to_try(candidates, self._done, self._past(), self._good()):
            found = replays.until_past(left)
            self._done |= {outcome.candidate.name for outcome in found}
            self._outcomes |= {outcome.candidate.name: outcome for outcome in found}
            if past := [outcome.candidate for outcome in found if outcome.gets_past]:
                self._origin = self._way() if self._origin is None else self._origin
                self._restarted |= self._restart(past, self._origin, until)

    def _past(self) -> list[str]:
        """Return the names of the candidates with which training got past the break."""
        level = {one.candidate.name: level_of(one.loss, self._display) for one in self._finalists()}
        return [name for name in level if level[name] <= self._case.levels.limit]

    def _good(self) -> list[str]:
        """Return the names of those with which it goes on as while it was healthy."""
        levels, display, accuracies = self._case.levels, self._display, self._broken.accuracies
        return [
            one.candidate.name
            for one in self._finalists()
            if goes_on_as_healthy(one, levels, self._healthy, display, accuracies)
        ]

    def _finalists(self) -> list[Finalist]:
        """Return the candidates whose restarts got to their end, by how little they change."""
        every = [self._restarted[name] for name in self._outcomes if name in self._restarted]
        return [_finalist(one, self._case.until) for one in every if one.state is not None]

    def _way(self) -> State:
        """Return the state with which candidates begin; an unchanged leg goes there from the last one that was kept."""
        start = self._case.start
        leg = way_to(self._broken.question, start, self._study.path(self._number, f"to-{start}"))
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

    def _restart(self, chosen: Sequence[Candidate], origin: State, until: int) -> dict[str, Restarted]:
        """Try candidates in restarts that end before iteration `until`. Returns what they gave, by name."""
        changes = {candidate.name: words_of(candidate) for candidate in chosen}
        showing = self._showing("candidates in restarts", changes, len(chosen) * (until - origin.iteration))
        past, limit = self._case.until, self._case.levels.limit
        with self._means.restarting(showing) as restarts:
            every = restarts.run_candidates(chosen, origin, past, until, self._path, limit)
            found = {one.candidate.name: one for one in every}
        self._iterations += restarts.trained
        return found

    def _path(self, name: str) -> Path:
        return self._study.path(self._number, name)

    def _showing(self, stage: str, changes: dict[str, str], expected: int) -> Showing:
        return Showing(self._means.terminal, stage, self._case.levels, changes, expected)

    def _decision(self) -> Decision:
        """Choose a candidate, and return the decision."""
        case, verdict, restarted = self._case, self._broken.found.verdict, self._restarted
        choice = choose(self._finalists(), case.levels, self._healthy, self._display, self._broken.accuracies)
        judged = {one.candidate.name: one for one in choice.judged}
        tried = tuple(
            self._tried(one, restarted.get(one.candidate.name), judged, choice.chosen)
            for one in self._outcomes.values()
        )
        attempt = Attempt(str(self._broken.run), case.at, verdict.kind, verdict.sentence, tried)
        chosen = None if choice.chosen is None else restarted[choice.chosen.name]
        state = None if chosen is None else chosen.state
        origin = self._origin or State(str(self._broken.run), case.start)
        return Decision(self._number, attempt, origin, case.levels, choice.chosen, state, self._healthy)

    def _tried(
        self, outcome: Outcome, restarted: Restarted | None, judged: Mapping[str, Judged], chosen: Candidate | None
    ) -> Tried:
        """Say what became of a candidate."""
        candidate = outcome.candidate
        known = judged.get(candidate.name)
        shown = candidate.shown if restarted is not None and outcome.seen is None else 0
        return Tried(
            candidate=candidate.name,
            kind=candidate.kind,
            changes=words_of(candidate),
            runs=shown + outcome.runs + (restarted is not None),
            heals=shown + outcome.heals + (known is not None and known.level <= self._case.levels.limit),
            loss=None if known is None or not math.isfinite(known.level) else known.level,
            test=dict(restarted.tests) if restarted is not None else {},
            iterations=outcome.iterations + (0 if restarted is None else restarted.trained),
            chosen=candidate == chosen,
            why=known.why if known is not None else _why_not(outcome, restarted),
        )


def _finalist(restarted: Restarted, first: int) -> Finalist:
    """Return what a restart gave from iteration `first` on; of one that is shorter, what it has at its end."""
    past = restarted.loss[restarted.iterations >= first]
    loss = past if past.size else restarted.loss
    return Finalist(restarted.candidate, first, tuple(loss.tolist()), restarted.tests)


def _why_not(outcome: Outcome, restarted: Restarted | None) -> str:
    """Say why a candidate was not a finalist to the end."""
    if restarted is not None:
        return restarted.why
    if not outcome.runs:
        return "not tried: smaller changes get past"
    return f"{outcome.runs - outcome.heals} of {outcome.runs} replays do not get past"
