"""Remarks on a data set that are worth knowing before training on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

from harness.imageset.counts import SetCounts
from harness.imageset.image_format import ImageFormat
from harness.imageset.mean import LARGEST
from harness.imageset.problems import Problem

FEW = 10  # training images of a class; fewer are remarked on
_SHOWN = 10  # most classes named in a remark


def remarks_on(
    sets: dict[str, SetCounts],
    names: dict[int, str],
    problems: Iterable[Problem],
    image_format: ImageFormat,
    by_class: bool,
) -> tuple[str, ...]:
    """List the remarks on the sets "train" and "test".

    Args:
        names: class names by label.
        by_class: the training images are grouped by class.
    """
    train, test = sets["train"], sets["test"]
    found = []
    if by_class:
        found.append("train.txt is sorted by class, and Caffe reads in this order: use --shuffle")
    if len(names) == 1:
        found.append("there is only one class, from which a softmax learns nothing")
    found += _size_remarks(train, test)
    if image_format.encodes:
        found += _force_remarks(problems, image_format)
    found += _dark_remarks(problems)
    found += _class_remarks(train, test, names)
    return tuple(found)


def _size_remarks(train: SetCounts, test: SetCounts) -> Iterator[str]:
    if train.smallest != train.largest or test.smallest not in (None, train.smallest) or test.smallest != test.largest:
        height, width = map(min, zip(*(counts.smallest for counts in (train, test) if counts.smallest), strict=True))
        yield (
            f"images differ in size: the net needs a crop_size of at most {min(height, width)} (no mean.binaryproto is "
            "written), or use --resize-height and --resize-width"
        )
    elif train.smallest and train.smallest[0] * train.smallest[1] > LARGEST:
        yield (
            f"images have more than a megapixel ({train.smallest[0]}×{train.smallest[1]}): no mean.binaryproto is "
            "written, use mean_value"
        )


def _force_remarks(problems: Iterable[Problem], image_format: ImageFormat) -> Iterator[str]:
    kinds = Counter(problem.kind for problem in problems)
    if count := kinds["different format"] + kinds["rotated"]:
        yield (
            f"{count:,} images need transform_param {{ force_{image_format.colour}: true }}: without it, Caffe aborts "
            "at the first one with other channels, and ignores the EXIF orientation of others"
        )


def _dark_remarks(problems: Iterable[Problem]) -> Iterator[str]:
    dark = [problem for problem in problems if problem.kind == "nearly black"]
    if dark:
        yield (
            f"{len(dark):,} images of 16 bits a value are nearly black, since Caffe keeps the upper 8 bits "
            f"({dark[0].path}: {dark[0].why}): scale them to 8 bits, and make the LMDBs again"
        )


def _class_remarks(train: SetCounts, test: SetCounts, names: dict[int, str]) -> Iterator[str]:
    labels = sorted(names)
    if missing := labels[-1] + 1 - len(labels):
        yield f"no image has {_enumerate('label', list(map(str, _gaps(labels, _SHOWN))), missing)}"
    none = [names[label] for label in labels if not train.labels.get(str(label))]
    few = [names[label] for label in labels if 0 < train.labels.get(str(label), 0) < FEW]
    if none:
        yield f"no training image of {_enumerate('class', none)}"
    if few:
        yield f"fewer than {FEW} training images of {_enumerate('class', few)}"
    if test.records and (untested := [names[label] for label in labels if not test.labels.get(str(label))]):
        yield f"no test image of {_enumerate('class', untested)}"


def _gaps(labels: Sequence[int], most: int) -> list[int]:
    """List the first `most` of the labels that are missing in the sorted `labels`. (There may be two billion.)"""
    gaps = (label for before, after in pairwise((-1, *labels)) for label in range(before + 1, after))
    return list(islice(gaps, most))


def _enumerate(what: str, names: Sequence[str], count: int = 0) -> str:
    """Write a list of at most the first 10 of `names`; `count` is the number of all, if `names` has not all."""
    count = count or len(names)
    more = f" and {count - _SHOWN:,} more" if count > _SHOWN else ""
    plural = what if count == 1 else "classes" if what == "class" else f"{what}s"
    return f"{plural} {', '.join(names[:_SHOWN])}{more}"
