"""The names of classes, from a list beside the data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.formatting import printable
from harness.caffe_files.paths import is_file

_FILES = ("classes.txt", "class_names.txt", "synset_words.txt", "labels.txt", "label_names.txt", "names.txt")
_LARGEST = 16 << 20  # bytes
_LABEL_FIRST = re.compile(r"(\d{1,9})(?:\s*[,;:]\s*|\s+)(\S.*)")
_LABEL_LAST = re.compile(r"(\S.*?)(?:\s*[,;:]\s*|\s+)(\d{1,9})")
_SYNSET = re.compile(r"n\d{8}\s+(\S.*)")  # as in ImageNet's synset_words.txt


@dataclass(frozen=True)
class ClassNames:
    """The names of classes by label, and the file that they were read from."""

    file: Path
    by_label: Mapping[int, str]

    def __getitem__(self, label: int) -> str | None:
        return self.by_label.get(label)


def find_class_names(source: Path, *classes: int | None) -> ClassNames | None:
    """Find the names of the classes of the data set `source`: in its directory, or in the one above.

    A list is taken only if its number of names fits, because such directories also hold other lists.

    Args:
        source: an LMDB, or a list of images or of HDF5 files.
        classes: numbers of names that fit: that of the net's classes, the largest label + 1. None is not known.
    """
    directory = source if source.is_dir() else source.parent
    for place in dict.fromkeys((directory, directory.absolute().parent)):
        for name in _FILES:
            found = _read(place / name)
            if found is not None and max(found) + 1 in classes:
                return ClassNames(place / name, found)
    return None


def parse_class_names(text: str) -> dict[int, str] | None:
    """Parse a list with one name a line; None where it is none.

    Lines are names in the order of the labels ("tench", or as in ImageNet "n01440764 tench, Tinca tinca"), or have the
    label before or after the name ("0 tench", "0: tench", "tench 0").
    """
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    written = [line for line in lines if line]
    for pattern, label, name in ((_LABEL_FIRST, 1, 2), (_LABEL_LAST, 2, 1)):
        matches = [pattern.fullmatch(line) for line in written]
        found = {int(match[label]): _without_synset(match[name]) for match in matches if match}
        if written and len(found) == len(written) and sorted(found) == list(range(len(found))):
            return found
    if not written or all(line.lstrip("-").isdecimal() for line in written):
        return None
    return {label: _without_synset(line) for label, line in enumerate(lines) if line}


def _without_synset(name: str) -> str:
    match = _SYNSET.fullmatch(name)
    return match[1] if match else name


def _read(path: Path) -> dict[int, str] | None:
    try:
        if not is_file(path) or path.stat().st_size > _LARGEST:
            return None
        return parse_class_names(printable(path.read_bytes()))
    except OSError:
        return None
