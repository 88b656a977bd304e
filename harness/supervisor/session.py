"""Supervise one run: start the worker, record what it sends, and survive its end."""

from __future__ import annotations

import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.diagnosis.live.health import Health
from harness.errors import BadInput, RecordingFailed
from harness.exit_codes import Exit
from harness.processes import batch_scheduling
from harness.recording import run_directory
from harness.recording.consumer import Consumer
from harness.recording.locks import path_by
from harness.recording.ring import Request, Ring
from harness.recording.snapshots import expected_size, finish_snapshots, has_unfinished
from harness.recording.writer import Writer
from harness.reports.text.exactness import first_difference, verification
from harness.schemas.events import (
    BlasLoaded,
    End,
    Event,
    Frames,
    NoSnapshot,
    NotExact,
    Refused,
    Replayed,
    WeightsCopied,
)
from harness.schemas.layout import Alarm, Layout
from harness.schemas.listener import RunListener
from harness.schemas.outcome import Opening, Outcome
from harness.schemas.run_info import RunInfo
from harness.supervisor.build_failure import build_failure
from harness.supervisor.disk_space import check_disk_space, disk_too_small, mib, recording_sizes
from harness.supervisor.exit_status import Circumstances, ended, outcome_of
from harness.supervisor.health_monitor import HealthMonitor
from harness.supervisor.plan import Plan
from harness.supervisor.process_limits import check_file_sizes
from harness.supervisor.run_place import RunPlace
from harness.supervisor.signals import Interrupts
from harness.supervisor.solver_log import SolverLog
from harness.supervisor.spawn import worker_process
from harness.supervisor.verifier import Verifier

_DRAIN_EVERY = 0.5  # seconds; each drain is one flush, whose cost the solver feels on a small machine
_DRAIN_TO_STOP = 0.1  # seconds, where an alarm is to stop the run
_POLL = 0.05  # seconds between two looks at how full the ring is


