"""State of one run as the supervisor knows it, from its start to its end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import msgspec

from harness.errors import RecordingFailed
from harness.recording import run_directory
from harness.recording.writer import Writer
from harness.schemas.events import BlasLoaded, End, Event, NoSnapshot, NotExact, Refused, Replayed, WeightsCopied
from harness.schemas.layout import Alarm
from harness.schemas.listener import RunListener
from harness.schemas.outcome import Outcome
from harness.schemas.run_info import RunInfo
from harness.supervisor.exit_status import ended
from harness.supervisor.plan import Plan
from harness.supervisor.run_place import RunPlace


@dataclass
class RunState:
    """The run of `plan`, of which `listener` receives messages.

    Attributes:
        place: of the run directory.
        info: run.json, as far as it is known.
        writer: of the recording; None until the nets are built.
        refusal: why nets, weights, state or data could not be used.
        failure: why the recording cannot be written any further.
        no_snapshot: why one could not be taken.
        end: the worker's last message.
        diverged: the alarm at which the run is stopped.
    """

    plan: Plan
    listener: RunListener
    place: RunPlace
    info: RunInfo
    writer: Writer | None = None
    refusal: str | None = None
    failure: RecordingFailed | None = None
    no_snapshot: str | None = None
    end: End | None = None
    diverged: Alarm | None = None

    def receive(self, event: Event) -> None:
        """Note what an event from the worker says about the run."""
        replace = msgspec.structs.replace
        match event:
            case Refused(message):
                self.refusal = message
            case BlasLoaded(blas):
                self.info = replace(self.info, blas=blas)
            case Replayed(replay):
                self.info = replace(self.info, replayed=replay)
            case NotExact(reason):
                self.info = replace(self.info, not_exact=(*self.info.not_exact, reason))
            case WeightsCopied(weights):
                self.info = replace(self.info, copied=(*self.info.copied, weights))
            case NoSnapshot(reason):
                self.no_snapshot = reason
            case End():
                self.end = event
            case _:
                pass

    def fail(self, failure: RecordingFailed) -> None:
        """Note, and tell the user, why the recording cannot be written any further."""
        if self.failure is None:
            self.failure = RecordingFailed(self.place.for_the_user(failure))
            self.listener.message(str(self.failure))

    def note_display(self, outcome: Outcome | None = None) -> None:
        """Write down why the user is shown nothing any more; `outcome`: how the run has ended."""
        if self.listener.dropped is None or self.info.display is not None:
            return
        self.info = msgspec.structs.replace(self.info, display=self.listener.dropped)
        with suppress(OSError):  # a full disk, a directory that was deleted: the run itself reports them
            run_directory.write_info(self.place.path, self.final_info(outcome) if outcome else self.info)

    def final_info(self, outcome: Outcome) -> RunInfo:
        """Return run.json of a run that ended with `outcome`."""
        return msgspec.structs.replace(self.info, ended=ended(outcome, self.end))
