"""`read_log`: any log that a Caffe printed, as a `Log`. `Reader` does the same for one that is still growing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO

from harness.caffe_log import patterns as said
from harness.caffe_log.bulk_parser import Line, Shape, Shapes
from harness.caffe_log.decode import Lines, blocks, open_log
from harness.caffe_log.embedded_prototxt import Printed
from harness.caffe_log.line_joiner import Half, begun, may_go_on, together
from harness.caffe_log.line_parser import Statement, statements
from harness.caffe_log.model import Log
from harness.caffe_log.run_tracker import Telling, Use

_EXAMPLES = 5
_FIELDS = 200


def read_log(source: BinaryIO, name: str) -> Log:
    """The log in `source`, which may be compressed by gzip; memory does not grow with its length."""
    reader = Reader(name)
    for block in blocks(source):
        reader.feed(block)
    reader.close()
    return reader.log()


def read_path(path: str) -> Log:
    """The log at `path`, or of standard input for `-`.

    Raises:
        BadInput: it cannot be read.
    """
    with open_log(path) as source:
        return read_log(source, path)


class Reader:
    """Takes a log in pieces that may end anywhere; `log()` says what is known so far, and can be asked again.

    A line counts once it is whole, and where the next line may change its meaning, once that has come.
    """

    def __init__(self, name: str, *, line_by_line: bool = False) -> None:
        self._name = name
        self._line_by_line = line_by_line  # for tests: never use a Shape
        self._text = Lines()
        self._telling = Telling()
        self._lines = self._used = self._damaged = self._noise = self._orphans = 0
        self._examples: list[tuple[int, str]] = []
        self._held: Half | None = None  # what may go on in the next line
        self._prototxt: Printed | None = None
        self._display: list[Line] = []  # as it is read line by line
        self._noisy = self._interrupted = False  # something else was said in it, or after its last line so far
        self._shapes = Shapes()

    def feed(self, data: bytes) -> None:
        """More of the log."""
        for block in self._text.feed(data):
            self._block(block)

    def close(self) -> None:
        """There is no more: what was held back counts now, and a last line without its newline where it is whole."""
        for block in self._text.rest():
            *whole, last = block.split(b"\n")
            for line in whole:
                self._line(line)
            if last:
                self._line(last, cut=True)
        self._release()
        self._end_prototxt()
        self._telling.settle()

    def log(self) -> Log:
        """What has been read so far."""
        telling = self._telling
        runs = list(telling.closed)
        if telling.run is not None and telling.run.worth_keeping:
            runs.append(telling.run.logged())
        regretted = min(telling.regretted, self._used)
        held = self._held.lines - self._held.used if self._held else 0
        return Log(
            name=self._name,
            runs=tuple(runs),
            lines=self._lines + self._text.long,
            used=self._used - regretted,
            damaged=self._damaged + regretted,
            noise=self._noise + held + self._text.long,
            orphans=self._orphans,
            examples=tuple(self._examples),
            thinned=telling.thinned or (telling.run is not None and telling.run.thinned),
            left_out=telling.left_out,
        )

    # -- many lines at once -----------------------------------------------------------------------------------------

    def _block(self, block: bytes) -> None:
        position = 0
        while position < len(block) and (self._shapes.known is None or self._line_by_line):
            end = block.index(b"\n", position)
            self._line(block[position:end])
            position = end + 1
        if position >= len(block) or self._shapes.known is None:
            return
        wanted = self._shapes.known
        displays: list[tuple[bytes, ...]] = []
        for row in wanted.pattern.findall(block, position):
            if row[0]:
                displays.append(row)
                continue
            if displays:
                self._displays(wanted, displays)
                displays = []
            self._line(row[-1][:-1])
        if displays:
            self._displays(wanted, displays)

    def _displays(self, wanted: Shape, rows: Sequence[tuple[bytes, ...]]) -> None:
        """Displays of one shape, one after the other: those whose iterations grow at once, where nothing is unclear."""
        iterations = [int(row[1]) for row in rows]
        ends = [row for row in range(1, len(rows)) if iterations[row] <= iterations[row - 1]] + [len(rows)]
        begin = 0
        while begin < len(rows):
            self._release()
            if not self._is_plain(wanted, iterations[begin]):
                for line in rows[begin][0].split(b"\n")[:-1]:
                    self._line(line)
                begin += 1
                continue
            end = ends[bisect_right(ends, begin)]
            self._plain_displays(wanted, rows[begin:end], iterations[begin:end])
            begin = end

    def _is_plain(self, wanted: Shape, iteration: int) -> bool:
        """A display of `iteration` can only be the next one of the run."""
        run = self._telling.run
        return (
            run is not None
            and 0 <= run.position < iteration
            and self._telling.tentative is None
            and self._prototxt is None
            and (run.thread, run.rank) == (wanted.thread, wanted.rank)
            and all(isinstance(column, str) or run.has(*column) for column in wanted.columns)
        )

    def _plain_displays(self, wanted: Shape, rows: Sequence[tuple[bytes, ...]], iterations: list[int]) -> None:
        run = self._telling.run
        assert run is not None
        for number, column in enumerate(wanted.columns, 2):
            values = [float(row[number]) for row in rows]
            if isinstance(column, str):
                (run.loss if column == "loss" else run.lr).extend(iterations, values)
            else:
                run.net(column[0]).extend(column[1], iterations, values)
        run.previous = iterations[-2] if len(iterations) > 1 else run.position
        run.position, run.spoken = iterations[-1], set(wanted.spoken)
        run.testing = run.testing if wanted.tested is None else (wanted.tested, iterations[-1])
        lines, used = sum(row[0].count(b"\n") for row in rows), wanted.lines * len(rows)
        self._lines, self._used, self._noise = self._lines + lines, self._used + used, self._noise + lines - used
        text = rows[-1][0]
        stamp = said.STAMP.search(text, text.rfind(b"\n", 0, -1) + 1)
        run.seen(self._lines, stamp[1].decode() if stamp else "")
        self._telling.spoke_last(run)
        self._display = []
        self._shapes.used += len(rows)

    # -- one line ---------------------------------------------------------------------------------------------------

    def _line(self, line: bytes, cut: bool = False) -> None:
        self._lines += 1
        if self._held and not said.HEADER.search(line) and self._continued(line):
            return
        interesting = said.INTERESTING.search(line)
        found = statements(line) if interesting else []
        if not found:
            self._without_statement(line, bool(interesting))
            return
        self._release()
        self._end_prototxt()
        last = found[-1]
        if cut and last.open:
            found[-1] = last = last._replace(kind="broken", open=False)
        uses = [self._telling.say(s, self._lines) for s in found[:-1]]
        if may_go_on(last):
            self._held = Half(last, self._lines, line, Use.USED in uses, (last.raw,))
            if Use.USED in uses:
                self._used += 1
            return
        self._count([*uses, self._say(last, self._lines, line if len(found) == 1 else None)], self._lines, line, 1)
        for s in found:
            if s.kind in ("solver", "net"):
                self._begin_prototxt(s, line)

    def _say(self, s: Statement, number: int, line: bytes | None) -> Use:
        """`line`: what it was read from, if from nothing else."""
        use = self._telling.say(s, number)
        shown = s.kind in ("loss", "lr", "output") or (s.kind == "test" and s.iteration >= 0)
        if use is Use.USED and line is not None and shown:
            if s.kind != "output" and self._display and self._display[0][1].iteration != s.iteration:
                self._learn()
            self._noisy = bool(self._display) and (self._noisy or self._interrupted)
            self._interrupted = False
            self._display.append((line, s))
        else:
            self._learn()
        return use

    def _learn(self) -> None:
        """Of a display that was read line by line."""
        display, self._display = self._display, []
        if self._line_by_line or not display:
            return
        self._shapes.learn(display, self._noisy)

    def _without_statement(self, line: bytes, interesting: bool) -> None:
        wanted = interesting or self._prototxt is not None
        header = said.HEADER.search(line) if wanted else None
        if header:
            self._end_prototxt()
        self._release()
        if self._display and not interesting and said.HEADER.search(line):
            self._interrupted = True  # and the display may go on
        else:
            self._learn()
        if self._prototxt is not None:
            self._prototxt.add(line)
            self._used += 1
            return
        self._held = begun(line, header, self._lines) if interesting else None
        if self._held:
            return
        fields = None if header or len(line) > 2000 else said.FIELDS.match(line)
        if fields and len(self._telling.fields) < _FIELDS:
            self._telling.fields.append(fields[1].decode(errors="replace"))
            self._used += 1
        else:
            self._noise += 1

    def _continued(self, line: bytes) -> bool:
        """`line` is the other half of the one that is held."""
        whole = together(self._held, line) if self._held else None
        if whole is None:
            return False
        self._held = whole
        if whole.complete and not may_go_on(whole.statement):
            self._release()
        return True

    def _release(self) -> None:
        """The line that is held stands for itself."""
        half, self._held = self._held, None
        if half is None:
            return
        if half.statement.kind == "begun":
            self._learn()
            self._noise += half.lines
            return
        alone = half.lines == 1 and not half.used
        use = self._say(half.statement, half.number, half.line if alone else None)
        self._count([use], half.number, half.line, 1 - half.used)
        self._count([use if use is Use.USED else Use.NOISE], half.number, half.line, half.lines - 1)

    def _count(self, uses: Sequence[Use], number: int, line: bytes, lines: int) -> None:
        if Use.USED in uses:
            self._used += lines
        elif Use.DAMAGED in uses:
            self._damaged += lines
            if len(self._examples) < _EXAMPLES:
                self._examples.append((number, line[:200].decode(errors="replace")))
        elif Use.ORPHAN in uses:
            self._orphans += lines
        else:
            self._noise += lines

    # -- the text of solver and net ---------------------------------------------------------------------------------

    def _begin_prototxt(self, s: Statement, line: bytes) -> None:
        run = self._telling.run
        if run is not None and not run.under_way and (s.kind == "solver" or run.net_text is None):
            self._prototxt = Printed(s.kind, line)

    def _end_prototxt(self) -> None:
        printed, self._prototxt = self._prototxt, None
        run = self._telling.run
        text = printed.text if printed else None
        if printed is None or run is None or text is None:
            return
        if printed.kind == "solver":
            run.solver_text = text
        else:
            run.net_text = text
