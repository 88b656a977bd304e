"""The ring between two processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from harness.recording import Recording, Window
from harness.recording.consumer import Consumer
from harness.recording.ring import Ring
from harness.recording.writer import Writer
from harness.schemas.events import Frames
from harness.schemas.layout import Layout
from tests.helpers.processes import PATIENCE
from tests.helpers.recordings import fill_ring, frame, layout_of


@contextmanager
def filling(ring: Ring, layout: Layout, count: int) -> Iterator[None]:
    """Put `count` frames into a ring in another process, which must end within the block."""
    child = multiprocessing.get_context("fork").Process(target=fill_ring, args=(ring.fd, layout.encode(), count))
    child.start()
    try:
        yield
        child.join(PATIENCE)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join(PATIENCE)
        child.close()


def test_a_slow_reader_makes_the_writer_wait_and_loses_nothing(tmp_path: Path) -> None:
    """Another process puts 500 frames with a window into a ring that is far too small."""
    layout = layout_of(3, Window(100, 140))
    ring = Ring.create(8192)
    consumer = Consumer(ring, lambda plan: Writer.create(tmp_path / "recording.h5", plan, {"heads": "[]"}))
    with filling(ring, layout, 500):
        seen = 0
        give_up = time.monotonic() + PATIENCE
        while seen < 500:
            assert time.monotonic() < give_up
            seen += sum(len(event.rows) for event in consumer.drain() if isinstance(event, Frames))
            assert ring.head - ring.tail <= ring.capacity
    assert consumer.writer is not None
    consumer.writer.close()
    with Recording(tmp_path) as recording:
        assert list(recording.iterations) == list(range(500))
        assert recording.series("digest")[499] == frame(layout, 499)["digest"][0]
        assert recording.stat("update_l2")["conv2/3x3/0"][77] == 5 + 77
        assert list(recording.output("prob")[5]) == [6, 7, 8]
        assert recording.windows == (Window(100, 140),)
        for t in (100, 139):
            assert np.array_equal(
                recording.gradient(t, "conv1/3x3"),
                np.array([[np.float32(t + 0.4 + row)] * 4 for row in range(3)], np.float32),
            )
