"""The images that there are: those of a folder with a folder for each class, or of a list."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.errors import BadInput
from harness.imageset.record import Problem, printable

_LABEL = re.compile(rb"[+-]?[0-9]+")
_MOST = 10**8  # lines: more need nine digits, and keys of nine digits sort before those of eight
_LARGEST = (1 << 31) - 1


@dataclass
class Images:
    """Paths, and labels int32 (n,); `names` by label; `problems` of what belongs to no class."""

    paths: list[bytes]
    labels: npt.NDArray[np.int32]
    names: dict[int, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> list[int]:
        """The labels that occur, sorted."""
        found: list[int] = np.unique(self.labels).tolist()
        return found


def of_folder(folder: Path) -> Images:
    """The images in `folder`, sorted by path: its folders are the classes, by name, and all files in one its images.

    Raises:
        BadInput: there are fewer than two classes, or one is empty. (One class would teach a softmax nothing, and is
            mostly the wrong folder.)
    """
    try:
        entries = sorted(os.scandir(os.fsencode(folder)), key=lambda entry: entry.name)
    except OSError as error:
        raise BadInput(
            f"cannot be read ({error.strerror})",
            file=folder,
            remedy="Give a folder with a folder of images for each class",
        ) from None
    classes = [entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith(b".")]
    if len(classes) < 2:
        inner = printable(classes[0]) if classes else ""
        what = f"only one class ({inner}), of which there is nothing to learn" if classes else "no class folders in it"
        remedy = f"If the classes are in {folder / inner}, give that; " if classes else ""
        raise BadInput(
            what, file=folder, remedy=f"{remedy}A folder of images for each class is wanted: {folder}/CLASS/IMAGE.jpg"
        )
    problems = [
        Problem(printable(entry.name), -1, "no class", "a hidden folder" if _is_folder(entry) else "in no class folder")
        for entry in entries
        if entry.name not in classes
    ]
    paths: list[bytes] = []
    counts = []
    for name in classes:
        if _breaks(name):
            raise BadInput(
                "a class folder whose name has a line break: its images cannot be listed",
                file=f"{folder}/{printable(name)!r}", remedy="Give it another name",
            )  # fmt: skip
        found = len(problems)
        inside = sorted(_files(os.fsencode(folder), name, problems))
        if not inside:
            raise _no_class(folder, name, problems[found:])
        paths += inside
        counts.append(len(inside))
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    return _checked(Images(paths, labels, dict(enumerate(map(printable, classes))), problems), folder)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to where one may not look
        return False


def _breaks(path: bytes) -> bool:
    return b"\n" in path or b"\r" in path


def _no_class(folder: Path, name: bytes, problems: list[Problem]) -> BadInput:
    unreadable = next((problem for problem in problems if problem.kind == "unreadable"), None)
    if unreadable is not None:
        return BadInput(
            f"cannot be read ({unreadable.why.rpartition(': ')[2]})", file=f"{folder}/{unreadable.path}",
            remedy="No other file is in this class: make it readable (chmod -R u+rX), or remove it",
        )  # fmt: skip
    others = f" but {problems[0].path}: {problems[0].why}" if problems else ""
    return BadInput(
        f"a class folder without a file{others}", file=f"{folder}/{printable(name)}",
        remedy="Put its images there, or remove it: as a class it would take a label and never occur",
    )  # fmt: skip


def _files(root: bytes, name: bytes, problems: list[Problem]) -> Iterator[bytes]:
    """Paths, relative to `root`, of the files in its folder `name` and the folders in that."""

    def unread(error: OSError) -> None:
        where = printable(os.path.relpath(error.filename, root))
        problems.append(Problem(where, -1, "unreadable", f"a folder: {error.strerror}"))

    for where, folders, files in os.walk(os.path.join(root, name), onerror=unread):  # noqa: PTH118  # bytes
        inner = os.path.relpath(where, root)
        for file in files:
            path = os.path.join(inner, file)  # noqa: PTH118
            if _breaks(path):
                problems.append(
                    Problem(printable(path), -1, "no class", "its name has a line break: it cannot be listed")
                )
            else:
                yield path
        for folder in list(folders):
            path = os.path.join(where, folder)  # noqa: PTH118
            if os.path.islink(path):  # noqa: PTH114
                why = "a link to a folder, which is not followed"
            elif folder.startswith(b"."):
                why = "a hidden folder"
            else:
                continue
            folders.remove(folder)
            problems.append(Problem(printable(os.path.relpath(path, root)), -1, "no class", why))


def of_list(path: Path) -> Images:
    """The images in a list as convert_imageset reads it: what is before the last space is the path, after it the label.

    Lines may end as on Windows. Where convert_imageset would take label 0 (none, or a word), this is an error.

    Raises:
        BadInput: it cannot be read, it is empty, or a line has no label or one that cannot be.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"cannot be read ({error.strerror})",
            file=path,
            remedy="Give a list of images: a path, a space, a label a line",
        ) from None
    if b"\0" in text:
        raise BadInput("not a text in UTF-8 (UTF-16?)", file=path, remedy="Save it as UTF-8")
    lines = text.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n").split(b"\n")
    if lines == [b""]:
        raise BadInput("an empty list of images", file=path, remedy="Write a path, a space and a label a line into it")
    paths, labels = [], np.zeros(len(lines), np.int32)
    for number, line in enumerate(lines):
        name, space, label = line.removesuffix(b"\r").rpartition(b" ")
        if not space or not name or not _LABEL.fullmatch(label) or not 0 <= (value := _value(label)) <= _LARGEST:
            raise _bad_line(path, number + 1, line.removesuffix(b"\r"), label)
        paths.append(name)
        labels[number] = value
    return _checked(Images(paths, labels, _names(paths, labels)), path)


def _value(label: bytes) -> int:
    return int(label) if len(label) < 100 else _LARGEST + 1  # Python refuses thousands of digits


def _bad_line(path: Path, number: int, line: bytes, label: bytes) -> BadInput:
    problem = "no label behind a path and a space"
    if not line.strip():
        problem = "an empty line"
    elif b"\t" in line and b" " not in line:
        problem = "a tab between path and label, where Caffe wants a space"
    elif re.search(rb" [+-]?[0-9]+\s+$", line):
        problem = "a space behind the label, which Caffe would take for the end of the path"
    elif _LABEL.fullmatch(label):
        problem = "a negative label" if _value(label) < 0 else "a label that does not fit in 32 bits"
    return BadInput(
        problem, file=f"{path}:{number}", field="line", value=repr(printable(line)),
        remedy="Write a path, a space and the number of its class, from 0 on" if line.strip() else "Remove it",
    )  # fmt: skip


def _names(paths: list[bytes], labels: npt.NDArray[np.int32]) -> dict[int, str]:
    """The class names: the folders, where each class has one of its own; else the labels."""
    folders: dict[int, bytes] = {}
    for path, label in zip(paths, labels.tolist(), strict=True):
        folder = path.rpartition(b"/")[0]
        if folders.setdefault(label, folder) != folder:
            break
    else:
        if len(set(folders.values())) == len(folders) and b"" not in folders.values():
            return {label: printable(folder) for label, folder in folders.items()}
    return {label: str(label) for label in np.unique(labels).tolist()}


def _checked(images: Images, source: Path) -> Images:
    if len(images) > _MOST:
        raise BadInput(
            f"{len(images):,} images", file=source,
            remedy=f"Keys as convert_imageset makes them keep their order up to {_MOST:,}: make several LMDBs",
        )  # fmt: skip
    return images
