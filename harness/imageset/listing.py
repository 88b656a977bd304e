"""List the images of a folder that has a folder for each class, or read a list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.caffe_files.formatting import printable
from harness.errors import BadInput
from harness.imageset.problems import Problem

_LABEL = re.compile(rb"[+-]?[0-9]+")
_FRACTION = re.compile(rb"[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][+-]?[0-9]+)?")
_MOST = 10**8  # images: more need nine digits, and keys of nine digits sort before those of eight
_LARGEST = (1 << 31) - 1


@dataclass
class ImageList:
    """Paths, and labels int32 (n,); the `names` of classes by label; `problems` with files that belong to no class."""

    paths: list[bytes]
    labels: npt.NDArray[np.int32]
    names: dict[int, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths)


def list_folder(folder: Path) -> ImageList:
    """List the images in `folder`, sorted by path: its folders, by name, are the classes, and their files the images.

    Raises:
        BadInput: there are fewer than two classes, or one is empty. (A softmax learns nothing from one class, and it is
            mostly the wrong folder.)
    """
    try:
        entries = sorted(os.scandir(os.fsencode(folder)), key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(
            f"cannot be read ({error.strerror})",
            file=folder,
            remedy="Give a folder with a folder of images for each class; a list of images belongs to --list",
        ) from None
    classes = [entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith(b".")]
    if len(classes) < 2:
        inner = printable(classes[0]) if classes else ""
        problem = f"only one class ({inner}), so there is nothing to learn" if classes else "it has no class folders"
        remedy = f"If the classes are in {folder / inner}, give that; " if classes else ""
        raise BadInput(
            problem,
            file=folder,
            remedy=f"{remedy}Give a folder with a folder of images for each class: {folder}/CLASS/IMAGE.jpg",
        )
    problems = [
        Problem(
            printable(entry.name), -1, "no class", "a hidden folder" if _is_folder(entry) else "not in a class folder"
        )
        for entry in entries
        if entry.name not in classes
    ]
    paths: list[bytes] = []
    counts = []
    for name in classes:
        if _has_line_break(name):
            raise BadInput(
                "the name of this class folder has a line break: its images cannot be listed",
                file=f"{folder}/{printable(name)!r}", remedy="Rename it",
            )  # fmt: skip
        found = len(problems)
        inside = sorted(_files(os.fsencode(folder), name, problems))
        if not inside:
            raise _empty_class(folder, name, problems[found:])
        paths += inside
        counts.append(len(inside))
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    return _check_count(ImageList(paths, labels, dict(enumerate(map(printable, classes))), problems), folder)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into a folder without access
        return False


def _has_line_break(path: bytes) -> bool:
    return b"\n" in path or b"\r" in path


def _empty_class(folder: Path, name: bytes, problems: list[Problem]) -> BadInput:
    unreadable = next((problem for problem in problems if problem.kind == "unreadable"), None)
    if unreadable is not None:
        return BadInput(
            f"cannot be read ({unreadable.why.rpartition(': ')[2]})", file=f"{folder}/{unreadable.path}",
            remedy="The class has no other file: make it readable (chmod -R u+rX), or remove it",
        )  # fmt: skip
    unusable = f" except {problems[0].path}: {problems[0].why}" if problems else ""
    return BadInput(
        f"a class folder without files{unusable}", file=f"{folder}/{printable(name)}",
        remedy="Put its images there, or remove it: it would be a class that never occurs",
    )  # fmt: skip


def _files(root: bytes, name: bytes, problems: list[Problem]) -> Iterator[bytes]:
    """Yield the paths, relative to `root`, of the files in its folder `name` and below."""

    def note_unreadable(error: OSError) -> None:
        path = printable(os.path.relpath(error.filename, root))
        problems.append(Problem(path, -1, "unreadable", f"a folder: {error.strerror}"))

    for parent, folders, files in os.walk(os.path.join(root, name), onerror=note_unreadable):  # noqa: PTH118  # bytes
        relative = os.path.relpath(parent, root)
        for file in files:
            path = os.path.join(relative, file)  # noqa: PTH118
            if _has_line_break(path):
                problems.append(
                    Problem(printable(path), -1, "no class", "its name has a line break: it cannot be listed")
                )
            else:
                yield path
        for folder in list(folders):
            path = os.path.join(parent, folder)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                why = "a link to a folder; links are not followed"
            elif folder.startswith(b"."):
                why = "a hidden folder"
            else:
                continue
            folders.remove(folder)
            problems.append(Problem(printable(os.path.relpath(path, root)), -1, "no class", why))


def read_list(path: Path) -> ImageList:
    """Read a list as convert_imageset does: the path precedes the last space of a line, the label follows it.

    Windows line ends are accepted. A label that is missing or not a number is an error; convert_imageset takes 0.

    Raises:
        BadInput: the list cannot be read, it is empty, or a line has no valid label.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"cannot be read ({error.strerror})",
            file=path,
            remedy="Give a list of images, with a path, a space and a label on each line",
        ) from None
    if b"\0" in text:
        raise BadInput("not a text in UTF-8 (UTF-16?)", file=path, remedy="Save it as UTF-8")
    lines = text.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n").split(b"\n")
    if lines == [b""]:
        raise BadInput("an empty list of images", file=path, remedy="Write a path, a space and a label on each line")
    paths, labels = [], np.zeros(len(lines), np.int32)
    for number, line in enumerate(lines):
        name, space, label = line.removesuffix(b"\r").rpartition(b" ")
        if not space or not name or not _LABEL.fullmatch(label) or not 0 <= (value := _value(label)) <= _LARGEST:
            raise _bad_line(path, number + 1, line.removesuffix(b"\r"), label)
        paths.append(name)
        labels[number] = value
    return _check_count(ImageList(paths, labels, _class_names(paths, labels)), path)


