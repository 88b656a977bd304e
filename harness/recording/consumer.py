"""Empty the ring buffer into the recording, and report what arrived."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.recording.ring import Kind, Message, Ring
from harness.recording.writer import Writer
from harness.schemas.events import Activations, Event, Frames, Kept, SnapshotBegins, TestPass, decode_note
from harness.schemas.layout import Layout, frames_of


class Consumer:
    """Reads `ring` and writes through the Writer that `open_writer` creates once the layout is known.

    `kept` is called at once with the arrays of a window; they are not among the events of `drain`, because their bytes
    are gone when it returns.

    The space of a message is released only after the file was flushed with it. After a kill, the process that goes on
    finds it either in the file or in the ring.
    """

    def __init__(
        self, ring: Ring, open_writer: Callable[[Layout], Writer], kept: Callable[[Kept], None] = lambda kept: None
    ) -> None:
        self.ring = ring
        self._open_writer, self._kept = open_writer, kept
        self.writer: Writer | None = None
        self._pending: list[memoryview] = []
        self._activations: list[Message] = []
        self._events: list[Event] = []
        self._sync = False  # to the disk, at the next flush

    def drain(self) -> list[Event]:
        """Write everything that is in the ring now. Returns the events.

        Raises:
            RecordingFailed: the disk is full. Nothing that was written before is lost.
        """
        for message in self.ring.messages():
            self._events += self._take(message)
            if self.ring.unreleased > self.ring.capacity // 4:
                self._events += self._commit()
        self._events += self._commit()
        return self.take_events()

    def take_events(self) -> list[Event]:
        """Return the events not returned yet: after a failed `drain`, those written before it failed."""
        events, self._events = self._events, []
        return events

    def _take(self, message: Message) -> list[Event]:
        if message.kind is Kind.LAYOUT:
            layout = Layout.decode(message.payload)
            self.writer = self.writer or self._open_writer(layout)
            return [layout]
        if message.kind is Kind.NOTE:
            note = decode_note(message.payload)
            self._sync = self._sync or isinstance(note, SnapshotBegins)
            return [note]
        writer = self.writer
        if writer is None:
            raise ValueError(f"{message.kind.name} arrived before the layout")
        if message.kind is Kind.FRAME:
            self._pending.append(message.payload)
            if writer.layout.in_window(message.iteration) and message.iteration > writer.last_window_iteration:
                writer.complete_window_iteration(message.iteration)
        elif message.kind is Kind.SLAB and message.iteration > writer.last_window_iteration:
            self._kept(Kept(message.iteration, writer.write_slab(message.index, message.start, message.payload)))
        elif message.kind is Kind.ACTIVATION:
            self._activations.append(message)
        elif message.kind is Kind.TEST:
            outputs = np.frombuffer(message.payload, "<f4").copy()
            writer.append_test_pass(message.index, message.iteration, outputs)
            return [TestPass(message.index, message.iteration, outputs)]
        return []

    def _commit(self) -> list[Event]:
        if not self.ring.unreleased:
            return []
        events: list[Event] = []
        if self.writer is not None:
            if self._pending:
                frames = frames_of(self._pending, self.writer.layout)
                self.writer.append_frames(frames)
                events.append(Frames(frames))
                self._pending = []
            if self._activations:
                values = np.frombuffer(b"".join(m.payload for m in self._activations), "<f8")
                values = values.reshape(len(self._activations), len(self.writer.layout.activations), -1)
                iterations = tuple(m.iteration for m in self._activations)
                self.writer.append_activations(iterations, values)
                events.append(Activations(iterations, values))
                self._activations = []
            self.writer.flush()
            if self._sync:
                self.writer.sync()
                self._sync = False
        self.ring.release()
        return events
