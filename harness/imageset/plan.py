"""Plan the work: list the images, divide and order them, and check a sample of them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from harness.caffe_files.formatting import printable
from harness.errors import BadInput
from harness.imageset.listing import list_folder, read_list
from harness.imageset.options import Options
from harness.imageset.ordering import OrderedImages, is_sorted_by_class, shuffle, split_train_test
from harness.imageset.output_directory import format_bytes, free_bytes, used_bytes
from harness.imageset.problems import Problem
from harness.imageset.workers import Workers

SAMPLE = 16  # images that are converted beforehand
_PAGE = 4096  # bytes of a page of LMDB
_FORMAT = 3  # version of the files in OUT.part


@dataclass(frozen=True)
class Plan:
    """The inputs of the work, and its settings.

    Attributes:
        listed: the number of images in each set.
        names: class names by label.
        problems: those that were found while listing.
        by_class: the training images are grouped by class.
        recipe: all settings and inputs that determine the result.
    """

    listed: dict[str, int]
    names: dict[int, str]
    problems: tuple[Problem, ...]
    by_class: bool
    recipe: dict[str, object]


def make_plan(options: Options) -> tuple[Plan, dict[str, OrderedImages]]:
    """Plan the work, and return the images of each set, which take memory.

    Raises:
        BadInput: the folder or a list cannot be used.
    """
    if options.folder is not None:
        images = list_folder(options.folder)
    else:
        assert options.train_list is not None
        images = read_list(options.train_list)
    test_images = read_list(options.test_list) if options.test_list else images
    train, test = split_train_test(images, options.test_share, options.seed)
    if options.test_list:
        test = np.arange(len(test_images), dtype=np.int64)
    if options.shuffle:
        train, test = shuffle(train, options.seed), shuffle(test, options.seed)
    sets = {"train": OrderedImages(images, train), "test": OrderedImages(test_images, test)}
    names = {label: images.names.get(label) or name for label, name in (test_images.names | images.names).items()}
    plan = Plan(
        listed={name: len(ordered) for name, ordered in sets.items()},
        names=names,
        problems=tuple(images.problems),
        by_class=not options.shuffle and is_sorted_by_class(sets["train"].labels),
        recipe=_recipe(options, sets),
    )
    return plan, sets


def _recipe(options: Options, sets: dict[str, OrderedImages]) -> dict[str, object]:
    return {
        "format": _FORMAT,
        "root": printable(os.fsencode(Path(options.root or ".").absolute())),
        **{name: ordered.digest() for name, ordered in sets.items()},
        **asdict(options.image_format),
        "shuffle": options.shuffle,
        "seed": options.seed,
        "test_share": options.test_share,
        "duplicates": "keep" if options.keep_duplicates else "drop",
        "check_size": options.check_size,
        "opencv": cv2.__version__,
    }


def check_sample(options: Options, sets: dict[str, OrderedImages], workers: Workers, part: Path) -> None:
    """Check with a sample that images can be read, and that the disk of `part` has room for all of them.

    Raises:
        BadInput: none of the sample can be used, or the disk is too small.
    """
    train = sets["train"]
    positions = np.unique(np.linspace(0, len(train) - 1, SAMPLE).astype(np.int64))
    lines = [(n, train.images.paths[index], 0) for n, index in enumerate(train.indices[positions].tolist())]
    sample = [image for images, _ in workers.convert(lines, summed=False) for image in images]
    sizes = [_size_on_disk(len(image.record)) for image in sample if image.record is not None]
    if not sizes:
        problem = sample[0].problems[0]
        raise BadInput(
            f"none of a sample of {len(sample)} images can be used, for example this one: {problem.kind} "
            f"({problem.why})",
            file=options.root + problem.path,
            remedy="Paths in a list are relative to --root, and / separates folders"
            if options.folder is None
            else "Give a folder with a folder of images for each class",
        )
    needed = int(np.mean(sizes) * sum(map(len, sets.values())))
    available = free_bytes(part) + used_bytes(part)  # what the folder holds will be removed
    if needed > available:
        raise BadInput(
            f"about {format_bytes(needed)} of disk space are needed, and {format_bytes(available)} are free",
            file=options.out,
            remedy="Free some space, resize the images, or store them with --encoded",
        )


def _size_on_disk(size: int) -> int:
    """Return the bytes of an LMDB that a record of `size` bytes takes: pages of its own, or a part of one."""
    return size + 100 if size < _PAGE // 2 else -(-(size + 16) // _PAGE) * _PAGE + 100
