"""Assign entries to runs: where a run begins, resumes, several solvers in one log, damaged numbers."""

from __future__ import annotations

import re
from collections import deque
from enum import Enum

from harness.caffe_log.line_parser import Entry
from harness.caffe_log.model import LogRun
from harness.caffe_log.runs import RunBuilder

RUNS_KEPT = 1000
_TEXT_KEPT = 32 << 20  # bytes of prototxt of all runs; older runs are dropped
_BEGINNINGS = ("solver", "start", "resume", "weights")
_MOST_OTHERS = 1000  # solvers of one run
_DISPLAYED = ("loss", "lr", "test", "output", "score")
_FIRST_DISPLAYS = 2  # of one rank, after which those of a lower one are no longer waited for
_LEAP = 3  # an iteration this many times further ahead than the next one is a damaged number


class Use(Enum):
    """The class of a line or entry; see Log for the meaning."""

    USED = 1
    DAMAGED = 2
    UNASSIGNED = 3
    NOISE = 4


class RunTracker:
    """The runs of a log, built entry by entry.

    An iteration that goes back may begin another run, be a damaged number, or come from another solver of the same run
    (a second GPU, in forks where each one prints). Its entries go to a tentative run until the next iteration shows
    which it was.
    """

    def __init__(self) -> None:
        self.closed: deque[LogRun] = deque()
        self.left_out = 0
        self.thinned = False
        self.run: RunBuilder | None = None
        self.tentative: RunBuilder | None = None
        self.pasted_fields: list[str] = []  # of a solver, before its log
        self.retracted = 0  # lines that were used, and proved to be damaged
        self._goes_back = False  # the tentative run began with an iteration before the run's last
        self._tentative_lines, self._tentative_last_line = 0, 0  # lines used by the tentative run
        self._current: RunBuilder | None = None  # the run of the last iteration, to which outputs without one belong
        self._text_kept = 0

    def add(self, entry: Entry, line: int) -> Use:
        """Add `entry` of line number `line` to the run that it belongs to."""
        if entry.kind == "broken":
            return Use.DAMAGED
        run = self.run
        if entry.rank and run is not None and entry.rank != run.rank and not self._is_read(run, entry):
            return Use.NOISE
        if entry.kind in _BEGINNINGS:
            return self._begin(entry, line)
        if entry.iteration >= 0 and entry.kind != "snapshot":
            return self._add_iteration(entry, line)
        if entry.kind in ("output", "score", "test"):
            run = self._run_of(entry)
            if run is None:
                return Use.NOISE if entry.kind == "test" else Use.UNASSIGNED
            return self._add_to(run, entry, line)
        if run is None or (entry.kind == "done" and run.iteration < 0 and not run.announced):
            return Use.NOISE
        run.add(entry)
        run.note_line(line, entry.stamp)
        return Use.USED

    @staticmethod
    def _is_read(run: RunBuilder, entry: Entry) -> bool:
        """Decide whether to read the rank of `entry`: of several that display losses, the lowest is read."""
        _note(run.ranks, entry.rank)
        if entry.kind not in _DISPLAYED:  # every rank announces that it begins
            return run.iteration < 0
        if not run.rank:
            run.rank = entry.rank
            return True
        lower = _order(entry.rank) < _order(run.rank)
        if entry.kind != "loss" or not lower or len(run.loss) > _FIRST_DISPLAYS:
            return False
        run.restart(entry.rank)
        return True

    def _begin(self, entry: Entry, line: int) -> Use:
        self.resolve()
        if self.run is not None and self.run.under_way:
            self.close_run()
        if self.run is None or entry.kind == "solver":
            self.run = RunBuilder(line)
        self.run.announced = True
        if entry.rank:
            _note(self.run.ranks, entry.rank)
        self.run.add(entry)
        self.run.note_line(line, entry.stamp)
        return Use.USED

    def _run_of(self, entry: Entry) -> RunBuilder | None:
        """Return the run of an entry without an iteration."""
        if self.tentative and self.run and entry.thread and self.tentative.thread != self.run.thread:
            return self.tentative if entry.thread == self.tentative.thread else self.run
        return self._current or self.run

    def _add_to(self, run: RunBuilder, entry: Entry, line: int) -> Use:
        begins = run.iteration < 0
        used = run.add(entry)
        if used:
            run.note_line(line, entry.stamp)
            if begins and run.solver_text is None and self.pasted_fields:
                run.solver_text, self.pasted_fields = "\n".join(self.pasted_fields) + "\n", []
        if run is not self.tentative:
            if used:
                return Use.USED
            displayed = run.loss if entry.phase == "Train" else run.tests
            return Use.UNASSIGNED if entry.kind in ("output", "score") and not displayed else Use.NOISE
        if used and line > self._tentative_last_line:
            self._tentative_lines, self._tentative_last_line = self._tentative_lines + 1, line
        return Use.USED if used and self._goes_back else Use.NOISE

    def _add_iteration(self, entry: Entry, line: int) -> Use:
        run = self.run
        if run is None or run.iteration < 0:
            run = self.run = run or RunBuilder(line)
            run.thread = entry.thread
            run.rank = run.rank or entry.rank
            self._current = run
            return self._add_to(run, entry, line)
        back, again = entry.iteration < run.iteration, entry.kind == "loss" and entry.iteration == run.loss.last
        other = bool(entry.thread and run.thread and entry.thread != run.thread)
        if self.tentative is not None:
            same_thread = self.tentative.thread == entry.thread
            if same_thread and (other or entry.iteration <= run.iteration):
                if entry.iteration >= self.tentative.iteration:
                    return self._continue_tentative(entry, line)
                self._drop_tentative()
            elif not other:
                if self.tentative.thread != run.thread:
                    _note(run.other_threads, self.tentative.thread or b"")
                self._drop_tentative()
        if other and (back or again or entry.thread in run.other_threads):
            if again:
                _note(run.other_threads, entry.thread)
            return self._begin_tentative(entry, line, back)
        if back:
            if entry.kind == "lr" and entry.iteration + 1 == run.iteration and run.kinds == {"loss"} and not other:
                # NVIDIA's fork displays the last loss as that of max_iter, but not its rate
                run.move_last(entry.iteration)
                return self._add_to(run, entry, line)
            if not self._last_iteration_is_damaged(run, entry.iteration):
                return self._begin_tentative(entry, line, back)
            self.retracted += min(run.drop_last(), 1)
        self._current = run
        return self._add_to(run, entry, line)

    @staticmethod
    def _last_iteration_is_damaged(run: RunBuilder, iteration: int) -> bool:
        """Check whether the last iteration is a damaged number, far ahead, as the run now continues before it."""
        return bool(
            run.loss
            and run.lr
            and len(run.kinds) == 1
            and 0 <= run.previous <= iteration
            and run.iteration - run.previous >= _LEAP * max(iteration - run.previous, 1)
        )

    def _begin_tentative(self, entry: Entry, line: int, back: bool) -> Use:
        self._drop_tentative()
        self.tentative = self._current = RunBuilder(line, thread=entry.thread, rank=entry.rank)
        self._goes_back, self._tentative_lines = back, 0
        return self._add_to(self.tentative, entry, line)

    def _continue_tentative(self, entry: Entry, line: int) -> Use:
        run = self.tentative
        assert run is not None
        assert self.run is not None
        self._current = run
        before = run.iteration
        use = self._add_to(run, entry, line)
        if entry.iteration > before and (self._goes_back or before > self.run.iteration):
            self._confirm_tentative()
            return Use.USED
        return use

    def _drop_tentative(self) -> None:
        if self.tentative is not None:
            self.retracted += self._tentative_lines if self._goes_back else 0
            self.tentative, self._current = None, self.run

    def _confirm_tentative(self) -> None:
        run, self.tentative = self.tentative, None
        self.close_run()
        self.run = self._current = run

    def set_current(self, run: RunBuilder) -> None:
        """Note that iterations were added to `run` directly, not with `add`."""
        self._current = run

    def resolve(self) -> None:
        """Decide about the tentative run, as no further entry can tell what it is."""
        if self.tentative is None:
            return
        assert self.run is not None
        other = self.tentative.thread != self.run.thread and self.tentative.thread not in self.run.other_threads
        another_run = other or (len(self.tentative.kinds) > 1 and self.tentative.thread == self.run.thread)
        ahead = self.tentative.iteration > self.run.iteration and len(self.tentative.loss) > 1
        if (self._goes_back and another_run) or ahead:
            self._confirm_tentative()
        else:
            self._drop_tentative()

    def close_run(self) -> None:
        run, self.run, self._current = self.run, None, None
        if run is None or not run.worth_keeping:
            return
        self.thinned |= run.thinned
        if self.closed and self.closed[-1].net_text == run.net_text:
            run.net_text = self.closed[-1].net_text  # keeps one copy of equal texts
        else:
            self._text_kept += len(run.net_text or "")
        self.closed.append(run.build())
        while len(self.closed) > RUNS_KEPT or (self._text_kept > _TEXT_KEPT and len(self.closed) > 1):
            text = self.closed.popleft().net_text
            self.left_out += 1
            if text is not self.closed[0].net_text:
                self._text_kept -= len(text or "")


def _order(rank: bytes) -> tuple[bool, list[int]]:
    """Return a key that sorts ranks by their numbers; names come last."""
    return not rank[:1].isdigit(), [int(number) for number in re.findall(rb"\d+", rank)]


def _note(seen: set[bytes], who: bytes) -> None:
    if len(seen) < _MOST_OTHERS:
        seen.add(who)
