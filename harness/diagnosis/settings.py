"""Find the settings in which two runs differ, from their run.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# These differ between any two runs, or are shown elsewhere: place, time, what was recorded and how the run ended.
_IGNORED = {
    *(
        "format_version",
        "digest_kind",
        "command",
        "directory",
        "started",
        "verified",
        "ended",
        "first",
        "until",
        "windows",
        "capture",
        "solver_file",
        "heads",
    ),
    *("random_seed", "random_seed_drawn", "copied"),  # the seed is in the solver
    *("point", "replayed", "parent.reason", "parent.changes"),  # other data show, and changes are settings
    *("caffe.path", "solver.solver_mode", "solver.snapshot_prefix"),
}


@dataclass(frozen=True)
class Setting:
    """A setting in the run.json of run `a` and of run `b`; None where it is missing. Dots join nested names."""

    name: str
    a: str | None
    b: str | None


def differing_settings(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[Setting, ...]:
    """Return all settings that differ, in the order of the first run's fields."""
    one, two = dict(_flat(a)), dict(_flat(b))
    names = [*one, *(name for name in two if name not in one)]
    return tuple(Setting(n, one.get(n), two.get(n)) for n in names if one.get(n) != two.get(n))


def _flat(fields: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if name == "data" and isinstance(value, Mapping):
            # by place, not by path: the same records may lie elsewhere, and the net's text has the paths
            for number, source in enumerate(value.values(), 1):
                yield from _leaves(f"data #{number}", source)
        else:
            yield from _leaves(name, value)


def _leaves(name: str, value: object) -> Iterator[tuple[str, str]]:
    if name in _IGNORED or value is None or value in ([], ()):
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        yield name, ", ".join(map(str, value))
    else:
        yield name, str(value)
