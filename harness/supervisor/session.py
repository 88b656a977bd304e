"""Supervise one run: start the worker, record what it sends, and survive its end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from harness.diagnosis.live.health import Health
from harness.errors import BadInput, RecordingFailed
from harness.exit_codes import Exit
from harness.processes import batch_scheduling
from harness.recording import run_directory
from harness.recording.black_box import BlackBox
from harness.recording.consumer import Consumer
from harness.recording.locks import path_by
from harness.recording.ring import Request, Ring
from harness.recording.writer import Writer
from harness.reports.text.exactness import first_difference, verification
from harness.schemas.events import (
    End,
    Event,
    Frames,
    NoSnapshot,
)
from harness.schemas.layout import Layout
from harness.schemas.listener import RunListener
from harness.schemas.outcome import Opening, Outcome
from harness.supervisor.disk_space import check_disk_space, disk_too_small
from harness.supervisor.health_monitor import HealthMonitor
from harness.supervisor.plan import Plan
from harness.supervisor.process_limits import black_box_bytes, check_file_sizes
from harness.supervisor.run_end import RunEnd
from harness.supervisor.run_place import RunPlace
from harness.supervisor.run_state import RunState
from harness.supervisor.signals import Interrupts
from harness.supervisor.solver_log import SolverLog
from harness.supervisor.spawn import WaitingWorker
from harness.supervisor.verifier import Verifier
from harness.supervisor.waiting import Waiting
from harness.supervisor.window_keeper import WindowKeeper

_DRAIN_EVERY = 0.5  # seconds; each drain is one flush, whose cost the solver feels on a small machine
_DRAIN_TO_STOP = 0.1  # seconds, where an alarm is to stop the run


class Session:
    """One run of `plan`, followed by `listener`; `health` applies the rules to it, `interrupts` may end it.

    `worker` carries it out.

    Attributes:
        out: the run directory as it was called at the end.
    """

    def __init__(
        self, plan: Plan, listener: RunListener, health: Health, interrupts: Interrupts, worker: WaitingWorker
    ) -> None:
        self.plan = plan
        self.worker = worker
        self.listener = listener
        self.interrupts = interrupts
        self.monitor = HealthMonitor(health, plan.out / "snapshots", plan.options.keep_snapshots)
        self.state = RunState(plan, listener, RunPlace(plan.out, plan.out), plan.info)
        self.out = plan.out
        self.verifier = Verifier(plan.info, plan.out)
        self.ring = Ring.create(plan.options.ring_mib << 20)
        self.box = BlackBox.create(black_box_bytes(plan.options.black_box_mib))
        self.keeper = WindowKeeper(self.box, self.state, plan.keys)
        self.consumer = Consumer(self.ring, self._open_writer, listener.event)

    def run(self) -> Outcome:
        """Train, and return when the worker is gone.

        Raises:
            BadInput: the run directory cannot be used.
        """
        out, state = self.plan.out, self.state
        created = run_directory.create(out)
        with (
            self.interrupts.handled(self.ring.request_snapshot),
            run_directory.claim(out) as lock,
            SolverLog(path_by(lock, out) / "solver.log", self.plan.payload.run) as log,
        ):
            state.place = RunPlace(out, path_by(lock, out))
            self.monitor.directory = state.place.path / "snapshots"
            self.log = log
            run_directory.write_info(state.place.path, state.info)
            payload = self.plan.payload
            if self.plan.keys is not None and payload.record_keys is not None:
                self.plan.keys.write(Path(payload.record_keys))
            try:
                memory = self.ring.fd, self.box.fd
                with self.worker.carry_out(payload.encode(), *memory, lock) as process, batch_scheduling():
                    self._attend(process, self.worker.bell)
            except BadInput:
                run_directory.remove(out, created)
                raise
            if payload.record_keys is not None:
                Path(payload.record_keys).unlink(missing_ok=True)  # the worker died before it could
            self._report_difference(self.verifier.finish())
            state.info = msgspec.structs.replace(state.info, verified=self.verifier.result)
            end = RunEnd(state, self.monitor, self.interrupts, log, process.returncode)
            outcome = end.outcome()
            if outcome.code == Exit.BAD_INPUT:
                end.abandon_recording()
                with suppress(OSError):  # someone has moved or deleted it
                    run_directory.remove(out, created)
            else:
                self.keeper.finish(died=outcome.code == Exit.WORKER_DIED)
                outcome = end.complete(outcome)
                if self.verifier.result is not None:
                    self.listener.message(verification(self.verifier.result))
            self.out = state.place.current
            self.listener.finish(outcome)
            if outcome.code != Exit.BAD_INPUT:
                state.note_display(outcome)
        return outcome

    # -- while it trains ----------------------------------------------------------------------------------------------

    def _attend(self, process: subprocess.Popen[bytes], bell: int) -> None:
        """Empty the log pipe and the ring until the worker is gone, and once more after that."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK)
        due = 0.0  # time of the next drain
        every = _DRAIN_TO_STOP if self.plan.options.stops_at_any else _DRAIN_EVERY
        with Waiting(pipe, bell) as waiting:
            while True:
                gone = process.poll() is not None
                readable = waiting.wait(0 if gone else max(0.0, due - time.monotonic()))
                if gone and not readable:  # a child that it left behind may hold the pipe open for ever
                    break
                if readable and not self._read_log(pipe):
                    waiting.ignore_output()
                self._pass_interrupts_on(process)
                now = time.monotonic()
                if now >= due or self.ring.is_filling or self.ring.drain_requested:
                    self._drain()
                    due = now + every
        self._drain()

    def _check_directory(self) -> None:
        """Check that nobody has deleted the run directory or the recording; if it was moved, the run goes on there."""
        state = self.state
        if state.place.is_deleted:
            state.fail(RecordingFailed(f"{self.plan.out} was deleted while the run went on: nothing of it is kept"))
        elif state.writer is not None and state.writer.is_deleted:
            recording = state.place.current / "recording.h5"
            state.fail(RecordingFailed(f"{recording} was deleted while the run went on"))

    def _read_log(self, pipe: int) -> bool:
        """Pass Caffe's output on to solver.log. Returns False at its end."""
        data = os.read(pipe, 1 << 20)
        try:
            self.log.feed(data)
        except RecordingFailed as failure:
            self.state.fail(failure)
        return bool(data)

    def _pass_interrupts_on(self, process: subprocess.Popen[bytes]) -> None:
        interrupts = self.interrupts
        if interrupts.stop is not None and self.ring.request in (Request.WAIT, Request.GO):
            self.ring.request = Request.STOP
            by, again = ("", "again") if interrupts.stop == signal.SIGINT else (f" by {interrupts.stop.name}", "twice")
            self.listener.message(
                f"Interrupted{by}: finishing the iteration, then taking a snapshot. Press Ctrl-C {again} to stop now."
            )
        if interrupts.at_once:
            process.kill()
        if interrupts.hung_up and interrupts.stop is None:
            interrupts.hung_up = False
            self.listener.message(
                f"SIGHUP: the run continues (--on-hangup continue). `kill {os.getpid()}` ends it with a snapshot."
            )

    def _drain(self) -> None:
        state = self.state
        self._check_directory()
        if state.failure is None:
            try:
                for event in self.consumer.drain():
                    self._receive(event)
            except RecordingFailed as failure:
                for event in self.consumer.take_events():
                    self._receive(event)
                state.fail(failure)
            except BadInput as refusal:
                state.refusal = str(refusal)
        if state.failure is not None or state.refusal is not None:  # nothing more is written: the worker may leave
            self.ring.request = Request.QUIT
            for _ in self.ring.messages():
                pass
            self.ring.release()
        self._apply_rules()
        self.monitor.review_snapshots(self.listener.message)
        self.listener.tick(state.writer.size if state.writer else 0)
        state.note_display()

    def _receive(self, event: Event) -> None:
        self.state.receive(event)
        self.monitor.receive(event)
        self._report_difference(self.verifier.receive(event))
        match event:
            case Layout():
                self._begin(event)
                return  # the listener has received the opening
            case Frames(rows):
                for row in rows[rows["lapse"] > 0]:
                    self.log.loss(int(row["iteration"]), float(row["smoothed_loss"]), float(row["lapse"]))
            case NoSnapshot(reason):
                self.listener.message(reason)
            case End(iteration, _, float(last_loss)):
                self.log.loss(iteration, last_loss)
            case _:
                pass
        self.listener.event(event)

    def _report_difference(self, found: bool) -> None:
        if found and self.verifier.result is not None:
            self.state.info = msgspec.structs.replace(self.state.info, verified=self.verifier.result)
            for text in first_difference(self.verifier.result, self.state.info, self.plan.out):
                self.listener.message(text)
            with suppress(OSError):  # it is written again at the end
                run_directory.write_info(self.state.place.path, self.state.info)
            if self.plan.options.on_difference == "stop":
                self.ring.request = Request.QUIT

    def _apply_rules(self) -> None:
        """Apply the rules to the iterations that have arrived."""
        state = self.state
        alarms, divergences = self.monitor.alarms()
        if alarms and state.writer is not None and state.failure is None:
            try:
                state.writer.append_alarms(alarms)
            except RecordingFailed as failure:
                state.fail(failure)
        options = self.plan.options
        stopping = next((alarm for alarm in divergences if options.stops_at(alarm)), None)
        if alarms:
            divergence = self.monitor.divergence(divergences[0]) if divergences else None
            if divergence is not None:
                divergence = replace(divergence, stops=stopping is not None)
            self.listener.alarms(alarms, divergences, divergence)
            self.keeper.receive(alarms, divergences, divergence)
        if stopping is not None and self.ring.request is Request.GO:
            state.diverged = stopping
            self.ring.request = Request.STOP
            self.listener.message(
                f"Diverged: finishing the iteration, and stopping with a snapshot (--on-alarm {options.on_alarm})."
            )
        if state.failure is None:
            self.keeper.follow()  # while a worker that met a NaN waits
        if state.writer is not None:
            self.ring.checked_until = max(self.monitor.next, 0)

    def _begin(self, layout: Layout) -> None:
        """The nets are built and the recording is laid out: report how large it will be, and let the worker train."""
        plan = self.plan
        sizes = layout.sizes(plan.until - plan.first)
        if layout.windows:
            self.ring.populate(sum(sizes))
        seekable = bool(plan.info.point.of_train_net)
        rate = plan.solver.base_lr
        parent = plan.info.goes_on_from
        self.listener.start(
            Opening(plan.out, plan.title, plan.first, plan.until, layout, rate, *sizes, seekable, parent)
        )
        if self.ring.request is Request.WAIT:
            self.ring.request = Request.GO

    def _open_writer(self, layout: Layout) -> Writer:
        state, iterations = self.state, self.plan.until - self.plan.first
        check_file_sizes(layout, iterations)
        check_disk_space(self.plan.out, layout, iterations)
        attributes = run_directory.attributes(state.info)
        try:
            state.writer = Writer.create(state.place.path / "recording.h5", layout, attributes)
        except RecordingFailed:
            raise disk_too_small(self.plan.out, layout, iterations) from None
        return state.writer
