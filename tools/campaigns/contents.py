"""Everything that a recording says, read through `Recording`, and a comparison with what it said undamaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.recording import Recording, RecordingError
from harness.schemas.layout import ACTIVATION_STATS, INPUT_STATS, STATS

Contents = Mapping[str, Any]
_SERIES = ("iteration", "lr", "loss", "smoothed_loss", "seconds", "digest")
_PROPERTIES = (
    "attributes",
    "params",
    "blobs",
    "inputs",
    "outputs",
    "heads",
    "relus",
    "goes_on_from",
    "alarms",
    "test_nets",
    "window_iterations",
)


def contents(run: Recording) -> Contents:
    """Read a recording part by part: arrays as bytes, and the RecordingError where a part cannot be read."""
    found = {name: _value(getattr, run, name) for name in _PROPERTIES}
    found |= {f"series {name}": _value(run.series, name) for name in _SERIES}
    for name in STATS:
        found[f"stat {name}"] = _value(lambda n: run.stat(n).values, name)
    for name in INPUT_STATS:
        found[f"input_stat {name}"] = _value(lambda n: run.input_stat(n).values, name)
    for name in ACTIVATION_STATS:
        found[f"activation {name}"] = _value(lambda n: run.activation(n).values, name)
    found["activations at"] = _value(lambda n: run.activation(n).iterations, "max")
    for name in _names(found["outputs"]):
        found[f"output {name}"] = _value(run.output, name)
    for net in range(found["test_nets"] if isinstance(found["test_nets"], int) else 0):
        found[f"test {net}"] = _value(run.test_outputs, net)
        for name in _names(found[f"test {net}"]):
            found[f"test {net} {name}"] = _value(run.test, name, net)
    if not isinstance(found["window_iterations"], RecordingError):
        for t in run.window_iterations.tolist():
            found |= _window(run, t, _names(found["params"]), _names(found["blobs"]))
    return found


def silently_wrong(found: Contents, original: Contents) -> list[str]:
    """Name the parts that were read without an error, and are not as they were."""
    return [
        name
        for name, value in found.items()
        if not isinstance(value, RecordingError) and (name not in original or value != original[name])
    ]


def _window(run: Recording, t: int, params: tuple[Any, ...], blobs: tuple[Any, ...]) -> Contents:
    found = {f"keys {t}": _value(run.keys, t)}
    for read in (run.weight, run.gradient, run.update):
        found |= {f"{read.__name__} {t} {p.label}": _value(read, t, p.layer, p.index) for p in params}
    return found | {f"input {t} {blob.name}": _value(run.input, t, blob.name) for blob in blobs}


def _names(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()


def _value(read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        value = read(*arguments)
    except RecordingError as error:
        return error
    if isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
        return [(part.shape, part.tobytes()) for part in value]
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
