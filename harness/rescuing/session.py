"""Rescue a run: from its break to the end of its training, and to rescue.json."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import __version__
from harness.caffe_files.messages import parse_text, pb
from harness.change_options import read_candidate
from harness.errors import BadInput, RecordingError
from harness.exit_codes import Exit
from harness.recording.result_files import rescue_from, write_rescue
from harness.recording.run_directory import read_info
from harness.rescuing.attempt import Attempting
from harness.rescuing.breaks import broke_at, find_break, has_broken
from harness.rescuing.journal import Decision, State, Study, opened
from harness.rescuing.means import Means
from harness.rescuing.request import RescueRequest
from harness.rescuing.restarts import TrainingEnded, problem
from harness.rescuing.showing import Showing
from harness.rescuing.steps import next_leg, words_of
from harness.schemas.explanation import Cost
from harness.schemas.rescue import Candidate, Intervention, Rescue

_CONTINUED = "the training continues"


def rescue(run: Path, request: RescueRequest, means: Means) -> Rescue:
    """Get a broken training to its end, and write rescue.json after each break and at the end.

    Raises:
        KeyboardInterrupt: somebody has asked for an end; what is finished is kept.
        BadInput: another command rescues this run just now; it cannot be explained, or a candidate does not fit it.
        RecordingError: a recording cannot be read or replayed.
        TrainingEnded: a restart cannot go on, by no fault of what it changes.
        RecordingFailed: the disk is full.
    """
    run = run.absolute()
    for text in request.given:  # also where nothing is left to try
        read_candidate(text)
    solver = parse_text(read_info(run).solver, pb.SolverParameter, run / "run.json")
    until = solver.max_iter if request.until is None else request.until
    if until > solver.max_iter:
        remedy = "Give a smaller number, or leave it out"
        raise BadInput(f"the solver ends at max_iter {solver.max_iter:,}", field="--until", value=until, remedy=remedy)
    with opened(run) as study:
        return _Session(study, until, request, means).run()


@dataclass(frozen=True)
class _Ended:
    """How a training that continued has ended: in the run directory `run`, before iteration `last`."""

    run: Path
    code: int
    last: int
    problem: str = ""


class _Session:
    """One rescue."""

    def __init__(self, study: Study, until: int, request: RescueRequest, means: Means) -> None:
        self._study, self._until, self._request, self._means = study, until, request, means
        self._iterations = 0
        self._begun = time.monotonic()
        self._before = _cost_before(study)

    def run(self) -> Rescue:
        decisions, run = self._study.decisions, self._study.run
        if decisions:
            self._means.terminal.message(f"Going on with the rescue in {self._study.directory}")
            self._decide_anew(decisions[-1])
        elif not self._decide(1, run, ()):
            return self._written(run, "Training did not break, or it recovered. Nothing was changed.")
        while (candidate := decisions[-1].candidate) is not None:
            ended = self._continue(decisions[-1], candidate)
            reached = f"Training reached iteration {ended.last:,}."
            if ended.code == Exit.DONE and not has_broken(ended.run):
                return self._written(ended.run, reached, finished=True)
            if ended.code not in (Exit.DONE, Exit.DIVERGED):
                raise TrainingEnded(ended.code, ended.problem)
            if sum(decision.candidate is not None for decision in decisions) >= self._request.tries:
                sentence = (
                    f"Training broke once more, at iteration {broke_at(ended.run):,}: --tries allows no further try."
                )
                return self._written(ended.run, sentence)
            if not self._decide_again(decisions[-1], candidate, ended.run):
                if ended.code == Exit.DONE:  # it recovered
                    return self._written(ended.run, reached, finished=True)
                raise RecordingError(f"{ended.run}: it was stopped as diverged, and no onset is found")
        attempt = decisions[-1].attempt
        nothing = "Nothing that was tried" if attempt.tried else "No candidate was left to try that"
        sentence = f"{nothing} gets the training past its break at iteration {attempt.broke:,}."
        return self._written(Path(decisions[-1].attempt.run), sentence)

    def _decide_anew(self, last: Decision) -> None:
        """Decide once more about a break for which nothing helped: other candidates may be wanted this time."""
        if last.candidate is None:
            self._decide(last.number, Path(last.attempt.run), self._failed(last))

    def _failed(self, decision: Decision) -> list[str]:
        """Return the candidates that were chosen for the same break, and with which it came again."""
        return [d.candidate.name for d in self._study.decisions if d.number == decision.number and d.candidate]

    def _decide_again(self, decision: Decision, candidate: Candidate, run: Path) -> bool:
        """Decide what to do about a break of `run`, the training that a decision continued; False if it is none."""
        assert decision.reached is not None  # it has a candidate
        if broke_at(run) < decision.reached.iteration:
            self._means.terminal.message(f"It broke at the same place again: {candidate.name} is not enough")
            return self._decide(decision.number, Path(decision.attempt.run), self._failed(decision))
        return self._decide(decision.number + 1, run, ())

    def _decide(self, number: int, run: Path, failed: Sequence[str]) -> bool:
        """Find out why a run broke, try candidates, and write down which is chosen.

        Returns False if it did not break.
        """
        broken = find_break(run, self._request, self._means, is_first=not self._study.decisions)
        if broken is None:
            return False
        self._means.terminal.message(broken.found.verdict.sentence)
        attempted = Attempting(self._study, number, broken, self._until, self._request, self._means).run(failed)
        self._iterations += broken.replayed + attempted.iterations
        decision = attempted.decision
        self._study.add(decision)
        for tried in decision.attempt.tried:
            if tried.chosen:
                self._means.terminal.message(f"Chosen: {tried.candidate}, {tried.why}")
        self._written(Path(decision.reached.run if decision.reached is not None else run), "Not finished.")
        return True

    def _continue(self, decision: Decision, candidate: Candidate) -> _Ended:
        """Train on to the end with the candidate of a decision."""
        state = decision.reached
        assert state is not None  # it has a candidate
        restart = self._study.path(decision.number, candidate.name)
        directory = restart.with_name(f"{restart.name}-continued")
        stage = f"continuing to iteration {self._until:,}"
        expected = self._until - state.iteration
        showing = Showing(self._means.terminal, stage, decision.levels, {_CONTINUED: ""}, expected)
        ended = _Ended(Path(state.run), Exit.DONE, state.iteration)
        with self._means.restarting(showing) as restarts:
            while ended.code == Exit.DONE:
                leg = next_leg(candidate, decision.origin, state, self._until, directory)
                if leg is None:
                    break
                result = restarts.run(leg, _CONTINUED)
                state = State(result.directory, result.last)
                ended = _Ended(Path(result.directory or leg.directory), result.code, result.last, problem(result))
        self._iterations += restarts.trained
        return ended

    def _written(self, run: Path, sentence: str, finished: bool = False) -> Rescue:
        """Write rescue.json; `run` is the last run of the lineage."""
        decisions = self._study.decisions
        interventions = [
            Intervention(
                iteration=decision.origin.iteration,
                candidate=decision.candidate.name,
                changes=words_of(decision.candidate),
                why=next((tried.why for tried in decision.attempt.tried if tried.chosen), ""),
                parent=decision.origin.run,
                run=decision.reached.run,
                broke=decision.attempt.broke,
            )
            for number, decision in enumerate(decisions)
            if decision.candidate is not None
            and decision.reached is not None
            and not any(later.number == decision.number for later in decisions[number + 1 :])  # it did not hold
        ]
        found = Rescue(
            finished=finished,
            run=str(run),
            interventions=tuple(interventions),
            tried=decisions[-1].attempt.tried if decisions else (),
            cost=Cost(
                self._before.iterations + self._iterations,
                self._before.seconds + time.monotonic() - self._begun,
                self._means.workers,
            ),
            attempts=tuple(
                decision.attempt
                for decision in decisions
                if decision.candidate is not None or decision is decisions[-1]  # else it was decided anew
            ),
            sentence=sentence,
            until=self._until,
            harness=__version__,
        )
        write_rescue(self._study.directory, found)
        return found


def _cost_before(study: Study) -> Cost:
    """Return what earlier commands spent on a study that goes on, as far as they wrote it down."""
    found = None
    if study.decisions:
        with suppress(BadInput):  # it is written anew
            found = rescue_from(study.run)
    return Cost(0, 0.0, 0) if found is None else found.cost
