"""One training run while its log is being read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from harness.caffe_log.line_parser import Statement
from harness.caffe_log.model import LoggedOutput, LogRun
from harness.caffe_log.series import KEPT, Trace

_FULL_LENGTH = 64  # outputs that keep KEPT values; the others (a vector is one output a value) keep fewer
_OUTPUTS = 4096
_TEST_NETS = 64
_SNAPSHOTS = 4096
_RARE = 4  # a name seen so many times less often than another at its place is a damaged one

Key = tuple[int, str, float | None]  # place, name, weight


class Outputs:
    """The outputs of one net: a trace for each place, name and weight that was seen."""

    def __init__(self) -> None:
        self.traces: dict[Key, Trace] = {}
        self._newest: dict[int, int] = {}  # iteration of the newest value at a place

    def add(self, key: Key, iteration: int, value: float) -> bool:
        """False: this place has its value already, or there are too many outputs."""
        if self._newest.get(key[0]) == iteration:
            return False
        trace = self.trace(key)
        if trace is None:
            return False
        self._newest[key[0]] = iteration
        trace.append(iteration, value)
        return True

    def trace(self, key: Key) -> Trace | None:
        if key not in self.traces:
            if len(self.traces) >= _OUTPUTS:
                return None
            self.traces[key] = Trace(KEPT if len(self.traces) < _FULL_LENGTH else KEPT >> 7)
        return self.traces[key]

    def extend(self, key: Key, iterations: list[int], values: list[float]) -> None:
        """Like add, for a known key and iterations that grow."""
        self.traces[key].extend(iterations, values)
        self._newest[key[0]] = iterations[-1]

    def forget(self, iteration: int) -> int:
        for place in [place for place, newest in self._newest.items() if newest == iteration]:
            del self._newest[place]
        return sum(trace.forget(iteration) for trace in self.traces.values())

    def logged(self) -> tuple[LoggedOutput, ...]:
        most: dict[int, int] = {}
        for key, trace in self.traces.items():
            most[key[0]] = max(most.get(key[0], 0), len(trace))
        kept = [key for key, trace in self.traces.items() if trace and len(trace) * _RARE > most[key[0]]]
        kept.sort(key=lambda key: key[0])
        return tuple(LoggedOutput(name, place, weight, self.traces[place, name, weight].series())
                     for place, name, weight in kept)  # fmt: skip


@dataclass
class Run:
    """A run so far. `position` is the last iteration it spoke of, `previous` the one before, `spoken` what was said of
    the last one: loss, lr, test."""

    first_line: int
    started: str | None = None
    loss: Trace = field(default_factory=Trace)
    lr: Trace = field(default_factory=Trace)
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
    position: int = -1
    previous: int = -1
    spoken: set[str] = field(default_factory=set)
    thread: bytes | None = None  # of the solver that is read, where several speak
    rank: bytes = b""
    testing: tuple[int, int] | None = None  # test net, iteration
    announced: bool = False  # its solver said that it begins
    others: set[bytes] = field(default_factory=set)  # threads of other solvers of this run
    ranks: set[bytes] = field(default_factory=set)  # and marks of others

    @property
    def under_way(self) -> bool:
        """Something happened in it after which only another run can begin."""
        return self.position >= 0 or self.finished or self.fatal is not None

    @property
    def worth_keeping(self) -> bool:
        """It is a run: it displayed or tested something, or died, or said (no source code does) that it begins."""
        begun = self.announced and (self.started is not None or self.solver_text is not None)
        shown = bool(self.loss or self.lr or any(net.traces for net in self.tests))
        return shown or begun or self.fatal is not None

    def seen(self, line: int, stamp: str) -> None:
        """A line of it was read."""
        self.last_line = line
        if stamp:
            self.started = self.started or stamp
            self.last = stamp

    def at(self, iteration: int, kind: str) -> None:
        """`kind` was said of `iteration`."""
        if iteration != self.position:
            self.previous, self.position = self.position, iteration
            self.spoken.clear()
        self.spoken.add(kind)

    def take(self, s: Statement) -> bool:
        """Put in what `s` says, if it is new and can be used."""
        if s.kind in ("loss", "lr"):
            self.at(s.iteration, s.kind)
            trace = self.loss if s.kind == "loss" else self.lr
            if trace.last == s.iteration:
                return False
            trace.append(s.iteration, s.value)
            return True
        if s.kind == "test":
            iteration = s.iteration if s.iteration >= 0 else self.position
            if iteration < 0 or s.place >= _TEST_NETS:
                return False
            self.at(iteration, "test")
            self.testing = (s.place, iteration)
            return True
        if s.kind == "output" and s.phase == "Train":
            return bool(self.loss) and self.train.add((s.place, s.name, s.weight), self.loss.last, s.value)
        if s.kind in ("output", "score"):
            return self._test_output(s)
        return self._note(s)

    def _test_output(self, s: Statement) -> bool:
        if self.testing is None:
            return False
        net, iteration = self.testing
        while len(self.tests) <= net:
            self.tests.append(Outputs())
        return self.tests[net].add((s.place, s.name, s.weight), iteration, s.value)

    def _note(self, s: Statement) -> bool:
        if s.kind == "snapshot":
            self.snapshots.append((s.iteration if s.iteration >= 0 else max(self.position, 0), s.name[:1000]))
        elif s.kind == "resume":
            self.resumed_from = s.name[:1000]
        elif s.kind == "weights" and s.name not in self.weights_from and len(self.weights_from) < 100:
            self.weights_from.append(s.name[:1000])
        elif s.kind == "done":
            self.finished = True
        elif s.kind == "fatal":
            self.fatal = self.fatal or s.name
        return True

    def net(self, number: int) -> Outputs:
        """The train net for -1, or test net `number`."""
        return self.train if number < 0 else self.tests[number]

    def has(self, net: int, key: Key) -> bool:
        """There is room for that output."""
        return net < len(self.tests) and self.net(net).trace(key) is not None

    def forget(self) -> int:
        """Drop what was said of the last iteration, whose number is a damaged one; how many values that were."""
        wrong, self.position = self.position, self.previous
        if self.testing and self.testing[1] == wrong:
            self.testing = None
        nets = (self.train, *self.tests)
        return self.loss.forget(wrong) + self.lr.forget(wrong) + sum(net.forget(wrong) for net in nets)

    @property
    def thinned(self) -> bool:
        return self.loss.thinned or self.lr.thinned or any(t.thinned for t in self.train.traces.values())

    def logged(self) -> LogRun:
        return LogRun(
            loss=self.loss.series(),
            lr=self.lr.series(),
            outputs=self.train.logged(),
            tests=tuple(net.logged() for net in self.tests),
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
            others=len(self.others) + len(self.ranks),
        )
