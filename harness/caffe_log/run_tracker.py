"""Which run a statement belongs to: where runs begin, resumes, several solvers in one log, damaged numbers."""

from __future__ import annotations

from collections import deque
from enum import Enum

from harness.caffe_log.line_parser import Statement
from harness.caffe_log.model import LogRun
from harness.caffe_log.runs import Run

RUNS_KEPT = 1000
_TEXT_KEPT = 32 << 20  # bytes of prototxt of all runs; older runs lose theirs
_BEGINNINGS = ("solver", "start", "resume", "weights")
_MOST_OTHERS = 1000  # solvers of one run
_LEAP = 3  # an iteration that lies so many times further ahead than the next one is a damaged number


class Use(Enum):
    USED = 1
    DAMAGED = 2
    ORPHAN = 3
    NOISE = 4


def _note(seen: set[bytes], who: bytes) -> None:
    if len(seen) < _MOST_OTHERS:
        seen.add(who)


class Telling:
    """The runs of a log, told statement by statement.

    An iteration that goes back may begin another run, or be a damaged number, or come from another solver of the same
    run (a second GPU, in forks where each one prints). What it says goes to a tentative run until the next iteration
    shows which it was.
    """

    def __init__(self) -> None:
        self.closed: deque[LogRun] = deque()
        self.left_out = 0
        self.thinned = False
        self.run: Run | None = None
        self.tentative: Run | None = None
        self.fields: list[str] = []  # of a solver, pasted before its log
        self.regretted = 0  # lines that were used, and proved to be damaged
        self._goes_back = False  # the tentative run began with an iteration before the run's last
        self._taken, self._taken_until = 0, 0  # lines that the tentative run took
        self._speaking: Run | None = None
        self._text_kept = 0

    def say(self, s: Statement, line: int) -> Use:
        """Put `s`, said on line `line`, where it belongs."""
        if s.kind == "broken":
            return Use.DAMAGED
        run = self.run
        if s.rank and run is not None and s.rank != run.rank:
            if run.position >= 0 and run.rank:
                _note(run.ranks, s.rank)
                return Use.NOISE
            if s.kind == "loss" or not run.rank:
                run.rank = s.rank
        if s.kind in _BEGINNINGS:
            return self._begin(s, line)
        if s.iteration >= 0 and s.kind != "snapshot":
            return self._iteration(s, line)
        if s.kind in ("output", "score", "test"):
            run = self._speaker(s)
            if run is None:
                return Use.NOISE if s.kind == "test" else Use.ORPHAN
            return self._taken_by(run, s, line)
        if run is None or (s.kind == "done" and run.position < 0 and not run.announced):
            return Use.NOISE
        run.take(s)
        run.seen(line, s.stamp)
        return Use.USED

    def _begin(self, s: Statement, line: int) -> Use:
        self.settle()
        if self.run is not None and self.run.under_way:
            self.close_run()
        if self.run is None or s.kind == "solver":
            self.run = Run(line)
        self.run.announced = True
        self.run.take(s)
        self.run.seen(line, s.stamp)
        return Use.USED

    def _speaker(self, s: Statement) -> Run | None:
        if self.tentative and self.run and s.thread and self.tentative.thread != self.run.thread:
            return self.tentative if s.thread == self.tentative.thread else self.run
        return self._speaking or self.run

    def _taken_by(self, run: Run, s: Statement, line: int) -> Use:
        begins = run.position < 0
        used = run.take(s)
        if used:
            run.seen(line, s.stamp)
            if begins and run.solver_text is None and self.fields:
                run.solver_text, self.fields = "\n".join(self.fields) + "\n", []
        if run is not self.tentative:
            orphan = s.kind in ("output", "score") and not (run.loss if s.phase == "Train" else run.tests)
            return Use.USED if used else Use.ORPHAN if orphan else Use.NOISE
        if used and line > self._taken_until:
            self._taken, self._taken_until = self._taken + 1, line
        return Use.USED if used and self._goes_back else Use.NOISE

    def _iteration(self, s: Statement, line: int) -> Use:
        run = self.run
        if run is None or run.position < 0:
            run = self.run = run or Run(line)
            run.thread = s.thread
            run.rank = run.rank or s.rank
            self._speaking = run
            return self._taken_by(run, s, line)
        back, again = s.iteration < run.position, s.kind == "loss" and s.iteration == run.loss.last
        other = bool(s.thread and run.thread and s.thread != run.thread)
        mine = self.tentative is not None and self.tentative.thread == s.thread
        if self.tentative is not None and mine and (other or s.iteration <= run.position):
            if s.iteration >= self.tentative.position:
                return self._confirm(s, line)
            self._drop()
        elif self.tentative is not None and not other:
            if self.tentative.thread != run.thread:
                _note(run.others, self.tentative.thread or b"")
            self._drop()
        if other and (back or again or s.thread in run.others):
            if again:
                _note(run.others, s.thread)
            return self._tentatively(s, line, back)
        if back:
            if self._leapt(run, s.iteration):
                self.regretted += min(run.forget(), 1)
            else:
                return self._tentatively(s, line, back)
        self._speaking = run
        return self._taken_by(run, s, line)

    @staticmethod
    def _leapt(run: Run, iteration: int) -> bool:
        """The run's last iteration is a damaged number: said only once, far ahead, and now it goes on from before."""
        return bool(
            run.loss
            and run.lr
            and len(run.spoken) == 1
            and 0 <= run.previous <= iteration
            and run.position - run.previous >= _LEAP * max(iteration - run.previous, 1)
        )

    def _tentatively(self, s: Statement, line: int, back: bool) -> Use:
        self._drop()
        self.tentative = self._speaking = Run(line, thread=s.thread, rank=s.rank)
        self._goes_back, self._taken = back, 0
        return self._taken_by(self.tentative, s, line)

    def _confirm(self, s: Statement, line: int) -> Use:
        run = self.tentative
        assert run is not None
        self._speaking = run
        before = run.position
        use = self._taken_by(run, s, line)
        assert self.run is not None
        if s.iteration > before and (self._goes_back or before > self.run.position):
            self._promote()
            return Use.USED
        return use

    def _drop(self) -> None:
        if self.tentative is not None:
            self.regretted += self._taken if self._goes_back else 0
            self.tentative, self._speaking = None, self.run

    def _promote(self) -> None:
        run, self.tentative = self.tentative, None
        self.close_run()
        self.run = self._speaking = run

    def spoke_last(self, run: Run) -> None:
        """Iterations of `run` were put in without `say`."""
        self._speaking = run

    def settle(self) -> None:
        """Nothing more comes that could tell what the tentative run is."""
        if self.tentative is None:
            return
        assert self.run is not None
        other = self.tentative.thread != self.run.thread and self.tentative.thread not in self.run.others
        elsewhere = other or (len(self.tentative.spoken) > 1 and self.tentative.thread == self.run.thread)
        ahead = self.tentative.position > self.run.position and len(self.tentative.loss) > 1
        if (self._goes_back and elsewhere) or ahead:
            self._promote()
        else:
            self._drop()

    def close_run(self) -> None:
        run, self.run, self._speaking = self.run, None, None
        if run is None or not run.worth_keeping:
            return
        self.thinned |= run.thinned
        if self.closed and self.closed[-1].net_text == run.net_text:
            run.net_text = self.closed[-1].net_text
        else:
            self._text_kept += len(run.net_text or "")
        self.closed.append(run.logged())
        while len(self.closed) > RUNS_KEPT or (self._text_kept > _TEXT_KEPT and len(self.closed) > 1):
            text = self.closed.popleft().net_text
            self.left_out += 1
            if text is not self.closed[0].net_text:
                self._text_kept -= len(text or "")
