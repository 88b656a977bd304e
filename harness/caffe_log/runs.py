"""Build one training run while its log is being read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harness.caffe_log.line_parser import Entry
from harness.caffe_log.model import LoggedOutput, LogRun
from harness.caffe_log.series import KEPT, GrowingSeries

_FULL_LENGTH = 64  # outputs that keep KEPT values; the others (a vector is one output per value) keep fewer
_OUTPUTS = 4096  # outputs without a weight, and as many losses, that are kept of a net
_TEST_NETS = 64
_SNAPSHOTS = 4096
_WEIGHTS = 100
_LONGEST_NAME = 1000  # characters of a file name
_RARE = 4  # a name that occurs this many times less often than another with the same number is a damaged one

Key = tuple[int, str, float | None]  # number, name, weight
Column = str | tuple[int, Key]  # "loss", "lr", or an output of the train net (-1) or of a test net


class Outputs:
    """The outputs of one net: a series for each number, name and weight that occurs.

    Attributes:
        left_out: outputs of one display that were not kept, because there are too many.
    """

    def __init__(self) -> None:
        self.series: dict[Key, GrowingSeries] = {}
        self.left_out = 0
        self._newest: dict[int, int] = {}  # output number → iteration of its newest value
        self._losses = 0  # series that have a weight
        self._left_out_at = (-1, 0)  # iteration, outputs of its display that were left out so far

    def add(self, key: Key, iteration: int, value: float) -> bool:
        """Add a value; False if this output already has one for `iteration`, or there are too many outputs."""
        if self._newest.get(key[0]) == iteration:
            return False
        series = self.series_of(key)
        if series is None:
            at, count = self._left_out_at
            self._left_out_at = (iteration, count + 1 if at == iteration else 1)
            self.left_out = max(self.left_out, self._left_out_at[1])
            return False
        self._newest[key[0]] = iteration
        series.append(iteration, value)
        return True

    def series_of(self, key: Key) -> GrowingSeries | None:
        """Return the series of an output, which is created if needed; None if there are too many outputs."""
        series = self.series.get(key)
        if series is None:
            loss = key[2] is not None
            alike = self._losses if loss else len(self.series) - self._losses
            if alike >= _OUTPUTS:
                return None
            self._losses += loss
            series = self.series[key] = GrowingSeries(KEPT if alike < _FULL_LENGTH else KEPT >> 7)
        return series

    def extend(self, key: Key, iterations: Sequence[int], values: Iterable[float]) -> None:
        """Add values of increasing iterations to a known output."""
        self.series[key].extend(iterations, values)
        self._newest[key[0]] = iterations[-1]

    def newest(self, number: int) -> int:
        """Return the iteration of the newest value of output `number`, -1 if there is none."""
        return self._newest.get(number, -1)

    def drop_last(self, iteration: int) -> int:
        """Drop the values of `iteration` if it is the newest; return the number of values dropped."""
        for number in [number for number, newest in self._newest.items() if newest == iteration]:
            del self._newest[number]
        return sum(series.drop_last(iteration) for series in self.series.values())

    def move_last(self, iteration: int, to: int) -> None:
        """Move the values of `iteration`, the newest, to the iteration `to` before it."""
        for number in [number for number, newest in self._newest.items() if newest == iteration]:
            self._newest[number] = to
        for series in self.series.values():
            series.move_last(iteration, to)

    def build(self) -> tuple[LoggedOutput, ...]:
        most: dict[int, int] = {}
        for key, series in self.series.items():
            most[key[0]] = max(most.get(key[0], 0), len(series))
        kept = [key for key, series in self.series.items() if series and len(series) * _RARE > most[key[0]]]
        kept.sort(key=lambda key: key[0])
        return tuple(
            LoggedOutput(name, number, weight, self.series[number, name, weight].series())
            for number, name, weight in kept
        )


@dataclass
class RunBuilder:
    """A run as read so far; for the fields of its log see LogRun.

    Attributes:
        iteration: the last iteration of an entry.
        previous: the iteration before that one.
        kinds: the kinds of entries for the last iteration: loss, lr, test.
    """

    first_line: int
    started: str | None = None
    loss: GrowingSeries = field(default_factory=GrowingSeries)
    lr: GrowingSeries = field(default_factory=GrowingSeries)
    train: Outputs = field(default_factory=Outputs)
    tests: list[Outputs] = field(default_factory=list)
    solver_text: str | None = None
    net_text: str | None = None
    snapshots: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=_SNAPSHOTS))
    resumed_from: str | None = None
    weights_from: list[str] = field(default_factory=list)
    last: str | None = None
    finished: bool = False
    fatal: str | None = None
    last_line: int = 0
    iteration: int = -1
    previous: int = -1
    kinds: set[str] = field(default_factory=set)
    thread: bytes | None = None  # of the solver that is read, if several print
    rank: bytes = b""
    test_pass: tuple[int, int] | None = None  # test net, iteration
    announced: bool = False  # the solver has announced its beginning
    other_threads: set[bytes] = field(default_factory=set)  # of other solvers of this run
    ranks: set[bytes] = field(default_factory=set)  # that the log names

    def restart(self, rank: bytes) -> None:
        """Drop what was displayed, by another solver, in order to read that of `rank`; the header stays."""
        self.rank, self.thread = rank, None
        self.loss, self.lr, self.train, self.tests = GrowingSeries(), GrowingSeries(), Outputs(), []
        self.iteration = self.previous = -1
        self.kinds, self.test_pass = set(), None

    @property
    def under_way(self) -> bool:
        """True if something happened after which only another run can begin."""
        return self.iteration >= 0 or self.finished or self.fatal is not None

    @property
    def worth_keeping(self) -> bool:
        """True if it is a run: it displayed or tested something, died, or began (a quoted source code does not)."""
        begun = self.announced and (self.started is not None or self.solver_text is not None)
        shown = bool(self.loss or self.lr or any(net.series for net in self.tests))
        return shown or begun or self.fatal is not None

    def note_line(self, line: int, stamp: str) -> None:
        """Note that line number `line`, with the time stamp `stamp`, belongs to the run."""
        self.last_line = line
        if stamp:
            self.started = self.started or stamp
            self.last = stamp

    def _reach(self, iteration: int, kind: str) -> None:
        if iteration != self.iteration:
            self.previous, self.iteration = self.iteration, iteration
            self.kinds.clear()
        self.kinds.add(kind)

    def add(self, entry: Entry) -> bool:
        """Add what `entry` tells; False if it is not new or cannot be used."""
        if entry.kind in ("loss", "lr"):
            self._reach(entry.iteration, entry.kind)
            series = self.loss if entry.kind == "loss" else self.lr
            if series.last == entry.iteration:
                return False
            series.append(entry.iteration, entry.value)
            return True
        if entry.kind == "test":
            iteration = entry.iteration if entry.iteration >= 0 else self.iteration
            if iteration < 0 or entry.number >= _TEST_NETS:
                return False
            self._reach(iteration, "test")
            self.test_pass = (entry.number, iteration)
            return True
        if entry.kind == "output" and entry.phase == "Train":
            key = (entry.number, entry.name, entry.weight)
            return bool(self.loss) and self.train.add(key, self.loss.last, entry.value)
        if entry.kind in ("output", "score"):
            return self._add_test_output(entry)
        return self._add_event(entry)

    def _add_test_output(self, entry: Entry) -> bool:
        if self.test_pass is None:
            return False
        net, iteration = self.test_pass
        while len(self.tests) <= net:
            self.tests.append(Outputs())
        return self.tests[net].add((entry.number, entry.name, entry.weight), iteration, entry.value)

    def _add_event(self, entry: Entry) -> bool:
        name = entry.name
        if entry.kind == "snapshot":
            iteration = entry.iteration if entry.iteration >= 0 else max(self.iteration, 0)
            self.snapshots.append((iteration, name[:_LONGEST_NAME]))
        elif entry.kind == "resume":
            self.resumed_from = name[:_LONGEST_NAME]
        elif entry.kind == "weights" and name not in self.weights_from and len(self.weights_from) < _WEIGHTS:
            self.weights_from.append(name[:_LONGEST_NAME])
        elif entry.kind == "done":
            self.finished = True
        elif entry.kind == "fatal":
            self.fatal = self.fatal or name
        return True

    def net(self, number: int) -> Outputs:
        """Return the outputs of the train net for -1, else of test net `number`."""
        return self.train if number < 0 else self.tests[number]

    def extend(self, column: Column, iterations: Sequence[int], values: Iterable[float]) -> None:
        """Add values of increasing iterations to the loss, the rate or a known output."""
        if isinstance(column, str):
            (self.loss if column == "loss" else self.lr).extend(iterations, values)
        else:
            self.net(column[0]).extend(column[1], iterations, values)

    def last_of(self, column: Column) -> int:
        """Return the iteration of the newest loss, rate, or value of an output with that number; -1 without one."""
        if isinstance(column, str):
            return (self.loss if column == "loss" else self.lr).last
        return self.net(column[0]).newest(column[1][0]) if column[0] < len(self.tests) else -1

    def has_room_for(self, net: int, key: Key) -> bool:
        return net < len(self.tests) and self.net(net).series_of(key) is not None

    def drop_last(self) -> int:
        """Drop all values of the last iteration, whose number is damaged; return the number of values dropped."""
        wrong, self.iteration = self.iteration, self.previous
        if self.test_pass and self.test_pass[1] == wrong:
            self.test_pass = None
        nets = (self.train, *self.tests)
        return self.loss.drop_last(wrong) + self.lr.drop_last(wrong) + sum(net.drop_last(wrong) for net in nets)

    def move_last(self, iteration: int) -> None:
        """Move the loss and the outputs displayed last to `iteration`, the one before."""
        self.loss.move_last(self.iteration, iteration)
        self.train.move_last(self.iteration, iteration)
        self.iteration = iteration

    @property
    def thinned(self) -> bool:
        return self.loss.thinned or self.lr.thinned or any(series.thinned for series in self.train.series.values())

    def build(self) -> LogRun:
        return LogRun(
            loss=self.loss.series(),
            lr=self.lr.series(),
            outputs=self.train.build(),
            tests=tuple(net.build() for net in self.tests),
            solver_text=self.solver_text,
            net_text=self.net_text,
            snapshots=tuple(self.snapshots),
            resumed_from=self.resumed_from,
            weights_from=tuple(self.weights_from),
            started=self.started,
            last=self.last,
            finished=self.finished,
            fatal=self.fatal,
            first_line=self.first_line,
            last_line=self.last_line,
            other_solvers=len(self.other_threads) + len(self.ranks - {self.rank}),
            rank=self.rank.decode(errors="replace"),
            outputs_left_out=max(net.left_out for net in (self.train, *self.tests)),
        )
