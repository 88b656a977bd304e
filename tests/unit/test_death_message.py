"""What is said of a process that died."""

from __future__ import annotations

import pytest

from harness.caffe_log.death import death_message

_WORKER = [
    "Traceback (most recent call last):",
    '  File "main.py", line 301, in <module>',
    "SystemError: <Boost.Python.function object at 0x1ae84970> returned NULL without setting an exception",
]


@pytest.mark.parametrize(
    "error",
    [
        ["ModuleNotFoundError: No module named 'mylayers'"],
        ["Traceback (most recent call last):", '  File "layers.py", line 3, in setup', "layers.Broken: 3 axes"],
        ["Traceback (most recent call last):", '  File "layers.py", line 3, in setup', "queue.Empty"],
    ],
)
def test_the_error_of_a_python_layer_is_found_above_boosts(error: list[str]) -> None:
    log = ["I20261130 11:20:12.384245 27805 net.cpp:139] Memory required for data: 64", *error, *_WORKER]
    assert death_message(log) == error[-1:]


def test_boosts_error_alone_is_better_than_nothing() -> None:
    assert death_message(_WORKER) == _WORKER[-1:]
