"""The onset of a divergence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Onset:
    """The first iteration whose update does the damage, with one sentence of evidence.

    `blob` is the first of the net's blobs in forward order that left its baseline, `param` the first param blob in
    update order whose gradient did; None where none did, or where that is not known.
    """

    iteration: int
    reason: str
    blob: str | None = None
    param: str | None = None

    @property
    def is_localized(self) -> bool:
        """Both the blob and the param blob are known."""
        return self.blob is not None and self.param is not None


@dataclass(frozen=True)
class GradientNorms:
    """Norms of the whole gradient: the median before an onset, and the largest finite one near it."""

    baseline: float
    peak: float
