"""Read the list of images of an ImageData layer: a path and a label on each line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xxhash

from harness.caffe_files.formatting import printable
from harness.caffe_files.lmdb_file import Records
from harness.errors import BadInput

_SAMPLE = 10_000  # files checked beforehand: a second on a slow disk
_WHOLE = re.compile(rb"[+-]?[0-9]+(\.0*)?")
_NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_ATOI = re.compile(rb"[ \t\n\v\f\r]*([+-]?[0-9]+)")


def open_list(source: Path) -> Records:
    """Read the paths (as keys) and labels in the list `source`, in its order; the fingerprint is of its bytes.

    Raises:
        BadInput: the list cannot be read, or it is empty.
    """
    try:
        text = source.read_bytes()
    except OSError as error:
        raise BadInput(
            f"cannot be read ({error.strerror})", file=source,
            remedy="Give a list of images with a path and a label on each line",
        ) from None  # fmt: skip
    lines = list(parse_lines(text))
    if not lines:
        raise BadInput("an empty list of images", file=source, remedy="Write a path and a label on each line")
    keys, labels = zip(*lines, strict=True)
    return Records(
        source,
        xxhash.xxh3_128(text).hexdigest(),
        np.array(keys),
        np.array(labels, np.int32),
        warnings=tuple(_label_warnings(source, text)),
    )


def parse_lines(text: bytes) -> Iterator[tuple[bytes, int]]:
    """Parse path and label of each line as ImageDataLayer::DataLayerSetUp does.

    The label follows the last space; it is 0 if that is not a number.
    """
    lines = text.split(b"\n")
    for line in lines if lines[-1] else lines[:-1]:
        path, space, label = line.rpartition(b" ")
        number = _ATOI.match(label)
        value = int(number[1]) if number else 0
        yield path if space else line, (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _label_warnings(source: Path, text: bytes) -> Iterator[str]:
    """Yield warnings about labels of which Caffe, with atoi, reads only a part, or nothing."""
    fractions: list[tuple[int, bytes]] = []
    others: list[tuple[int, bytes]] = []
    lines = text.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, 1):
        label = line.rpartition(b" ")[2].strip(b"\r\t")
        if not _WHOLE.fullmatch(label):
            (fractions if _NUMBER.fullmatch(label) else others).append((number, label))
    for odd, what, remedy in (
        (fractions, "the fraction of {} labels is lost", "For numbers with a fraction, give them in an HDF5Data layer"),
        (others, "{} labels are no whole number", "Write a path, a space and a whole number on each line"),
    ):
        if odd:
            number, label = odd[0]
            read = _ATOI.match(label)
            yield (
                f"warning: {source}: {what.format(f'{len(odd):,} of {len(lines):,}')} (the first: line {number}, "
                f"{printable(label)!r}, is read as {int(read[1]) if read else 0}), since Caffe reads labels with atoi. "
                f"{remedy}"
            )


def check_images(records: Records, root: str, where: str) -> None:
    """Check that the images exist: all of them, or 10,000 spread over a longer list.

    Raises:
        BadInput: one does not exist.
    """
    sample = np.unique(np.linspace(0, len(records) - 1, _SAMPLE).astype(np.int64))
    for number in sample.tolist():
        path = os.fsencode(root) + bytes(records.keys[number])
        if not os.path.isfile(path):  # noqa: PTH113  # a path of bytes
            raise BadInput(
                f"no such image: line {number + 1} of {records.source}",
                file=where,
                field="image_data_param.source",
                value=os.fsdecode(path),
                remedy=f"Caffe resolves it from root_folder ({root or 'not given'}) and the current directory "
                f"({Path.cwd()})",
            )