def _value(label: bytes) -> int:
    return int(label) if len(label) < 100 else _LARGEST + 1  # Python raises an error for thousands of digits


def _bad_line(path: Path, number: int, line: bytes, label: bytes) -> BadInput:
    problem = "no label after a path and a space"
    if not line.strip():
        problem = "an empty line"
    elif b"\t" in line and b" " not in line:
        problem = "a tab between path and label; Caffe requires a space"
    elif re.search(rb" [+-]?[0-9]+\s+$", line):
        problem = "a space after the label: Caffe would read the label as part of the path"
    elif _FRACTION.fullmatch(label):
        problem = "a label with a fraction, which Caffe would cut off"
    elif _LABEL.fullmatch(label):
        problem = "a negative label" if _value(label) < 0 else "a label that does not fit in 32 bits"
    return BadInput(
        problem, file=f"{path}:{number}", field="line", value=repr(printable(line)),
        remedy="Write a path, a space and the label, a number from 0 on" if line.strip() else "Remove it",
    )  # fmt: skip


def _class_names(paths: list[bytes], labels: npt.NDArray[np.int32]) -> dict[int, str]:
    """Name the classes after their folders, if each class has one of its own, else after their labels."""
    folders: dict[int, bytes] = {}
    for path, label in zip(paths, labels.tolist(), strict=True):
        folder = path.rpartition(b"/")[0]
        if folders.setdefault(label, folder) != folder:
            break
    else:
        if len(set(folders.values())) == len(folders) and b"" not in folders.values():
            return {label: printable(folder) for label, folder in folders.items()}
    return {label: str(label) for label in np.unique(labels).tolist()}


def _check_count(images: ImageList, source: Path) -> ImageList:
    if len(images) > _MOST:
        raise BadInput(
            f"{len(images):,} images", file=source,
            remedy=f"The keys of convert_imageset sort correctly only up to {_MOST:,}: make several LMDBs",
        )  # fmt: skip
    return images
