"""Images that are committed together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from harness.imageset.mean import Sums
from harness.imageset.record import ConvertedImage

FEWEST, MOST = 1000, 8000  # images between two commits, unless one of the next limits is reached
MOST_BYTES = 1 << 27  # of records
MOST_SECONDS = 10  # of work that an interruption loses


@dataclass
class Batch:
    """Up to `most` consecutive images, and the sums over them."""

    most: int
    images: list[ConvertedImage] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)
    size: int = 0  # bytes of records
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def after(cls, done: int) -> Batch:
        """Begin a batch when `done` images are committed; batches grow with them."""
        return cls(min(max(FEWEST, done), MOST))

    def add(self, images: list[ConvertedImage], sums: Sums) -> None:
        self.images += images
        self.sums.merge(sums)
        self.size += sum(len(image.record or b"") for image in images)

    @property
    def full(self) -> bool:
        late = time.monotonic() - self.began >= MOST_SECONDS
        return late or len(self.images) >= self.most or self.size >= MOST_BYTES
