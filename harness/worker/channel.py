"""The worker's end of the ring buffer: messages to the supervisor, and what it asks for."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.errors import BadInput, RecordingFailed
from harness.recording import run_directory
from harness.recording.black_box import BlackBox
from harness.recording.consumer import Consumer
from harness.recording.kept_window import keep_wanted
from harness.recording.ring import Kind, MessagePayload, Request, Ring
from harness.recording.writer import Writer
from harness.schemas.events import End, NoSnapshot, Note, SnapshotBegins, encode_note
from harness.schemas.layout import Layout
from harness.schemas.run_info import Ended

_SUPERVISOR_DIED = "the supervisor died"
_POLL = 0.005  # seconds between two looks at what the supervisor asks for


class Channel:
    """Sends messages to the supervisor; once it is dead, writes them into the recording in its place."""

    def __init__(self, run: Path, ring: int, box: int, lifeline: int) -> None:
        self.ring = Ring(ring)
        self.box = BlackBox(box)
        self.layout: Layout | None = None
        self.run = run
        self._orphaned = False
        self._lifeline, self._bell = select.poll(), lifeline
        self._lifeline.register(lifeline, select.POLLIN)
        self._successor: Consumer | None = None  # continues the recording
        self._has_taken_over = False
        self._ended = Ended(how=_SUPERVISOR_DIED)  # written if the supervisor is dead

    def alive(self) -> bool:
        """Check whether the supervisor lives: its end of the lifeline closes with it, however it dies."""
        if not self._orphaned:
            self._orphaned = bool(self._lifeline.poll(0))
        return not self._orphaned

    @property
    def request(self) -> Request:
        """The supervisor's current request."""
        return self.ring.request

    def put(self, kind: Kind, payload: MessagePayload, *, iteration: int = 0, index: int = 0, start: int = 0) -> None:
        """Put a message into the ring; if the supervisor is dead, empty the ring into the recording first."""
        if not self.ring.put(kind, payload, iteration=iteration, index=index, start=start, alive=self._has_room_made):
            self._take_over()
            self.ring.put(kind, payload, iteration=iteration, index=index, start=start)
        if self.ring.is_filling:
            self._ring_bell()

    def _has_room_made(self) -> bool:
        """Have the supervisor empty the full ring. Returns False if it is dead."""
        if self.ring.request_drain():
            self._ring_bell()
        return self.alive()

    def _ring_bell(self) -> None:
        """Have the supervisor read the ring now, which it does every half second."""
        with suppress(OSError):  # it has not heard many earlier ones yet, or it is dead
            os.write(self._bell, b"\0")

    def _request_drain(self) -> None:
        self.ring.request_drain()
        self._ring_bell()

    def send(self, note: Note) -> None:
        """Send a note to the supervisor."""
        self.put(Kind.NOTE, encode_note(note))

    def wait_for_start(self) -> bool:
        """Wait until the supervisor has laid the recording out. Returns whether it wants the run to start."""
        self._request_drain()
        while self.request is Request.WAIT and self.alive():
            time.sleep(_POLL)
        return self.request is Request.GO

    def wait_for_rules(self, iteration: int) -> None:
        """Wait until the supervisor has applied the rules to `iteration`, or wants the run to stop."""
        self._request_drain()
        while self.ring.checked_until <= iteration and self.request is Request.GO and self.alive():
            time.sleep(_POLL)

    def record_all(self) -> None:
        """Wait until everything sent so far is in the recording and on the disk."""
        self.send(SnapshotBegins())
        if not self._wait_until_read():
            self._take_over()

    def _wait_until_read(self) -> bool:
        """Wait until the supervisor has read everything. Returns False if it is dead."""
        self._request_drain()
        while self.ring.tail < self.ring.head and self.alive():
            time.sleep(_POLL)
        return self.alive()

    def close(self) -> None:
        """Wait until everything in the ring is written; write it here if the supervisor is dead."""
        if self._wait_until_read():
            return
        self._take_over()
        writer = self._successor.writer if self._successor is not None else None
        if writer is not None and self.layout is not None:
            with suppress(RecordingFailed, OSError):  # nobody is there to be told
                keep_wanted(self.run, self.box, self.layout.kept, writer.last_iteration)
        try:
            info = msgspec.structs.replace(run_directory.read_info(self.run), ended=self._ended)
        except BadInput:  # damaged or deleted: the recording is completed without it
            info = None
        if writer is not None:
            writer.close(None if info is None else run_directory.encode_info(info))
        elif info is not None:
            run_directory.write_info(self.run, info)

    def _take_over(self) -> None:
        """Write what lies in the ring into the recording, as the supervisor would have done."""
        path = self.run / "recording.h5"
        try:
            if not self._has_taken_over:
                self._has_taken_over = True
                self.ring.take_over()
                if self.layout is not None and path.exists():
                    successor = Consumer(self.ring, lambda layout: Writer.take_over(path, layout))
                    successor.writer = Writer.take_over(path, self.layout)
                    self._successor = successor
            if self._successor is not None:
                for event in self._successor.drain():
                    if isinstance(event, End):
                        self._ended = msgspec.structs.replace(
                            self._ended,
                            iteration=event.iteration,
                            weight_digest=event.weight_digest,
                            last_loss=event.last_loss,
                        )
                    elif isinstance(event, NoSnapshot):
                        self._ended = msgspec.structs.replace(self._ended, how=f"{self._ended.how}; {event.reason}")
        except RecordingFailed as failure:
            self._successor = None
            why = str(failure).replace(str(self.run), str(self.run.resolve()))
            self._ended = msgspec.structs.replace(self._ended, how=f"{self._ended.how}; {why}")
        for _ in self.ring.messages():  # those that have no recording to go into
            pass
        self.ring.release()
