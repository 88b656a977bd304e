"""End one run after its worker is gone: find out how it ended, and complete the recording and run.json."""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress

from harness.errors import RecordingFailed
from harness.recording import run_directory
from harness.recording.snapshots import expected_size, finish_snapshots, has_unfinished
from harness.schemas.outcome import Outcome
from harness.supervisor.build_failure import build_failure
from harness.supervisor.disk_space import mib
from harness.supervisor.exit_status import Circumstances, outcome_of
from harness.supervisor.health_monitor import HealthMonitor
from harness.supervisor.run_state import RunState
from harness.supervisor.signals import Interrupts
from harness.supervisor.solver_log import SolverLog
from harness.supervisor.unusable_record import unusable_record


class RunEnd:
    """The end of the run `state`, whose worker ended with `returncode` after it had printed `log`."""

    def __init__(
        self, state: RunState, monitor: HealthMonitor, interrupts: Interrupts, log: SolverLog, returncode: int
    ) -> None:
        self._state, self._monitor, self._interrupts, self._log = state, monitor, interrupts, log
        self._returncode = returncode
        self._record = self._unusable_record()
        self._explain_failed_start()
        self._explain_failed_snapshot()

    def outcome(self) -> Outcome:
        """Return how the run ended."""
        state = self._state
        return outcome_of(
            Circumstances(
                returncode=self._returncode,
                recording=state.place.current / "recording.h5",
                until=state.plan.until,
                last=state.writer.last_iteration if state.writer else -1,
                refusal=state.refusal,
                failure=str(state.failure) if state.failure else state.no_snapshot,
                end=state.end,
                interrupted=self._interrupts.stop is not None,
                at_once=self._interrupts.at_once,
                diverged=state.diverged,
                divergence=self._monitor.divergence(state.diverged) if state.refusal is None else None,
                last_words=tuple(self._log.last_words()),
                record=self._record,
            )
        )

    def _unusable_record(self) -> str | None:
        """Name the record at which Caffe died, if it was one."""
        state = self._state
        if state.end is not None or self._returncode != -signal.SIGABRT or self._interrupts.at_once:
            return None
        last = state.writer.last_iteration if state.writer else -1
        return unusable_record(state.plan, max(last, state.plan.first - 1), self._log.last_words())

    def _explain_failed_start(self) -> None:
        """Refuse the input if Caffe ended by itself before the first iteration: nothing was trained."""
        state = self._state
        started = state.writer is not None and state.writer.last_iteration >= 0
        if started or state.end is not None or self._interrupts.stop or (state.refusal or state.failure) is not None:
            return
        error = build_failure(state.plan.spec.nets, self._log.lines(), self._returncode)
        state.refusal = f"{error}{f'. {self._record}' if self._record else ''}" if error else None

    def _explain_failed_snapshot(self) -> None:
        """Report a snapshot that Caffe did not finish before it aborted, and the free space of the disk."""
        state = self._state
        aborted = state.end is None and self._returncode == -signal.SIGABRT
        if not aborted or not has_unfinished(state.place.path / "snapshots"):
            return
        numbers = sum(param.count for param in state.writer.layout.params) if state.writer else 0
        size = expected_size(numbers, state.plan.payload.solver_type, state.info.net)
        state.no_snapshot = (
            f"{state.place.current}: Caffe could not write a snapshot of {size / 2**20:.1f} MiB (the disk has "
            f"{mib(shutil.disk_usage(state.place.path).free)} MiB free); nothing of it is left. Free some space and "
            "restart from the last snapshot, or give --out on another disk"
        )

    def complete(self, outcome: Outcome) -> Outcome:
        """Complete the recording and run.json together. Returns the outcome, which is another one if that fails."""
        state = self._state
        with suppress(OSError):  # the next reader does it
            finish_snapshots(state.place.path / "snapshots")  # the worker may have died in the middle of one
        if state.writer is not None and state.failure is None:
            try:
                state.writer.close(run_directory.encode_info(state.final_info(outcome)))
            except RecordingFailed as failure:
                state.fail(failure)
                outcome = self.outcome()
            else:
                return outcome
        self.abandon_recording()
        try:
            run_directory.write_info(state.place.path, state.final_info(outcome))
        except OSError as error:
            if state.place.is_deleted:
                return outcome
            state.listener.message(
                f"{state.place.current / 'run.json'} does not say how the run ended ({error.strerror})"
            )
        return outcome

    def abandon_recording(self) -> None:
        """Close a recording that is not to be written any further."""
        if self._state.writer is not None:
            self._state.writer.abandon()
