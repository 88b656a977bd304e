"""Problems with images, by their kind."""

from __future__ import annotations

from dataclasses import dataclass

# The kinds, in the order in which the report lists them.
KINDS = {
    "truncated": "JPEGs of which only a part can be decoded",
    "damaged": "images that cannot be decoded",
    "empty": "files of zero bytes",
    "not an image": "files of another kind",
    "unsupported": "images of a format that Caffe cannot read, or not from an LMDB",
    "no such file": "listed files that do not exist",
    "unreadable": "files and folders that could not be read",
    "path too long": "paths that are too long for a key",
    "no encode type": "images that cannot be encoded in the format of their file name",
    "duplicate": "copies of images of the same class",
    "mislabelled?": "the same image in two classes: one of the labels is wrong",
    "no class": "files and folders that belong to no class",
    "damaged?": "JPEGs with damage that the decoder repairs, or without their end",
    "different format": "files with other channels or depth than the rest (grey, with alpha, 16 bits)",
    "of 16 bits": "images of 16 bits a value, of which Caffe keeps the upper 8",
    "nearly black": "images of 16 bits a value whose upper 8 bits, which Caffe keeps, are nearly 0",
    "rotated": "photographs with an EXIF orientation, which Caffe ignores unless told otherwise",
}


@dataclass(frozen=True)
class Problem:
    """A problem with the image `path`; `why` gives details. `kept`: the image is in the LMDB nevertheless."""

    path: str
    label: int
    kind: str
    why: str
    kept: bool = False


class UnusableImage(Exception):
    """An image cannot be used."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(kind, why)
        self.kind = kind
        self.why = why
