"""Parse long stretches of a log at once: most of it is the same display again and again with other numbers.

A `BulkPattern` is one regular expression for all forms of display that the log has shown so far, and for other output.
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import itemgetter, lt

from harness.caffe_log import patterns
from harness.caffe_log.display_pattern import OUTPUTS, DisplayPattern, Line, Row, matches, pattern_of
from harness.caffe_log.line_counts import LineCounts
from harness.caffe_log.line_parser import Entry
from harness.caffe_log.runs import Column, RunBuilder

_KNOWN = 4  # forms of display that are known at a time
_CONSIDERED = 4  # unmatched displays with which the next one is compared
_ATTEMPTS = 16  # displays that are considered, and then one of as many: writing a pattern takes time
_OTHER_LINES = rb"((?:(?!" + patterns.BEGINS_WITH_FIELD + rb")" + patterns.UNINTERESTING + rb"\n){1,50})"


@dataclass(frozen=True, eq=False)
class KnownDisplay:
    """A form of display in a BulkPattern: the numbers of the groups with its iteration and its values."""

    pattern: DisplayPattern
    groups: tuple[int, ...]


@dataclass(frozen=True)
class BulkPattern:
    """A pattern for a display, several lines without an entry or the beginning of a prototxt, or any one line.

    Attributes:
        displays: by the number of the last group that each has.
        other: the number of the group for lines without an entry.
    """

    regex: re.Pattern[bytes]
    displays: Mapping[int, KnownDisplay]
    other: int

    @classmethod
    def of(cls, known: Sequence[DisplayPattern]) -> BulkPattern:
        displays: dict[int, KnownDisplay] = {}
        group = 1
        for pattern in known:
            last = group + len(pattern.columns)
            displays[last] = KnownDisplay(pattern, tuple(range(group, last + 1)))
            group = last + 1
        parts = [pattern.numbered(number) for number, pattern in enumerate(known)]
        return cls(re.compile(rb"|".join([*parts, _OTHER_LINES, rb"([^\n]*\n)"])), displays, group)


@dataclass
class _Rows:
    iterations: array[int] = field(default_factory=lambda: array("q"))
    texts: list[Row] = field(default_factory=list)


class DisplayBatch:
    """Displays of `run` with increasing iterations, and other lines after them, which are added to it at once."""

    def __init__(self, run: RunBuilder) -> None:
        self.run = run
        self._forms: dict[KnownDisplay, _Rows] = {}
        self._previous, self._iteration, self._kinds = run.previous, run.iteration, frozenset(run.kinds)
        self._last: re.Match[bytes] | None = None
        self._noise = self._trailing = 0  # other lines in all, and after the last display

    def add(self, form: KnownDisplay, matches: Sequence[re.Match[bytes]]) -> bool:
        """Add displays of one form, and lines without an entry after each; False if they need not all be of the run."""
        shown = [match for match in matches if match.lastindex == form.groups[-1]]
        rows, pattern = [match.group(*form.groups) for match in shown], form.pattern
        iterations = array("q", map(int, map(itemgetter(0), rows)))
        follow = iterations[0] > self._iteration or self._completes(pattern, iterations[0])
        if not follow or not all(map(lt, iterations, iterations[1:])):
            return False
        if form not in self._forms and not pattern.fits(self.run):
            return False
        self._note_iterations(iterations, pattern.kinds)
        known = self._forms.setdefault(form, _Rows())
        known.iterations.extend(iterations)
        known.texts += rows
        self._last = shown[-1]
        if pattern.noisy:
            self._noise += sum(map(_lines, shown)) - pattern.lines * len(shown)
        self._trailing = 0
        if len(shown) < len(matches):
            self._noise += sum(_lines(match) for match in matches if match.lastindex != form.groups[-1])
            after = takewhile(lambda match: match is not self._last, reversed(matches))
            self._trailing = sum(map(_lines, after))
        return True

    def _note_iterations(self, iterations: array[int], kinds: frozenset[str]) -> None:
        if iterations[0] > self._iteration or len(iterations) > 1:
            self._previous = iterations[-2] if len(iterations) > 1 else self._iteration
            self._kinds = kinds
        else:
            self._kinds |= kinds
        self._iteration = iterations[-1]

    def _completes(self, pattern: DisplayPattern, iteration: int) -> bool:
        """Check whether the display is a test pass of the last iteration, or follows its test pass."""
        new = self._last is not None or all(self.run.last_of(column) < iteration for column in pattern.columns)
        return iteration == self._iteration and new and not self._kinds & pattern.kinds

    def pass_over(self, match: re.Match[bytes]) -> None:
        """Note lines without an entry after the last display."""
        lines = _lines(match)
        self._noise += lines
        self._trailing += lines

    def finish(self, counts: LineCounts) -> None:
        """Add the displays to the run, and count the lines."""
        run, last = self.run, self._last
        assert last is not None
        for column, (iterations, texts) in self._columns().items():
            run.extend(column, iterations, map(float, texts))
        run.previous, run.iteration, run.kinds = self._previous, self._iteration, set(self._kinds)
        passes = [
            (form.pattern.test_net, rows.iterations[-1])
            for form, rows in self._forms.items()
            if form.pattern.test_net is not None
        ]
        run.test_pass = max(passes, key=itemgetter(1), default=run.test_pass)
        used = sum(form.pattern.lines * len(rows.texts) for form, rows in self._forms.items())
        counts.used += used
        counts.noise += self._noise
        counts.total += used + self._noise
        begin = last.string.rfind(b"\n", last.start(), last.end() - 1) + 1
        stamp = patterns.STAMP.search(last.string, max(begin, last.start()), last.end())
        run.note_line(counts.total - self._trailing, stamp[1].decode() if stamp else "")

    def _columns(self) -> dict[Column, tuple[Sequence[int], Sequence[bytes]]]:
        """Return the iterations and texts of each column, in order also if several forms of display have it."""
        columns: dict[Column, tuple[Sequence[int], Sequence[bytes]]] = {}
        for form, rows in self._forms.items():
            _, *several = zip(*rows.texts, strict=True)
            for column, texts in zip(form.pattern.columns, several, strict=True):
                if column in columns:
                    before, earlier = columns[column]
                    both = sorted(zip((*before, *rows.iterations), (*earlier, *texts), strict=True))
                    columns[column] = [iteration for iteration, _ in both], [text for _, text in both]
                else:
                    columns[column] = rows.iterations, texts
        return columns

    def counts(self) -> Mapping[DisplayPattern, int]:
        """Return the number of displays of each form."""
        return {form.pattern: len(rows.texts) for form, rows in self._forms.items()}


def _lines(match: re.Match[bytes]) -> int:
    return match.string.count(b"\n", match.start(), match.end())


class DisplayLearner:
    """Learns forms of display: each from two similar ones that were parsed line by line."""

    def __init__(self) -> None:
        self.pattern = BulkPattern.of(())
        self._known: dict[DisplayPattern, int] = {}  # displays that each matched
        self._display: list[Line] = []  # the lines of the current display
        self._noisy = self._interrupted = False  # there was other output in it, or since its last line
        self._unmatched = 0  # displays that were parsed line by line
        self._considered: deque[DisplayPattern] = deque(maxlen=_CONSIDERED)

    @property
    def in_display(self) -> bool:
        return bool(self._display)

    def add(self, line: bytes, entry: Entry) -> None:
        """Add a loss, lr, output, score or beginning of a test pass that is on a line of its own."""
        if entry.kind not in OUTPUTS and self._display and self._display[0][1].iteration != entry.iteration:
            self.end_display()
        self._noisy = bool(self._display) and (self._noisy or self._interrupted)
        self._interrupted = False
        self._display.append((line, entry))

    def interrupt(self) -> None:
        """Note a line of other output, after which the display may continue."""
        self._interrupted = True

    def note_matches(self, counts: Mapping[DisplayPattern, int]) -> None:
        """Note how many displays each known pattern matched."""
        for pattern, count in counts.items():
            if pattern in self._known:
                self._known[pattern] += count

    def end_display(self) -> None:
        """Learn from the current display, which is complete."""
        display, self._display = self._display, []
        if not display:
            return
        self._unmatched += 1
        if self._unmatched > _ATTEMPTS and self._unmatched % _ATTEMPTS:
            return
        pattern = pattern_of(display, self._noisy)
        if pattern is None or pattern in self._known:
            return
        if pattern in self._considered and matches(pattern, display):
            self._learn(pattern)
        else:
            self._considered.append(pattern)

    def _learn(self, pattern: DisplayPattern) -> None:
        if len(self._known) >= _KNOWN:
            del self._known[min(self._known, key=self._known.__getitem__)]
        self._known[pattern] = 0
        self.pattern = BulkPattern.of(tuple(self._known))
