"""Divide images into a training and a test set, and order them.

The order of an LMDB is the order in which Caffe's Data layer reads, which never shuffles.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from harness.imageset.listing import ImageList
from harness.imageset.workers import Line

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class OrderedImages:
    """The images at `indices` of `images`, in that order."""

    images: ImageList
    indices: Indices

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        return self.images.labels[self.indices]

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of a list for convert_imageset."""
        paths, labels = self.images.paths, self.images.labels
        return (b"%b %d\n" % (paths[index], labels[index]) for index in self.indices)

    def digest(self) -> str:
        digest = xxhash.xxh3_128()
        for line in self.lines():
            digest.update(line)
        return str(digest.hexdigest())


def split_train_test(images: ImageList, share: float, seed: int) -> tuple[Indices, Indices]:
    """Hold out `share` of each class for testing: at least one image of every class with two or more.

    A hash of the paths decides which ones: adding an image moves at most one other to the other set, and a path that is
    listed twice is in one set.

    Returns:
        The indices of the training images, and of the test images.
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


def shuffle(indices: Indices, seed: int) -> Indices:
    return np.random.default_rng(seed).permutation(indices)


def is_sorted_by_class(labels: npt.NDArray[np.int32]) -> bool:
    """Check whether the images are grouped by class, an order unsuitable for training."""
    classes = len(np.unique(labels))  # with one image per class, every order is grouped
    return len(labels) > classes > 1 and int(np.count_nonzero(np.diff(labels))) == classes - 1


def read_lines(path: Path, first: int) -> Iterator[Line]:
    """Read the lines of a list that `OrderedImages.lines` wrote, from line number `first` on."""
    with path.open("rb") as file:
        for number, line in enumerate(itertools.islice(file, first, None), first):
            name, _, label = line[:-1].rpartition(b" ")
            yield number, name, int(label)
