"""`read_log`: any log that a Caffe printed, as a `Log`. `Reader` does the same for one that is still growing."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

from harness.logs import lines as said
from harness.logs.display import Line, Shape, shape, sketch
from harness.logs.halves import Half, begun, may_go_on, together
from harness.logs.model import Log
from harness.logs.statements import Statement, statements
from harness.logs.telling import Telling, Use
from harness.logs.text import Lines, blocks, open_log

_EXAMPLES = 5
_TEXT = 1 << 20  # bytes of one prototxt that are kept
_FIELDS = 200
_AGAIN = 16  # displays that have no known shape, until another one is looked for


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
        self._lines = self._used = self._damaged = self._noise = 0
        self._examples: list[tuple[int, str]] = []
        self._held: Half | None = None  # what may go on in the next line
        self._prototxt: list[bytes] | None = None
        self._prototxt_of, self._prototxt_prefix, self._prototxt_size = "", re.compile(rb""), 0
        self._display: list[Line] = []  # as it is read line by line
        self._sketch: bytes | None = None
        self._alone = 0  # displays that were read line by line
        self._shape: Shape | None = None

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
            examples=tuple(self._examples),
            thinned=telling.thinned or (telling.run is not None and telling.run.thinned),
            left_out=telling.left_out,
        )

    # -- many lines at once -----------------------------------------------------------------------------------------

    def _block(self, block: bytes) -> None:
        position = 0
        while position < len(block) and (self._shape is None or self._line_by_line):
            end = block.index(b"\n", position)
            self._line(block[position:end])
            position = end + 1
        if position >= len(block) or self._shape is None:
            return
        wanted = self._shape
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
        """Displays of one shape, one after the other."""
        self._release()
        run, telling = self._telling.run, self._telling
        columns = list(zip(*rows, strict=True))
        iterations = list(map(int, columns[1]))
        plain = (
            run is not None
            and run.position >= 0
            and telling.tentative is None
            and self._prototxt is None
            and (run.thread, run.rank) == (wanted.thread, wanted.rank)
            and run.position < iterations[0]
            and all(map(operator.lt, iterations, iterations[1:]))
            and all(isinstance(key, str) or run.train.trace(key) is not None for key in wanted.columns)
        )
        if not plain:
            for row in rows:
                for line in row[0].split(b"\n")[:-1]:
                    self._line(line)
            return
        assert run is not None
        for key, column in zip(wanted.columns, columns[2:], strict=False):
            values = list(map(float, column))
            if isinstance(key, str):
                (run.loss if key == "loss" else run.lr).extend(iterations, values)
            else:
                run.train.extend(key, iterations, values)
        run.previous = iterations[-2] if len(iterations) > 1 else run.position
        run.position, run.spoken = iterations[-1], set(wanted.spoken)
        self._lines += wanted.lines * len(rows)
        self._used += wanted.lines * len(rows)
        text = rows[-1][0]
        stamp = said.STAMP.search(text, text.rfind(b"\n", 0, -1) + 1)
        run.seen(self._lines, stamp[1].decode() if stamp else "")
        telling.spoke_last(run)
        self._display = []

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
            found[-1] = last = replace(last, kind="broken", open=False)
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
        if use is Use.USED and line is not None and s.kind in ("loss", "lr", "output") and s.phase != "Test":
            if s.kind != "output" and self._display and self._display[0][1].iteration != s.iteration:
                self._learn()
            self._display.append((line, s))
        else:
            self._learn()
        return use

    def _learn(self) -> None:
        """The shape of the displays, from two alike that were read line by line."""
        display, self._display = self._display, []
        if self._line_by_line or not display:
            return
        self._alone += 1
        if self._shape is not None and self._alone % _AGAIN:
            return
        source = sketch(display)
        if source is None or (self._shape is not None and source == self._shape.source):
            return
        if source == self._sketch:
            self._shape = shape(display, source) or self._shape
        self._sketch = source

    def _without_statement(self, line: bytes, interesting: bool) -> None:
        wanted = interesting or self._prototxt is not None
        header = said.HEADER.search(line) if wanted else None
        if header:
            self._end_prototxt()
        self._release()
        self._learn()
        if self._prototxt is not None:
            self._prototxt_line(line)
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
        else:
            self._noise += lines

    # -- the text of solver and net ---------------------------------------------------------------------------------

    def _begin_prototxt(self, s: Statement, line: bytes) -> None:
        run = self._telling.run
        if run is None or run.under_way or (s.kind == "net" and run.net_text is not None):
            return
        header = said.HEADER.search(line)
        before = line[: header.start()] if header else b""
        self._prototxt, self._prototxt_of, self._prototxt_size = [], s.kind, 0
        digits = rb"\d+".join(re.escape(part) for part in re.split(rb"\d+", before))
        self._prototxt_prefix = re.compile(digits)

    def _prototxt_line(self, line: bytes) -> None:
        assert self._prototxt is not None
        before = self._prototxt_prefix.match(line)
        line = line[before.end() :] if before else line
        self._prototxt_size += len(line) + 1
        if self._prototxt_size <= _TEXT:
            self._prototxt.append(line)

    def _end_prototxt(self) -> None:
        lines, self._prototxt = self._prototxt, None
        run = self._telling.run
        if lines is None or run is None or self._prototxt_size > _TEXT:
            return
        text = b"\n".join(lines).decode(errors="replace").strip("\n")
        if ":" not in text and "{" not in text:  # `...`, where somebody left it out
            return
        if self._prototxt_of == "solver":
            run.solver_text = text + "\n"
        else:
            run.net_text = text + "\n"
