"""Read the log of any Caffe: `read_log` a whole one, `LogReader` one that is still growing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO

from harness.caffe_log import patterns
from harness.caffe_log.bulk_parser import BulkPattern, DisplayBatch, DisplayLearner
from harness.caffe_log.decode import LineSplitter, open_log, read_blocks
from harness.caffe_log.display_pattern import OUTPUTS
from harness.caffe_log.embedded_prototxt import EmbeddedPrototxt
from harness.caffe_log.line_counts import LineCounts
from harness.caffe_log.line_joiner import PartialLine, beginning_in, join, may_continue
from harness.caffe_log.line_parser import Entry, parse_line
from harness.caffe_log.model import Log
from harness.caffe_log.run_tracker import RunTracker, Use

_PASTED_FIELDS = 200


def read_log(source: BinaryIO, name: str) -> Log:
    """Read the log in `source`, which may be compressed by gzip; memory does not grow with its length."""
    reader = LogReader(name)
    for block in read_blocks(source):
        reader.feed(block)
    reader.close()
    return reader.log()


def read_path(path: str) -> Log:
    """Read the log at `path`, or on standard input for `-`.

    Raises:
        BadInput: the log cannot be read.
    """
    with open_log(path) as source:
        return read_log(source, path)


class LogReader:
    """Reads a log in pieces that may end anywhere; `log()` returns the state so far, as often as needed.

    A line counts when it is complete or, if the next line may change its meaning, when that one has been read.
    """

    def __init__(self, name: str, *, line_by_line: bool = False) -> None:
        self._name = name
        self._line_by_line = line_by_line  # for tests: never use a DisplayPattern
        self._splitter = LineSplitter()
        self._tracker = RunTracker()
        self._learner = DisplayLearner()
        self._counts = LineCounts()
        self._partial: PartialLine | None = None  # may continue on the next line
        self._prototxt: EmbeddedPrototxt | None = None
        self._batch: DisplayBatch | None = None  # none between two calls

    def feed(self, data: bytes) -> None:
        """Read the next piece of the log."""
        for block in self._splitter.feed(data):
            self._read_block(block)

    def close(self) -> None:
        """Note the end of the log: count what was held back, and a last line without its newline if it is complete."""
        for block in self._splitter.finish():
            *whole, last = block.split(b"\n")
            for line in whole:
                self._read_line(line)
            if last:
                self._read_line(last, cut=True)
        self._release_partial()
        self._end_prototxt()
        self._tracker.resolve()

    def log(self) -> Log:
        """Return what has been read so far."""
        tracker, counts = self._tracker, self._counts
        runs = list(tracker.closed)
        if tracker.run is not None and tracker.run.worth_keeping:
            runs.append(tracker.run.build())
        retracted = min(tracker.retracted, counts.used)
        held = self._partial.lines - self._partial.used if self._partial else 0
        return Log(
            name=self._name,
            runs=tuple(runs),
            lines=counts.total + self._splitter.too_long,
            used=counts.used - retracted,
            damaged=counts.damaged + retracted,
            noise=counts.noise + held + self._splitter.too_long,
            unassigned=counts.unassigned,
            examples=tuple(counts.examples),
            thinned=tracker.thinned or (tracker.run is not None and tracker.run.thinned),
            left_out=tracker.left_out,
        )

    # -- many lines at once -----------------------------------------------------------------------------------------

    def _read_block(self, block: bytes) -> None:
        if self._line_by_line:
            for line in block.split(b"\n")[:-1]:
                self._read_line(line)
            return
        position = 0
        while position < len(block):
            position = self._read_stretch(block, position)

    def _read_stretch(self, block: bytes, position: int) -> int:
        """Read `block` from `position` on, to its end or until another pattern is learned. Returns the new position."""
        pattern = self._learner.pattern
        waiting: list[re.Match[bytes]] = []  # displays of one form, and other lines after each
        for match in pattern.regex.finditer(block, position):
            if waiting:
                if match.lastindex == waiting[0].lastindex or match.lastindex == pattern.other:
                    waiting.append(match)
                    continue
                self._read_displays(pattern, waiting)
                waiting = []
                if self._learner.pattern is not pattern:
                    self._finish_batch()
                    return match.start()
            if match.lastindex in pattern.displays:
                waiting = [match]
                continue
            self._read_match(pattern, match)
            if self._learner.pattern is not pattern:
                return match.end()
        self._read_displays(pattern, waiting)
        self._finish_batch()
        return len(block)

    def _read_displays(self, pattern: BulkPattern, matches: Sequence[re.Match[bytes]]) -> None:
        """Read displays of one form: at once if they can only belong to the current run, else one by one."""
        if not matches:
            return
        form = pattern.displays[matches[0].lastindex or 0]
        if self._batch is not None and self._batch.add(form, matches):
            return
        self._finish_batch()
        first = matches[0]
        batch = self._begin_batch(first.string[first.start() : first.string.index(b"\n", first.start())])
        if batch is not None and batch.add(form, matches):
            self._learner.end_display()
            self._batch = batch
        elif len(matches) > 1:
            for match in matches:
                if match.lastindex == pattern.other:
                    self._read_match(pattern, match)
                else:
                    self._read_displays(pattern, [match])
        else:
            self._read_lines(first)

    def _read_match(self, pattern: BulkPattern, match: re.Match[bytes]) -> None:
        """Read lines that are no display."""
        if match.lastindex == pattern.other:
            if self._batch is not None:
                self._batch.pass_over(match)
                return
            if self._partial is None and not self._learner.in_display:
                self._read_other_lines(match[0])
                return
        self._finish_batch()
        self._read_lines(match)

    def _read_lines(self, match: re.Match[bytes]) -> None:
        for line in match[0][:-1].split(b"\n"):
            self._read_line(line)

    def _read_other_lines(self, lines: bytes) -> None:
        """Read lines without an entry, which may belong to a prototxt."""
        if self._prototxt is None:
            count = lines.count(b"\n")
            self._counts.total += count
            self._counts.noise += count
            return
        for line in lines[:-1].split(b"\n"):
            if self._prototxt is None or b"]" in line:  # it may have a header
                self._read_line(line)
            else:
                self._prototxt.add(line)
                self._counts.total += 1
                self._counts.used += 1

    def _begin_batch(self, line: bytes) -> DisplayBatch | None:
        """Begin a batch with a display whose first line is `line`; None if it need not be of the current run."""
        if self._partial and not patterns.HEADER.search(line) and join(self._partial, line):
            return None
        self._release_partial()
        run = self._tracker.run
        unclear = self._tracker.tentative is not None or self._prototxt is not None
        return None if run is None or run.iteration < 0 or unclear else DisplayBatch(run)

    def _finish_batch(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        batch.finish(self._counts)
        self._tracker.set_current(batch.run)
        self._learner.note_matches(batch.counts())

    # -- one line ---------------------------------------------------------------------------------------------------

    def _read_line(self, line: bytes, cut: bool = False) -> None:
        self._counts.total += 1
        number = self._counts.total
        if self._partial and not patterns.HEADER.search(line) and self._continue_partial(line):
            return
        interesting = patterns.INTERESTING.search(line)
        entries = parse_line(line) if interesting else []
        if not entries:
            self._read_line_without_entry(line, bool(interesting))
            return
        self._release_partial()
        self._end_prototxt()
        last = entries[-1]
        if cut and last.open:
            entries[-1] = last = last._replace(kind="broken", open=False)
        uses = [self._tracker.add(entry, number) for entry in entries[:-1]]
        if may_continue(last):
            self._partial = PartialLine(last, number, line, Use.USED in uses, (last.raw,))
            if Use.USED in uses:
                self._counts.used += 1
            return
        uses.append(self._add(last, number, line if len(entries) == 1 else None))
        self._counts.add(uses, number, line)
        for entry in entries:
            if entry.kind in ("solver", "net"):
                self._begin_prototxt(entry, line)

    def _add(self, entry: Entry, number: int, line: bytes | None) -> Use:
        """Add an entry of line `number`; `line` is its text if it contains nothing else."""
        use = self._tracker.add(entry, number)
        if self._line_by_line:
            return use
        displayed = entry.kind in ("loss", "lr", *OUTPUTS) or (entry.kind == "test" and entry.iteration >= 0)
        if use is Use.USED and line is not None and displayed:
            self._learner.add(line, entry)
        else:
            self._learner.end_display()
        return use

    def _read_line_without_entry(self, line: bytes, interesting: bool) -> None:
        wanted = interesting or self._prototxt is not None
        header = patterns.HEADER.search(line) if wanted else None
        if header:
            self._end_prototxt()
        self._release_partial()
        if self._learner.in_display and not interesting and patterns.HEADER.search(line):
            self._learner.interrupt()
        else:
            self._learner.end_display()
        if self._prototxt is not None:
            self._prototxt.add(line)
            self._counts.used += 1
            return
        self._partial = beginning_in(line, header, self._counts.total) if interesting else None
        if self._partial:
            return
        fields = None if header or len(line) > 2000 else patterns.FIELDS.match(line)
        if fields and len(self._tracker.pasted_fields) < _PASTED_FIELDS:
            self._tracker.pasted_fields.append(fields[1].decode(errors="replace"))
            self._counts.used += 1
        else:
            self._counts.noise += 1

    def _continue_partial(self, line: bytes) -> bool:
        """Join `line` with the partial line before it, if they belong together."""
        joined = join(self._partial, line) if self._partial else None
        if joined is None:
            return False
        self._partial = joined
        if joined.complete and not may_continue(joined.entry):
            self._release_partial()
        return True

    def _release_partial(self) -> None:
        """Count the partial line as it is: it does not continue."""
        partial, self._partial = self._partial, None
        if partial is None:
            return
        if partial.entry.kind == "begun":
            self._learner.end_display()
            self._counts.noise += partial.lines
            return
        alone = partial.lines == 1 and not partial.used
        use = self._add(partial.entry, partial.number, partial.line if alone else None)
        self._counts.add([use], partial.number, partial.line, 1 - partial.used)
        self._counts.add([use if use is Use.USED else Use.NOISE], partial.number, partial.line, partial.lines - 1)

    # -- the text of solver and net ---------------------------------------------------------------------------------

    def _begin_prototxt(self, entry: Entry, line: bytes) -> None:
        run = self._tracker.run
        if run is not None and not run.under_way and (entry.kind == "solver" or run.net_text is None):
            self._prototxt = EmbeddedPrototxt(entry.kind, line)

    def _end_prototxt(self) -> None:
        prototxt, self._prototxt = self._prototxt, None
        run = self._tracker.run
        text = prototxt.text if prototxt else None
        if prototxt is None or run is None or text is None:
            return
        if prototxt.kind == "solver":
            run.solver_text = text
        else:
            run.net_text = text
