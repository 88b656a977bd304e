"""A worker whose messages fill the ring buffer again and again never waits until its supervisor looks by itself."""

import os
import select
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from harness.recording.black_box import BlackBox
from harness.recording.ring import Kind, Ring
from harness.worker.channel import Channel

LONG = 20.0  # seconds after which the supervisor looks by itself
MESSAGES = 200


def test_the_supervisor_is_woken_up_whenever_the_ring_fills(tmp_path: Path) -> None:
    ring, box = Ring.create(1 << 20), BlackBox.create(0)
    bell, lifeline = socket.socketpair()
    bell.setblocking(False)
    lifeline.setblocking(False)
    received: list[int] = []

    def supervise() -> None:
        while len(received) < MESSAGES:
            if not (ring.is_filling or ring.drain_requested):
                select.select([bell], [], [], LONG)
                with suppress(BlockingIOError):
                    os.read(bell.fileno(), 1 << 12)
            for message in ring.messages():
                received.append(message.iteration)
                if ring.unreleased > ring.capacity // 4:
                    ring.release()
            ring.release()

    supervisor = threading.Thread(target=supervise, daemon=True)
    supervisor.start()
    channel = Channel(tmp_path, ring.fd, box.fd, lifeline.fileno())
    for number in range(MESSAGES):  # some have no room in a ring of which less than a quarter is taken
        started = time.monotonic()
        channel.put(Kind.SLAB, np.zeros(ring.max_payload if number % 3 else 200_000, np.uint8), iteration=number)
        assert time.monotonic() - started < LONG / 5
    channel._request_drain()
    supervisor.join(LONG)
    assert received == list(range(MESSAGES))
    bell.close()
    lifeline.close()
