"""The harness process's side of a run: start the solver process, write down what it sees, outlive it."""

from __future__ import annotations

import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from harness.errors import BadInput, RecordingFailed
from harness.recording import run_directory as rundir
from harness.recording.consumer import Consumer
from harness.recording.ring import Request, Ring
from harness.recording.writer import SPARE_SPACE, Writer
from harness.schemas.events import End, Event, Frames, Note
from harness.schemas.layout import Alarm, Layout
from harness.schemas.listener import RunListener
from harness.schemas.outcome import Exit, Opening, Outcome
from harness.supervisor.health_monitor import Judge, Judging
from harness.supervisor.plan import Plan
from harness.supervisor.solver_log import SolverLog
from harness.supervisor.spawn import solver_process

_DRAIN_EVERY = 0.5  # seconds; each drain is one flush, whose cost the solver feels on a small machine
_DRAIN_TO_STOP = 0.1  # seconds, where an alarm is to stop the run
_LOOK_EVERY = 0.05  # seconds between looks at how full the ring is


class Session:
    """One run of `plan`, followed by `listener`; `judge` says what becomes of its snapshots."""

    def __init__(self, plan: Plan, listener: RunListener, judge: Judge) -> None:
        self.plan = plan
        self.listener = listener
        self.judging = Judging(judge, plan.out / "snapshots", plan.keep_snapshots)
        self.facts = dict(plan.facts)
        self.ring = Ring.create(plan.ring_bytes)
        self.consumer = Consumer(self.ring, self._open_writer, listener.event)
        self.interrupts = 0
        self.failure: RecordingFailed | None = None
        self.refusal: str | None = None
        self.end: End | None = None
        self.diverged: Alarm | None = None  # at which the run is stopped

    def run(self) -> Outcome:
        """Train, and come back when the solver process is gone.

        Raises:
            BadInput: the run directory cannot be used.
        """
        out = self.plan.out
        made = rundir.create(out)
        with self._signals(), rundir.claim(out) as lock, SolverLog(out / "solver.log") as log:
            self.log = log
            rundir.write_facts(out, self.facts | {"ended": None})
            with solver_process(self.plan, self.facts, self.ring, lock) as process, _after_others():
                self._attend(process)
            (out / ".window_keys.npz").unlink(missing_ok=True)
            self._close_recording()
            outcome = self._outcome(process)
            if outcome.code == Exit.BAD_INPUT:
                rundir.remove(out, made)
            else:
                self._write_ended(outcome)
        self.listener.finish(outcome)
        return outcome

    # -- while it trains ----------------------------------------------------------------------------------------------

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        """Empty the log pipe and the ring until the solver process is gone, and once more after that."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK)
        selector = selectors.DefaultSelector()
        selector.register(pipe, selectors.EVENT_READ)
        drained = 0.0
        every = _DRAIN_TO_STOP if self.plan.on_alarm == "stop" else _DRAIN_EVERY
        open_pipe = True
        while True:
            gone = process.poll() is not None
            said = selector.select(_LOOK_EVERY)
            if gone and not (said and open_pipe):  # a process that it left behind may hold the pipe open for ever
                break
            if said and open_pipe:
                data = os.read(pipe, 1 << 20)
                try:
                    self.log.feed(data)
                except RecordingFailed as failure:
                    self._fail(failure)
                if not data:
                    open_pipe = False
                    selector.unregister(pipe)
            if self.interrupts and self.ring.request in (Request.WAIT, Request.GO):
                self.ring.request = Request.STOP
                self.listener.message(
                    "Interrupted: finishing the iteration, then taking a snapshot. Press Ctrl-C again to stop now."
                )
            if self.interrupts > 1:
                process.kill()
            now = time.monotonic()
            full = self.ring.unread > self.ring.capacity // 4
            if full or self.ring.drain_requested or now - drained >= every:
                self._drain(process)
                drained = now
        self._drain(process)

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        if self.failure is None:
            try:
                for event in self.consumer.drain():
                    self._take(event, process)
            except RecordingFailed as failure:
                for event in self.consumer.take_events():
                    self._take(event, process)
                self._fail(failure)
            except BadInput as refusal:
                self.refusal = str(refusal)
        if self.failure is not None or self.refusal is not None:  # nothing more is written: the solver may leave
            self.ring.request = Request.QUIT
            for _ in self.ring.messages():
                pass
            self.ring.release()
        self._judge()
        self.judging.judge_snapshots(self.listener.message)
        writer = self.consumer.writer
        self.listener.tick(writer.path.stat().st_size if writer else 0)

    def _fail(self, failure: RecordingFailed) -> None:
        if self.failure is None:
            self.failure = failure
            self.listener.message(str(failure))

    def _take(self, event: Event, process: subprocess.Popen[bytes]) -> None:
        self.judging.see(event)
        if isinstance(event, Layout):
            self._begin(event)
        elif isinstance(event, Frames):
            for row in event.rows[event.rows["lapse"] > 0]:
                self.log.loss(int(row["iteration"]), float(row["smoothed_loss"]), float(row["lapse"]))
        elif isinstance(event, Note) and event.what == "bad input":
            self.refusal = event.facts["message"]
        elif isinstance(event, Note) and event.what == "blas":
            self.facts["blas"] = event.facts
        elif isinstance(event, Note) and event.what == "replayed":
            self.facts["replayed"] = event.facts
        elif isinstance(event, Note) and event.what == "not exact":
            self.facts["not_exact"].append(event.facts["reason"])
        elif isinstance(event, Note) and event.what == "weights":
            self.facts.setdefault("copied", []).append(event.facts)
        elif isinstance(event, End):
            self.end = event
            if "last_loss" in event.facts:
                self.log.loss(event.facts["iteration"], event.facts["last_loss"])
        if not isinstance(event, Layout):
            self.listener.event(event)

    def _judge(self) -> None:
        """What do the rules say of the iterations that have come?"""
        alarms, divergences = self.judging.alarms()
        if alarms and self.consumer.writer is not None and self.failure is None:
            try:
                self.consumer.writer.append_alarms(alarms)
            except RecordingFailed as failure:
                self._fail(failure)
        if alarms:
            self.listener.alarms(alarms, divergences, self.judging.divergence(divergences[0]) if divergences else None)
        if divergences and self.plan.on_alarm == "stop" and self.ring.request is Request.GO:
            self.diverged = divergences[0]
            self.ring.request = Request.STOP
            self.listener.message("Diverged: finishing the iteration, and stopping with a snapshot (--on-alarm stop).")
        if self.consumer.writer is not None:
            self.ring.checked_until = max(self.judging.next, 0)

    def _begin(self, layout: Layout) -> None:
        """The nets are built and the recording is laid out: say how large it will be, and let it train."""
        plan = self.plan
        if layout.windows:
            self.ring.populate()
        rate = plan.solver.base_lr
        self.listener.start(Opening(plan.out, plan.title, plan.first, plan.until, layout, rate, *self._sizes(layout)))
        if self.ring.request is Request.WAIT:
            self.ring.request = Request.GO

    def _open_writer(self, layout: Layout) -> Writer:
        window, rows = self._sizes(layout)
        frames = sum(len(w) for w in layout.windows)
        free = shutil.disk_usage(self.plan.out).free
        too_small = BadInput(
            f"the recording needs {_mib(window + rows)} MiB ({_mib(window)} of it for {frames} window iterations) and "
            f"{_mib(SPARE_SPACE)} to spare, and the disk has {_mib(free)} free",
            field="--out",
            value=self.plan.out,
            remedy="Watch fewer iterations, leave something out of --capture, or give --out on another disk",
        )
        if window + rows + SPARE_SPACE > free:
            raise too_small
        try:
            return Writer.create(self.plan.out / "recording.h5", layout, rundir.attributes(self.facts))
        except RecordingFailed:
            raise too_small from None

    def _sizes(self, layout: Layout) -> tuple[int, int]:
        """Bytes that the windows will take, and those that everything recorded at every iteration will take."""
        frames = sum(len(w) for w in layout.windows)
        window = frames * sum(array.nbytes for array in layout.arrays)
        return window, (self.plan.until - self.plan.first) * layout.frame_dtype.itemsize

    # -- the end ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def interrupt(number: int, frame: FrameType | None) -> None:
            self.interrupts += 1

        def snapshot(number: int, frame: FrameType | None) -> None:
            self.ring.request_snapshot()

        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            numbers.append(signal.SIGHUP)
        old = {number: signal.signal(number, interrupt) for number in numbers}
        old[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, snapshot)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _outcome(self, process: subprocess.Popen[bytes]) -> Outcome:
        code = process.returncode
        if self.refusal is not None:
            return Outcome(Exit.BAD_INPUT, self.refusal)
        last = self.consumer.writer.last_iteration if self.consumer.writer else -1
        recording = self.plan.out / "recording.h5"
        upto = f"{recording} holds every iteration up to {last}" if last >= 0 else "no iteration was made"
        divergence = self.judging.divergence(self.diverged)
        if self.failure is not None:
            return Outcome(Exit.RECORDING_FAILED, str(self.failure), divergence=divergence)
        stopped = code == 0 or self.interrupts > 1  # else it died of something else before it could stop
        at = self.end.facts["iteration"] if self.end else -1
        if self.diverged is not None and self.end is not None:
            why = f"Diverged ({self.diverged.rule} at iteration {self.diverged.iteration})"
            return Outcome(Exit.DIVERGED, f"{why}, stopped before iteration {at}; {upto}", divergence=divergence)
        if self.interrupts and stopped and at < self.plan.until:
            return Outcome(Exit.INTERRUPTED, f"Interrupted; {upto}", divergence=divergence)
        if self.end is None:
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            words = tuple(self.log.last_words())
            return Outcome(Exit.SOLVER_DIED, f"The solver process died ({how}); {upto}", words, divergence)
        return Outcome(Exit.DONE, f"Done: iteration {at}; {upto}", divergence=divergence)

    def _close_recording(self) -> None:
        writer = self.consumer.writer
        if writer is None:
            return
        try:
            if self.failure is None:
                writer.close()
        except RecordingFailed as failure:
            self.failure = failure
        if self.failure is not None:
            writer.abandon()

    def _write_ended(self, outcome: Outcome) -> None:
        try:
            rundir.write_facts(self.plan.out, self.facts | {"ended": self._ended(outcome)})
        except OSError as error:
            self.listener.message(f"{self.plan.out / 'run.json'} does not say how the run ended ({error.strerror})")

    def _ended(self, outcome: Outcome) -> dict[str, Any]:
        ended: dict[str, Any] = {"code": int(outcome.code), "how": outcome.sentence, "at": time.strftime("%FT%T%z")}
        ended["onset"] = outcome.divergence.onset if outcome.divergence else None
        if outcome.last_words:
            ended["last_words"] = list(outcome.last_words)
        return ended | (self.end.facts if self.end else {})


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


@contextmanager
def _after_others() -> Iterator[None]:
    """When this process wakes up, it waits for a core instead of taking it from the solver (sched(7), SCHED_BATCH).

    BLAS threads wait for each other: to stop one for a moment stops all of them.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)