class Session:
    """One run of `plan`, followed by `listener`; `health` applies the rules to it, `interrupts` may end it.

    Attributes:
        place: of the run directory, from when it is locked.
        out: the run directory as it was called at the end.
    """

    def __init__(self, plan: Plan, listener: RunListener, health: Health, interrupts: Interrupts) -> None:
        self.plan = plan
        self.listener = listener
        self.interrupts = interrupts
        self.monitor = HealthMonitor(health, plan.out / "snapshots", plan.options.keep_snapshots)
        self.place = RunPlace(plan.out, plan.out)
        self.out = plan.out
        self.info = plan.info
        self.verifier = Verifier(plan.info, plan.out)
        self.ring = Ring.create(plan.options.ring_mib << 20)
        self.consumer = Consumer(self.ring, self._open_writer, listener.event)
        self.failure: RecordingFailed | None = None
        self.no_snapshot: str | None = None  # why one could not be taken
        self.refusal: str | None = None
        self.end: End | None = None
        self.diverged: Alarm | None = None  # at which the run is stopped

    def run(self) -> Outcome:
        """Train, and return when the worker is gone.

        Raises:
            BadInput: the run directory cannot be used.
        """
        out = self.plan.out
        created = run_directory.create(out)
        with (
            self.interrupts.handled(self.ring.request_snapshot),
            run_directory.claim(out) as lock,
            SolverLog(path_by(lock, out) / "solver.log", self.plan.payload.run) as log,
        ):
            self.place = RunPlace(out, path_by(lock, out))
            self.monitor.directory = self.place.path / "snapshots"
            self.log = log
            run_directory.write_info(self.place.path, self.info)
            try:
                with worker_process(self.plan, self.ring, lock) as process, batch_scheduling():
                    self._attend(process)
            except BadInput:
                run_directory.remove(out, created)
                raise
            if self.plan.payload.record_keys is not None:
                Path(self.plan.payload.record_keys).unlink(missing_ok=True)  # the worker died before it could
            self._explain_failed_start(process.returncode)
            self._report_difference(self.verifier.finish())
            self._explain_failed_snapshot(process.returncode)
            outcome = self._outcome(process.returncode)
            if outcome.code == Exit.BAD_INPUT:
                self._abandon_recording()
                with suppress(OSError):  # someone has moved or deleted it
                    run_directory.remove(out, created)
            else:
                outcome = self._close(outcome, process.returncode)
                if self.verifier.result is not None:
                    self.listener.message(verification(self.verifier.result))
            self.out = self.place.current
            self.listener.finish(outcome)
            if outcome.code != Exit.BAD_INPUT:
                self._note_display(outcome)
        return outcome

    # -- while it trains ----------------------------------------------------------------------------------------------

    def _attend(self, process: subprocess.Popen[bytes]) -> None:
        """Empty the log pipe and the ring until the worker is gone, and once more after that."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETFL, os.O_NONBLOCK)
        selector = selectors.DefaultSelector()
        selector.register(pipe, selectors.EVENT_READ)
        drained = 0.0
        every = _DRAIN_TO_STOP if self.plan.options.on_alarm == "stop" else _DRAIN_EVERY
        open_pipe = True
        while True:
            gone = process.poll() is not None
            readable = selector.select(_POLL)
            if gone and not (readable and open_pipe):  # a child that it left behind may hold the pipe open for ever
                break
            if readable and open_pipe and not self._read_log(pipe):
                open_pipe = False
                selector.unregister(pipe)
            self._pass_interrupts_on(process)
            now = time.monotonic()
            full = self.ring.unread > self.ring.capacity // 4
            if full or self.ring.drain_requested or now - drained >= every:
                self._drain()
                drained = now
        self._drain()

    def _check_directory(self) -> None:
        """Check that nobody has deleted the run directory or the recording; if it was moved, the run goes on there."""
        writer = self.consumer.writer
        if self.place.is_deleted:
            self._fail(RecordingFailed(f"{self.plan.out} was deleted while the run went on: nothing of it is kept"))
        elif writer is not None and writer.is_deleted:
            self._fail(RecordingFailed(f"{self.place.current / 'recording.h5'} was deleted while the run went on"))

    def _read_log(self, pipe: int) -> bool:
        """Pass Caffe's output on to solver.log. Returns False at its end."""
        data = os.read(pipe, 1 << 20)
        try:
            self.log.feed(data)
        except RecordingFailed as failure:
            self._fail(failure)
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
        self._check_directory()
        if self.failure is None:
            try:
                for event in self.consumer.drain():
                    self._receive(event)
            except RecordingFailed as failure:
                for event in self.consumer.take_events():
                    self._receive(event)
                self._fail(failure)
            except BadInput as refusal:
                self.refusal = str(refusal)
        if self.failure is not None or self.refusal is not None:  # nothing more is written: the worker may leave
            self.ring.request = Request.QUIT
            for _ in self.ring.messages():
                pass
            self.ring.release()
        self._apply_rules()
        self.monitor.review_snapshots(self.listener.message)
        writer = self.consumer.writer
        self.listener.tick(writer.size if writer else 0)
        self._note_display()

    def _fail(self, failure: RecordingFailed) -> None:
        if self.failure is None:
            self.failure = RecordingFailed(self.place.for_the_user(failure))
            self.listener.message(str(self.failure))

    def _receive(self, event: Event) -> None:
        self.monitor.receive(event)
        self._report_difference(self.verifier.receive(event))
        match event:
            case Layout():
                self._begin(event)
                return  # the listener has received the opening
            case Frames(rows):
                for row in rows[rows["lapse"] > 0]:
                    self.log.loss(int(row["iteration"]), float(row["smoothed_loss"]), float(row["lapse"]))
            case Refused(message):
                self.refusal = message
            case BlasLoaded(blas):
                self.info = msgspec.structs.replace(self.info, blas=blas)
            case Replayed(replay):
                self.info = msgspec.structs.replace(self.info, replayed=replay)
            case NotExact(reason):
                self.info = msgspec.structs.replace(self.info, not_exact=(*self.info.not_exact, reason))
            case WeightsCopied(weights):
                self.info = msgspec.structs.replace(self.info, copied=(*self.info.copied, weights))
            case NoSnapshot(reason):
                self.no_snapshot = reason
                self.listener.message(reason)
            case End():
                self.end = event
                if event.last_loss is not None:
                    self.log.loss(event.iteration, event.last_loss)
            case _:
                pass
        self.listener.event(event)

    def _report_difference(self, found: bool) -> None:
        if found and self.verifier.result is not None:
            self.info = msgspec.structs.replace(self.info, verified=self.verifier.result)
            self.listener.message(first_difference(self.verifier.result, self.info, self.plan.out))
            with suppress(OSError):  # it is written again at the end
                run_directory.write_info(self.place.path, self.info)

    def _apply_rules(self) -> None:
        """Apply the rules to the iterations that have arrived."""
        alarms, divergences = self.monitor.alarms()
        if alarms and self.consumer.writer is not None and self.failure is None:
            try:
                self.consumer.writer.append_alarms(alarms)
            except RecordingFailed as failure:
                self._fail(failure)
        if alarms:
            divergence = self.monitor.divergence(divergences[0]) if divergences else None
            self.listener.alarms(alarms, divergences, divergence)
        if divergences and self.plan.options.on_alarm == "stop" and self.ring.request is Request.GO:
            self.diverged = divergences[0]
            self.ring.request = Request.STOP
            self.listener.message("Diverged: finishing the iteration, and stopping with a snapshot (--on-alarm stop).")
        if self.consumer.writer is not None:
            self.ring.checked_until = max(self.monitor.next, 0)

    def _begin(self, layout: Layout) -> None:
        """The nets are built and the recording is laid out: report how large it will be, and let the worker train."""
        plan = self.plan
        if layout.windows:
            self.ring.populate()
        sizes = recording_sizes(layout, plan.until - plan.first)
        self.listener.start(Opening(plan.out, plan.title, plan.first, plan.until, layout, plan.solver.base_lr, *sizes))
        if self.ring.request is Request.WAIT:
            self.ring.request = Request.GO

    def _open_writer(self, layout: Layout) -> Writer:
        out, iterations = self.plan.out, self.plan.until - self.plan.first
        check_file_sizes(layout, iterations)
        check_disk_space(self.place.path, layout, iterations)
        try:
            return Writer.create(self.place.path / "recording.h5", layout, run_directory.attributes(self.info))
        except RecordingFailed:
            raise disk_too_small(out, layout, iterations) from None

    # -- the end ----------------------------------------------------------------------------------------------------

    def _outcome(self, returncode: int) -> Outcome:
        return outcome_of(
            Circumstances(
                returncode=returncode,
                recording=self.place.current / "recording.h5",
                until=self.plan.until,
                last=self.consumer.writer.last_iteration if self.consumer.writer else -1,
                refusal=self.refusal,
                failure=str(self.failure) if self.failure else self.no_snapshot,
                end=self.end,
                interrupted=self.interrupts.stop is not None,
                at_once=self.interrupts.at_once,
                diverged=self.diverged,
                divergence=self.monitor.divergence(self.diverged) if self.refusal is None else None,
                last_words=tuple(self.log.last_words()),
            )
        )

    def _explain_failed_start(self, returncode: int) -> None:
        """Refuse the input if Caffe ended by itself before the first iteration: nothing was trained."""
        started = self.consumer.writer is not None and self.consumer.writer.last_iteration >= 0
        if started or self.end is not None or self.interrupts.stop or (self.refusal or self.failure) is not None:
            return
        error = build_failure(self.plan.spec.nets, self.log.lines(), returncode)
        self.refusal = str(error) if error else None

    def _explain_failed_snapshot(self, returncode: int) -> None:
        """Report a snapshot that Caffe did not finish before it aborted, and the free space of the disk."""
        if self.end is not None or returncode != -signal.SIGABRT or not has_unfinished(self.place.path / "snapshots"):
            return
        numbers = sum(param.count for param in self.consumer.writer.layout.params) if self.consumer.writer else 0
        size = expected_size(numbers, self.plan.payload.solver_type, self.info.net)
        self.no_snapshot = (
            f"{self.place.current}: Caffe could not write a snapshot of {size / 2**20:.1f} MiB (the disk has "
            f"{mib(shutil.disk_usage(self.place.path).free)} MiB free); nothing of it is left. Free some space and "
            "restart from the last snapshot, or give --out on another disk"
        )

    def _close(self, outcome: Outcome, returncode: int) -> Outcome:
        """Complete the recording and run.json together. Returns the outcome, which is another one if that fails."""
        with suppress(OSError):  # the next reader does it
            finish_snapshots(self.place.path / "snapshots")  # the worker may have died in the middle of one
        writer = self.consumer.writer
        if writer is not None and self.failure is None:
            try:
                writer.close(run_directory.encode_info(self._info_of(outcome)))
            except RecordingFailed as failure:
                self._fail(failure)
                outcome = self._outcome(returncode)
            else:
                return outcome
        self._abandon_recording()
        try:
            run_directory.write_info(self.place.path, self._info_of(outcome))
        except OSError as error:
            if self.place.is_deleted:
                return outcome
            self.listener.message(
                f"{self.place.current / 'run.json'} does not say how the run ended ({error.strerror})"
            )
        return outcome

    def _note_display(self, outcome: Outcome | None = None) -> None:
        """Write down why the user is shown nothing any more; `outcome`: how the run has ended."""
        if self.listener.dropped is None or self.info.display is not None:
            return
        self.info = msgspec.structs.replace(self.info, display=self.listener.dropped)
        with suppress(OSError):  # a full disk, a directory that was deleted: the run itself reports them
            run_directory.write_info(self.place.path, self._info_of(outcome) if outcome else self.info)

    def _abandon_recording(self) -> None:
        if self.consumer.writer is not None:
            self.consumer.writer.abandon()

    def _info_of(self, outcome: Outcome) -> RunInfo:
        return msgspec.structs.replace(self.info, verified=self.verifier.result, ended=ended(outcome, self.end))
