"""What probe.py has seen of a net."""

from __future__ import annotations

import msgspec


class Probed(msgspec.Struct, frozen=True):
    """Digests as hex, and the largest relative deviation among `count` statistics, with the name of that statistic."""

    digest: str
    cpu_digest: str
    deviation: float
    where: str
    count: int
