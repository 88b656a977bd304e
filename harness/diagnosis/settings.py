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
        if name == "data" and isinstance(value, Mapping):
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
