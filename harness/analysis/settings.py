"""Which settings of two runs differ, from what their run.json says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# What differs between any two runs, or is told elsewhere: the place, the time, what was recorded and how it ended.
_IGNORED = {
    *("command", "directory", "started", "ended", "first", "until", "windows", "capture", "solver_file", "heads"),
    *("random_seed", "random_seed_drawn", "copied"),  # the seed is in the solver
    *("point", "replayed", "parent.reason", "parent.changes"),  # other data show, and changes are settings
    *("caffe.path", "solver.solver_mode", "solver.snapshot_prefix"),
}


@dataclass(frozen=True)
class Setting:
    """A setting as run.json has it in either run; None where it is not there. Nested names are joined by dots."""

    name: str
    a: str | None
    b: str | None


def differing_settings(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Setting, ...]:
    """All settings that differ, in the order of the first run's facts."""
    one, two = dict(_flat(a)), dict(_flat(b))
    names = [*one, *(name for name in two if name not in one)]
    return tuple(Setting(n, one.get(n), two.get(n)) for n in names if one.get(n) != two.get(n))


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if name in ("solver", "net") and isinstance(value, str):
            yield from ((n, v) for n, v in _fields(name, value) if n not in _IGNORED)
        elif name == "test_nets" and isinstance(value, list):
            for number, text in enumerate(value):
                yield from _fields(f"test net #{number}", text)
        elif name == "data" and isinstance(value, Mapping):
            # by place, not by path: the same records may lie elsewhere, and the net's text has the paths
            for number, about in enumerate(value.values(), 1):
                yield from _leaves(f"data #{number}", about)
        else:
            yield from _leaves(name, value)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if name in _IGNORED or value is None or value == []:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value)


def _fields(root: str, text: str) -> Iterator[tuple[str, str]]:
    """The fields of a message as protobuf prints it (one field a line), named by their path.

    A layer is named by its name, a repeated field by its number from the second on.
    """
    path = [root]
    counts: list[dict[str, int]] = [{}]
    layers: dict[str, int] = {}
    for line in map(str.strip, text.splitlines()):
        if line == "}":
            path.pop()
            counts.pop()
            continue
        name, _, value = line.partition(" ")
        opens = value == "{"
        name = name.removesuffix(":")
        if not opens and name == "name" and path[-1].startswith("layer"):
            layer = value.strip('"')
            layers[layer] = layers.get(layer, 0) + 1
            path[-1] = layer if layers[layer] == 1 else f"{layer} #{layers[layer]}"
            continue
        number = counts[-1][name] = counts[-1].get(name, 0) + 1
        unique = name if number == 1 else f"{name} #{number}"
        if opens:
            path.append(unique)
            counts.append({})
        else:
            yield ".".join([*path, unique]), value.strip('"')
