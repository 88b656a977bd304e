"""Surveys of the images of a source."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from harness.caffe_files.image_survey import DECODED, ImageKind, Survey
from harness.caffe_files.messages import pb


def png(channels: int = 1, dtype: type = np.uint8, size: int = 12) -> bytes:
    pixels: np.ndarray = np.random.default_rng(1).integers(0, 200, (size, size, channels)).astype(dtype)
    return cv2.imencode(".png", pixels)[1].tobytes()


def survey(*data: pb.Datum, size: int = 0) -> Survey:
    made = Survey(size)
    for datum in data:
        made.add(datum)
    return made


def pixels(data: bytes, *shape: int, **fields: object) -> pb.Datum:
    channels, height, width = shape
    return pb.Datum(channels=channels, height=height, width=width, data=data, **fields)  # type: ignore[arg-type]


def image(data: bytes) -> pb.Datum:
    return pb.Datum(data=data, encoded=True)


JPEG = cv2.imencode(".jpg", np.zeros((12, 12, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("datum", "said"),
    [
        (pixels(bytes(143), 1, 12, 12), "143 bytes of pixels, and its shape 1×12×12 needs 144"),
        (pixels(b"", 1, 12, 12, float_data=[1.0] * 143), "143 float values, and its shape 1×12×12 needs 144"),
        (pixels(b"", 1, 12, 12), "0 float values"),
        (pixels(b"", 1, 0, 12), "its channels, height and width are 1×0×12"),
        (pb.Datum(label=1), "its channels, height and width are 0×0×0"),
        (image(b"not an image"), "12 bytes that begin b'not an image', which cannot be decoded"),
        (image(b""), "an encoded image of zero bytes"),
        (image(png()[:-60]), "PNG of"),
        (image(b"GIF89a" + bytes(40)), "GIF, which Caffe cannot decode"),
        (image(b"RIFF0000WEBPVP8 " + bytes(40)), "WEBP, which Caffe cannot decode"),
    ],
    ids=["short", "floats", "no values", "no rows", "no shape", "text", "no bytes", "half", "gif", "webp"],
)
def test_records_that_caffe_cannot_use_are_damaged(datum: pb.Datum, said: str) -> None:
    found = survey(pixels(bytes(4), 1, 2, 2), datum).images
    assert list(found.damaged) == [1]
    assert said in found.damaged[1]
    assert found.of.tolist() == [0, -1]


def test_images_of_one_kind_are_counted_together() -> None:
    found = survey(
        pixels(bytes(12), 3, 2, 2),
        image(png(3)),
        pixels(b"", 3, 2, 2, float_data=[0.0] * 12),
        image(JPEG),
        image(png(4, np.uint16)),
        pixels(bytes(13), 3, 2, 2),
        image(JPEG[: len(JPEG) // 2]),
        pixels(bytes(12), 3, 2, 2),
    ).images
    assert found.kinds == (
        ImageKind("pixels", 8, (3, 2, 2)),
        ImageKind("png", 8, (3, 12, 12)),
        ImageKind("floats", 32, (3, 2, 2)),
        ImageKind("jpeg", 8, (3, 12, 12)),
        ImageKind("png", 16, (4, 12, 12), brightest=0),
        ImageKind("pixels", 8, (3, 2, 2), surplus=True),
        ImageKind("jpeg", 8, None, cut=True),
    )
    assert found.of.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert (found.count(0), found.first(6)) == (2, 6)


def test_of_many_images_a_part_is_decoded_and_of_all_the_kind_is_told() -> None:
    one = image(png(size=300) + bytes(1 << 20))
    count = 80
    made = survey(*[one] * count, image(png(3, np.uint16)), image(b"text"), size=count << 20)
    decoded = sum(made.images.count(n) for n, kind in enumerate(made.images.kinds) if kind.shape == (1, 300, 300))
    assert 10 <= decoded <= (DECODED >> 20) + 1
    assert ImageKind("png", 16, None) in made.images.kinds or ImageKind("png", 16, (3, 12, 12)) in made.images.kinds
    assert len(made.images.damaged) == 1
