"""Read the window file of a WindowData layer: images, and windows in them (window_data_layer.cpp)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from harness.caffe_files.messages import pb
from harness.errors import BadInput

_FORMAT = (
    "Write for each image: # INDEX, path, channels, height, width, number of windows; and for each window: class, "
    "overlap, x1, y1, x2, y2"
)

_LARGEST = 2**31 - 1  # Caffe reads pixels as int

_IMAGE = re.compile(
    rb"\s*#\s+(?P<index>\d{1,9})\s+(?P<path>\S+)\s+(?P<channels>\d{1,9})\s+\d{1,9}\s+\d{1,9}\s+(?P<windows>\d{1,9})(?!\S)"
)


@dataclass(frozen=True)
class WindowFile:
    """The contents of a window file.

    Attributes:
        fingerprint: a hash of its bytes.
        images: the paths, as in the file.
        channels: of each image (n,), as the file has it.
        image: of each window (w,), the number of its image.
        label, overlap: of each window (w,); float32, as Caffe keeps them.
        box: x1, y1, x2 and y2 of each window (w, 4), inclusive.
    """

    source: Path
    fingerprint: str
    images: tuple[str, ...]
    channels: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]
    label: npt.NDArray[np.float32]
    overlap: npt.NDArray[np.float32]
    box: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.image)

    def sampled(self, param: pb.WindowDataParameter) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the numbers of the background and of the foreground windows, from which a layer samples."""
        foreground = self.overlap >= np.float32(param.fg_threshold)
        background = ~foreground & (self.overlap < np.float32(param.bg_threshold))
        return np.flatnonzero(background), np.flatnonzero(foreground)


def read_window_file(source: Path) -> WindowFile:
    """Read the window file `source`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a window file.
    """
    content = source.read_bytes()
    images: list[str] = []
    channels: list[int] = []
    tables, numbers = [], []
    position = 0
    while image := _IMAGE.match(content, position):
        number = len(images)
        images.append(os.fsdecode(image["path"]))
        channels.append(int(image["channels"]))
        end = content.find(b"#", image.end())
        position = end if end >= 0 else len(content)
        table = _numbers(content[image.end() : position])
        if len(table) != 6 * int(image["windows"]):
            raise ValueError(f"image {number} has {len(table) / 6:g} windows, and says {int(image['windows'])}")
        tables.append(table.reshape(-1, 6))
        numbers.append(np.full(len(tables[-1]), int(image["index"])))
    if rest := content[position:].split():
        raise ValueError(f"{os.fsdecode(rest[0])} in place of the # and the six values before image {len(images)}")
    table = np.concatenate(tables) if tables else np.zeros((0, 6))
    if not (np.abs(table) <= _LARGEST).all():
        raise ValueError(f"a number that is not finite, or larger than {_LARGEST:,}")
    if (table[:, 2:] % 1).any():
        raise ValueError("pixels that are not whole numbers")
    return WindowFile(
        source,
        xxhash.xxh3_128(content).hexdigest(),
        tuple(images),
        np.array(channels, np.int64),
        np.concatenate(numbers) if numbers else np.zeros(0, np.int64),
        table[:, 0].astype(np.float32),
        table[:, 1].astype(np.float32),
        table[:, 2:].astype(np.int64),
    )


def with_images(content: bytes, paths: Sequence[bytes]) -> bytes:
    """Return the `content` of a window file with other `paths` of its images."""
    parts, end = [], 0
    for path, image in zip(paths, _IMAGE.finditer(content), strict=True):
        parts += [content[end : image.start("path")], path]
        end = image.end("path")
    return b"".join([*parts, content[end:]])


def _numbers(text: bytes) -> npt.NDArray[np.float64]:
    """Parse the numbers in `text`. A file may hold millions of windows."""
    try:
        return np.fromstring(text, np.float64, sep=" ") if text.strip() else np.zeros(0)
    except ValueError:
        raise ValueError("a window has something else than numbers") from None


def open_window_file(source: Path, where: str) -> WindowFile:
    """Read the window file `source` of the layer `where`.

    Raises:
        BadInput: it cannot be read, or is not a window file.
    """
    try:
        found = read_window_file(source)
    except OSError as error:
        raise _bad(f"cannot be read ({error.strerror})", where, source, "Give a window file") from None
    except ValueError as error:
        raise _bad(f"not a window file: {error}", where, source, _FORMAT) from None
    if not len(found):
        raise _bad("a file without windows", where, source, _FORMAT)
    if not 0 <= found.image.min() <= found.image.max() < len(found.images):
        raise _bad(
            f"the image numbers {found.image.min()}…{found.image.max()}, but {len(found.images)} images",
            *(where, source, "Number the images from 0, in their order"),
        )
    if (found.channels != 3).any():
        raise _bad("images of other than 3 channels, but Caffe reads them in colour", where, source, "Write 3")
    return found


def check_windows(found: WindowFile, param: pb.WindowDataParameter, where: str) -> None:
    """Check that a layer finds windows of both kinds, classes for them, and the images.

    Raises:
        BadInput: it does not.
    """
    for name, numbers in zip(("background", "foreground"), found.sampled(param), strict=True):
        if not len(numbers):
            raise _bad(
                f"no {name} window (fg_threshold {param.fg_threshold:g}, bg_threshold {param.bg_threshold:g})",
                *(where, found.source, "Caffe samples from both kinds: change the thresholds, or add windows"),
            )
        if name == "foreground" and found.label[numbers].min() <= 0:
            raise _bad("a foreground window of class 0 or less", where, found.source, "Classes count from 1")
    for number in np.unique(np.linspace(0, len(found.images) - 1, 10_000).astype(np.int64)).tolist():
        path = param.root_folder + found.images[number]
        if not Path(path).is_file():
            raise _bad(
                f"no such image: number {number} of {found.source}",
                *(where, path, f"Caffe resolves it from root_folder ({param.root_folder or 'not given'})"),
            )


def _bad(problem: str, where: str, value: object, remedy: str) -> BadInput:
    return BadInput(problem, file=where, field="window_data_param.source", value=value, remedy=remedy)
