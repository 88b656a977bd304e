"""The names of the faults of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tools.bench.faults.kinds import KINDS
from tools.bench.faults.nets import NETS

_SEEDS, _HEALTHY_SEEDS = 5, 30
_LARGE = "glyphs280"
_NEVER = (
    ("batchnorm", "start-weights"),  # breaks at once, or recovers
    (_LARGE, "start-weights"),  # the same
    (_LARGE, "rate"),  # the same
    (_LARGE, "layer"),  # the same
    (_LARGE, "decay"),  # the loss creeps up
)


@dataclass(frozen=True)
class Fault:
    """A fault of the benchmark."""

    net: str
    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.net}-{self.kind}-{self.seed}"

    @staticmethod
    def parse(name: str) -> Fault:
        net, _, rest = name.partition("-")
        kind, _, seed = rest.rpartition("-")
        return Fault(net, kind, int(seed))


def faults(only: Sequence[str] = ()) -> Iterator[Fault]:
    """Yield the faults of the benchmark whose name matches one of the patterns `only`, if there are any.

    A pattern of one word matches a net, a kind or a seed as well.
    """
    for seed in range(_HEALTHY_SEEDS):
        for kind in KINDS:
            for net in NETS:
                fault = Fault(net, kind, seed)
                if seed >= _seeds(fault):
                    continue
                names = (str(fault), net, kind, str(seed))
                if not only or any(fnmatchcase(name, pattern) for pattern in only for name in names):
                    yield fault


def _seeds(fault: Fault) -> int:
    if (fault.net, fault.kind) in _NEVER:
        return 0
    if fault.net == _LARGE:
        return 1
    return _HEALTHY_SEEDS if fault.kind == "healthy" else _SEEDS
