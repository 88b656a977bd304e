"""The supervisor sleeps until its worker or a user wants something of it."""

import os
import signal
import socket
import time

from harness.supervisor.waiting import Waiting

LONG = 20.0  # seconds


def test_output_a_bell_and_a_signal_end_the_wait_at_once() -> None:
    output, caffe = os.pipe()
    bell, worker = socket.socketpair()
    old = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    started = time.monotonic()
    try:
        with Waiting(output, bell.fileno()) as waiting:
            os.write(caffe, b"Iteration 0")
            assert waiting.wait(LONG)
            assert os.read(output, 100) == b"Iteration 0"
            worker.send(b"\0")
            assert not waiting.wait(LONG)
            os.kill(os.getpid(), signal.SIGUSR1)  # before the wait: it must not be missed
            assert not waiting.wait(LONG)
            assert not waiting.wait(0.01)  # each of them once
            worker.close()
            assert not waiting.wait(LONG)
            assert not waiting.wait(0.01)
            os.close(caffe)
            assert waiting.wait(LONG)
            waiting.ignore_output()
            assert not waiting.wait(0.01)
    finally:
        signal.signal(signal.SIGUSR1, old)
        bell.close()
        os.close(output)
    assert time.monotonic() - started < LONG / 5


def test_a_worker_that_dies_before_it_takes_its_payload_is_one_that_is_gone() -> None:
    output, caffe = os.pipe()
    bell, worker = socket.socketpair()
    bell.send(b"payload")
    try:
        with Waiting(output, bell.fileno()) as waiting:
            worker.close()
            assert not waiting.wait(LONG)  # the connection was reset
            assert not waiting.wait(LONG)  # its end
            assert not waiting.wait(0.01)
    finally:
        bell.close()
        os.close(output)
        os.close(caffe)
