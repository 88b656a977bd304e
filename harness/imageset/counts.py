"""Count the images of a set while its LMDB is made."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.caffe_files.formatting import printable
from harness.imageset.record import ConvertedImage

SETS = ("train", "test")


@dataclass
class SetCounts:
    """The progress of one set, and what its records have in common."""

    lines: int = 0  # of its list, that are done
    records: int = 0
    labels: dict[str, int] = field(default_factory=dict)  # label, as in JSON → number of records
    smallest: tuple[int, int] | None = None  # height, width
    largest: tuple[int, int] | None = None
    first: tuple[str, list[int]] | None = None  # path and shape of the first record

    def __post_init__(self) -> None:  # JSON has only lists
        self.smallest = self.smallest and (self.smallest[0], self.smallest[1])
        self.largest = self.largest and (self.largest[0], self.largest[1])

    def add(self, image: ConvertedImage) -> None:
        self.records += 1
        self.labels[str(image.label)] = self.labels.get(str(image.label), 0) + 1
        size = image.shape[1], image.shape[2]
        self.smallest = (min(self.smallest[0], size[0]), min(self.smallest[1], size[1])) if self.smallest else size
        self.largest = (max(self.largest[0], size[0]), max(self.largest[1], size[1])) if self.largest else size
        self.first = self.first or (printable(image.path), list(image.shape))
