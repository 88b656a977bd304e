"""Which images are for training, which for testing, and in what order: the two lists that an LMDB each is made of.

LMDB order is the order in which Caffe's Data layer reads, which never shuffles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from harness.imageset.listing import Images
from harness.imageset.workers import Line

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Listed:
    """The images at `places` of `images`, in that order."""

    images: Images
    places: Places

    def __len__(self) -> int:
        return len(self.places)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        return self.images.labels[self.places]

    def lines(self) -> Iterator[bytes]:
        """As a list for convert_imageset."""
        paths, labels = self.images.paths, self.images.labels
        return (b"%b %d\n" % (paths[place], labels[place]) for place in self.places)

    def digest(self) -> str:
        digest = xxhash.xxh3_128()
        for line in self.lines():
            digest.update(line)
        return str(digest.hexdigest())


def divided(images: Images, share: float, seed: int) -> tuple[Places, Places]:
    """The places of the train and of the test images: `share` of each class, at least one of two or more, is held out.

    Which ones says a hash of their paths: one more image moves no other, or one, from one side to the other, and a path
    that is listed twice is on one side.
    """
    everything = np.arange(len(images), dtype=np.int64)
    if not share:
        return everything, everything[:0]
    rank = np.fromiter((xxhash.xxh3_64_intdigest(path, seed) for path in images.paths), np.uint64, len(images))
    order = np.lexsort((rank, images.labels))
    test = np.zeros(len(images), bool)
    for members in np.split(order, np.flatnonzero(np.diff(images.labels[order])) + 1):
        hashes, first = np.unique(rank[members], return_index=True)
        held_out = min(max(1, round(share * len(hashes))), len(hashes) - 1)
        test[members[: first[held_out]]] = True
    return everything[~test], everything[test]


def shuffled(places: Places, seed: int) -> Places:
    return np.random.default_rng(seed).permutation(places)


def sorted_by_class(labels: npt.NDArray[np.int32]) -> bool:
    """Whether the classes come one after the other, as Caffe must not be given them."""
    classes = len(np.unique(labels))  # with one image a class, every order looks like that
    return len(labels) > classes > 1 and int(np.count_nonzero(np.diff(labels))) == classes - 1


def read_lines(path: Path, first: int) -> Iterator[Line]:
    """The lines of a list written by `Listed.lines`, from line `first` on."""
    with path.open("rb") as file:
        for number, line in enumerate(itertools.islice(file, first, None), first):
            name, _, label = line[:-1].rpartition(b" ")
            yield number, name, int(label)
