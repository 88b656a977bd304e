"""make_lmdb on unusual images, folders and lists; the oracles are convert_imageset and Caffe's own decoding."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
from PIL import Image

from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.messages import pb
from harness.imageset.listing import read_list
from harness.imageset.options import parse
from harness.imageset.workers import Workers
from harness.make_lmdb import main
from harness.recording import Recording
from tests.helpers.commands import train
from tests.helpers.imagesets import MAKE_LMDB, convert_imageset, photo, records, report_of, write_photos
from tests.helpers.nets import solver_text
from tests.helpers.processes import Finished, command

HEIGHT, WIDTH = 60, 90
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6  # EXIF orientation
END = b"\xff\xd9"
COMMENT = b"\xff\xfe\xff\xf2" + b"x" * 0xFFF0  # a JPEG segment of 64 KiB


def written(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def odd_images() -> dict[str, bytes]:
    image = Image.fromarray(photo(np.random.default_rng(3), HEIGHT, WIDTH)[:, :, ::-1].copy())
    jpeg, progressive = written(image, "jpeg"), written(image, "jpeg", progressive=True)
    turned = written(image, "jpeg", exif=SIDEWAYS)
    frames = {"save_all": True, "append_images": [image.rotate(90)], "duration": 100}
    png = written(image, "png", exif=SIDEWAYS)
    place = png.index(b"eXIf") - 4
    exif = png[place : place + 12 + int.from_bytes(png[place : place + 4], "big")]
    values = np.asarray(image)[:, :, ::-1].astype(np.float32)
    return {
        "plain.webp": written(image, "webp"),
        "turned.webp": written(image, "webp", lossless=True, exif=SIDEWAYS),
        "alpha.webp": written(image.convert("RGBA"), "webp"),
        "animated.png": written(image, "png", **frames),
        "animated with alpha.png": written(
            image.convert("RGBA"), "png", save_all=True, append_images=[image.convert("RGBA").rotate(90)]
        ),
        "animated with another.png": written(image, "png", default_image=True, **frames),
        "radiance.hdr": cv2.imencode(".hdr", values / 200)[1].tobytes(),
        "float.tif": cv2.imencode(".tif", values / 255)[1].tobytes(),
        "turned.jpg": turned,
        "turned late.jpg": turned[:2] + COMMENT * 2 + turned[2:],
        "turned.png": png,
        "turned at its end.png": png.replace(exif, b"")[:-12] + exif + png[-12:],
        "turned.tif": written(image, "tiff", tiffinfo={0x0112: 6}),
        "no end.jpg": jpeg[:-2],
        "half an end.jpg": jpeg[:-1],
        "progressive without end.jpg": progressive[:-2],
        "zeros.jpg": jpeg[: len(jpeg) // 2] + bytes(4000),
        "half.jpg": jpeg[: len(jpeg) // 2],
        "few bytes less.jpg": jpeg[:-10],
        "half a progressive.jpg": progressive[: len(progressive) // 2],
        "header of a progressive.jpg": progressive[: progressive.index(b"\xff\xda") + 4],
        "progressive zeros.jpg": progressive[: len(progressive) // 2] + bytes(2000),
        "appended.jpg": jpeg + b"\xff\xda\0\0 what a camera appends",
        # a thumbnail's end is not the image's
        "thumbnail.jpg": jpeg[:2] + b"\xff\xe2\0\x10" + b"\xff\xd8\xff\xda--------" + END + jpeg[2:-2],
    }


CUT_SHORT = (
    "half.jpg", "few bytes less.jpg", "half a progressive.jpg", "header of a progressive.jpg", "progressive zeros.jpg",
)  # fmt: skip
WITHOUT_END = ("no end.jpg", "half an end.jpg", "progressive without end.jpg", "thumbnail.jpg")
TURNED = ("turned.jpg", "turned late.jpg", "turned.png", "turned at its end.png")


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("odd")
    images = odd_images()
    for name, content in images.items():
        (home / name).write_bytes(content)
    (home / "list.txt").write_text("".join(f"{name} 0\n" for name in images))
    return home


def converted(odd: Path, options: str) -> tuple[dict[str, bytes | None], dict[str, tuple[str, bool, str]]]:
    """Convert; return records (None: left out) and remarks (kind, whether it is kept, reason), by name."""
    names = list(odd_images())
    image_format = parse([*options.split(), "--list", "x", "out"]).image_format
    with Workers(1, f"{odd}/", image_format) as workers:
        lines = [(n, name.encode(), 0) for n, name in enumerate(names)]
        images = [image for images, _ in workers.convert(lines, summed=False) for image in images]
    remarks = {p.path: (p.kind, p.kept, p.why) for image in images for p in image.problems}
    assert sum(len(image.problems) for image in images) == len(remarks) + ("gray" in options and "--encoded" in options)
    return {image.path.decode(): image.record for image in images}, remarks


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--gray",
        "--resize_height=40 --resize_width=30",
        "--resize_height=40 --resize_width=30 --gray",
        "--encode_type=bmp",
        "--encode_type=bmp --gray",
    ],
)
def test_records_equal_those_of_convert_imageset_or_the_reason_is_given(
    odd: Path, tmp_path: Path, options: str
) -> None:
    theirs = {
        key[9:].decode(): record
        for key, record in convert_imageset(odd, odd / "list.txt", tmp_path / "theirs", *options.split()).items()
    }
    ours, remarks = converted(odd, options)
    left_out = {name: remark[0] for name, remark in remarks.items() if not remark[1]}
    wanted = dict.fromkeys(CUT_SHORT, "truncated") | {"float.tif": "damaged"}
    if "--gray" in options:
        wanted["radiance.hdr"] = "unsupported"
    assert left_out == wanted
    assert {name: record for name, record in ours.items() if record is not None} == {
        name: record for name, record in theirs.items() if name not in wanted
    }
    kept = {name: remark for name, remark in remarks.items() if remark[1]}
    assert {name: kind for name, (kind, _, _) in kept.items()} == dict.fromkeys((*WITHOUT_END, "zeros.jpg"), "damaged?")
    assert all("its end is missing" in why for _, _, why in kept.values())


def test_images_of_16_bits_are_told_and_those_that_become_nearly_black_are_remarked_on(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    for name, largest in (("full.png", 65535), ("scan.png", 4095), ("scan.tif", 4095), ("usual.png", 255)):
        kind = np.uint8 if largest == 255 else np.uint16
        pixels: np.ndarray = random.integers(0, largest + 1, (12, 12, 3)).astype(kind)
        (tmp_path / name).write_bytes(cv2.imencode(name[-4:], pixels)[1].tobytes())
    names = ["usual.png", "full.png", "scan.png", "scan.tif"]
    (tmp_path / "list.txt").write_text("".join(f"{name} {n % 2}\n" for n, name in enumerate(names)))
    theirs = convert_imageset(tmp_path, tmp_path / "list.txt", tmp_path / "theirs")
    options = ("--list", "list.txt", "--root", ".", "--test-share", 0, "--no-shuffle")
    done = command(*MAKE_LMDB, *options, "out", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert records(tmp_path / "out/train_lmdb") == theirs
    assert "2 images of 16 bits a value are nearly black" in done.stdout
    assert "kept         1 of 16 bits, 2 nearly black\n" in done.stdout
    text = (tmp_path / "out/report.txt").read_text()
    assert "full.png (label 1): at most 255 of 255 is left" in text
    for name in ("scan.png (label 0)", "scan.tif (label 1)"):
        assert f"{name}: at most 15 of 255 is left" in text
    done = command(*MAKE_LMDB, *options, "--encoded", "--encode-type", "png", "files", cwd=tmp_path)
    assert "2 images of 16 bits a value are nearly black" in done.stdout


SEEN = """
import sys, caffe, numpy as np
for home in sys.argv[1:]:
    net = caffe.Net(f"{home}/net.prototxt", caffe.TRAIN)
    net.forward()
    np.save(f"{home}/seen.npy", net.blobs["data"].data)
"""


def seen_by_caffe(home: Path, *images: tuple[bytes, str]) -> list[np.ndarray] | None:
    """The arrays that a net gets of encoded images, each with a transform_param; None if Caffe aborts at one."""
    homes = [home / str(n) for n in range(len(images))]
    for place, (image, transform) in zip(homes, images, strict=True):
        place.mkdir(parents=True)
        with lmdb.open(str(place / "lmdb"), map_size=1 << 24) as environment, environment.begin(write=True) as writing:
            writing.put(b"00000000_image", pb.Datum(data=image, label=0, encoded=True).SerializeToString())
        (place / "net.prototxt").write_text(
            f'layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ {transform} }} '
            f'data_param {{ source: "{place}/lmdb" batch_size: 1 backend: LMDB }} }}'
        )
    done = command(sys.executable, "-c", SEEN, *homes)
    assert done.code == 0 or "Could not decode datum" in done.stderr, done.stderr
    return [np.load(place / "seen.npy")[0] for place in homes] if done.code == 0 else None


def test_encoded_images_that_caffe_cannot_decode_are_left_out(odd: Path, tmp_path: Path) -> None:
    ours, remarks = converted(odd, "--encoded")
    left_out = {name: remark[0] for name, remark in remarks.items() if not remark[1]}
    assert left_out == dict.fromkeys((*CUT_SHORT, *WITHOUT_END), "truncated") | {
        "float.tif": "damaged", "plain.webp": "unsupported", "alpha.webp": "unsupported",
        "turned.webp": "unsupported",
    }  # fmt: skip
    theirs = convert_imageset(odd, odd / "list.txt", tmp_path / "theirs", "--encoded")
    left = {key[9:].decode(): record for key, record in theirs.items() if key[9:].decode() not in left_out}
    assert {name: record for name, record in ours.items() if record is not None} == left
    for name in ("plain.webp", "progressive without end.jpg"):
        assert seen_by_caffe(tmp_path / name, ((odd / name).read_bytes(), "force_color: true")) is None
    cut = (odd / "no end.jpg").read_bytes()
    seen = seen_by_caffe(tmp_path / "seen", (cut, ""), (cut + END, ""))
    assert seen is not None
    assert np.array_equal(seen[0][:, :40], seen[1][:, :40])
    assert not np.array_equal(seen[0], seen[1])


def test_images_that_caffe_rotates_only_with_force_color_are_reported(odd: Path, tmp_path: Path) -> None:
    _, remarks = converted(odd, "--encoded")
    assert {name for name, (kind, _, _) in remarks.items() if kind == "rotated"} == set(TURNED)
    assert remarks["turned.png"][2] == "EXIF orientation 6, which Caffe applies only with force_color"
    names = (*TURNED, "turned.tif")
    contents = [(odd / name).read_bytes() for name in names]
    seen = seen_by_caffe(tmp_path, *((c, force) for force in ("", "force_color: true") for c in contents))
    assert seen is not None
    upright, turned = (3, HEIGHT, WIDTH), (3, WIDTH, HEIGHT)
    assert [image.shape for image in seen] == [upright] * len(TURNED) + [turned] * (1 + len(names))


def test_remarks_on_one_image_do_not_apply_to_the_next(tmp_path: Path) -> None:
    write_photos(tmp_path, ["spoiled.jpg", "good.jpg"])
    spoiled = bytearray((tmp_path / "spoiled.jpg").read_bytes())
    spoiled[len(spoiled) // 2 : len(spoiled) // 2 + 40] = bytes(range(100, 140))
    (tmp_path / "spoiled.jpg").write_bytes(spoiled)
    for options in ("--encoded --gray", "--encode_type=jpg --resize_height=9 --resize_width=9", ""):
        image_format = parse([*options.split(), "--list", "x", "out"]).image_format
        with Workers(1, f"{tmp_path}/", image_format) as workers:
            lines = [(0, b"spoiled.jpg", 0), (1, b"good.jpg", 0)]
            images = [image for images, _ in workers.convert(lines, summed=False) for image in images]
        assert "damaged?" in {problem.kind for problem in images[0].problems}
        assert "damaged?" not in {problem.kind for problem in images[1].problems}


def test_an_error_of_a_library_concerns_one_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / "photos", ["a/0.jpg", "b/0.jpg"])
    side = str((1 << 31) - 1)  # more bytes than any machine has
    size = ("--resize-height", side, "--resize-width", side)
    assert main([str(tmp_path / "photos"), str(tmp_path / "out"), *size]) == 2
    said = capsys.readouterr().err
    assert "none of a sample of 2 images can be used, for example this one: damaged (error: " in said
    assert "photos/b/0.jpg" in said or "photos/a/0.jpg" in said


def test_pipes_and_folders_are_no_images(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", ["a/0.jpg", "b/0.jpg"])
    os.mkfifo(tmp_path / "photos/a/pipe.jpg")
    done = command(*MAKE_LMDB, tmp_path / "photos", tmp_path / "out", "--test-share", "0", timeout=60)
    assert done.code == 0, done.stderr
    (problem,) = report_of(tmp_path / "out")["problems"]
    assert (problem["path"], problem["kind"], problem["why"]) == ("a/pipe.jpg", "unreadable", "not a regular file")
    (tmp_path / "list.txt").write_text("photos/a 0\nphotos/a/0.jpg 0\nphotos/b/0.jpg 1\n")
    done = command(*MAKE_LMDB, "--list", "list.txt", "listed", "--test-share", "0", cwd=tmp_path)
    assert done.code == 0, done.stderr
    (problem,) = report_of(tmp_path / "listed")["problems"]
    assert (problem["path"], problem["kind"]) == ("photos/a", "unreadable")


# Folders


def as_anybody(*arguments: object) -> Finished:
    """Run make_lmdb without root's right to read everything."""
    root = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    return command(*root, *MAKE_LMDB, *arguments, timeout=60)


def test_unreadable_folders_are_reported(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_photos(photos, ["a/0.jpg", "a/sub/1.jpg", "b/0.jpg", "b/1.jpg"])
    (photos / "b/1.jpg").chmod(0)
    (photos / "a/sub").chmod(0)
    try:
        done = as_anybody(photos, tmp_path / "out", "--test-share", "0")
        assert done.code == 0, done.stderr
        found = {p["path"]: (p["kind"], p["why"]) for p in report_of(tmp_path / "out")["problems"]}
        assert found == {
            "a/sub": ("unreadable", "a folder: Permission denied"),
            "b/1.jpg": ("unreadable", "Permission denied"),
        }
        assert "a/sub: a folder: Permission denied" in (tmp_path / "out/report.txt").read_text()
        (photos / "a").chmod(0)
        done = as_anybody(photos, tmp_path / "none")
        assert done.code == 2
        assert f"{photos}/a: cannot be read (Permission denied). The class has no other file" in done.stderr
    finally:
        for folder in ("a", "a/sub"):
            (photos / folder).chmod(0o755)


def test_hidden_folders_and_line_breaks_in_names_are_handled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    write_photos(photos, ["a/0.jpg", "a/.thumbs/1.jpg", "a/sub/.git/deep/2.jpg", "b/0.jpg", "b/new\nline.jpg"])
    (photos / "b/0.jpg").rename(photos / "b/carriage\rreturn.jpg")
    assert main([str(photos), str(tmp_path / "out")]) == 2
    assert "b: a class folder without files except b/" in capsys.readouterr().err
    write_photos(photos, ["b/0.jpg"], seed=2)
    assert main([str(photos), str(tmp_path / "out"), "--test-share", "0"]) == 0
    assert {p["path"]: (p["kind"], p["why"]) for p in report_of(tmp_path / "out")["problems"]} == {
        "a/.thumbs": ("no class", "a hidden folder"),
        "a/sub/.git": ("no class", "a hidden folder"),
        "b/new\nline.jpg": ("no class", "its name has a line break: it cannot be listed"),
        "b/carriage\rreturn.jpg": ("no class", "its name has a line break: it cannot be listed"),
    }
    assert {key[9:] for key in records(tmp_path / "out/train_lmdb")} == {b"a/0.jpg", b"b/0.jpg"}
    write_photos(photos, ["c\nd/0.jpg"])
    assert main([str(photos), str(tmp_path / "none")]) == 2
    assert "/'c\\nd': the name of this class folder has a line break" in capsys.readouterr().err


def test_paths_longer_than_a_key_are_left_out(tmp_path: Path) -> None:
    """A key has at most 511 bytes, of which 9 are the number; convert_imageset aborts at a longer one."""
    deep = "d" * 200 + "/" + "e" * 200 + "/"
    fits, does_not = (f"a/{deep}{'f' * (502 - 2 - len(deep) - 4 + more)}.jpg" for more in (0, 1))
    write_photos(tmp_path / "photos", [fits, does_not, "b/0.jpg"])
    assert main([str(tmp_path / "photos"), str(tmp_path / "out"), "--test-share", "0"]) == 0
    (problem,) = report_of(tmp_path / "out")["problems"]
    assert (problem["path"], problem["kind"]) == (does_not, "path too long")
    assert problem["why"] == "its key would have 512 bytes; LMDB allows 511"
    keys = list(records(tmp_path / "out/train_lmdb"))
    assert {len(key) for key in keys} == {511, 16}


# Lists and options


def test_a_byte_order_mark_is_no_part_of_the_first_path(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.jpg 0\r\n\xef\xbb\xbfb.jpg 1\r\n\r\n")
    assert read_list(tmp_path / "list.txt").paths == [b"a.jpg", b"\xef\xbb\xbfb.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a.jpg 3 \nb.jpg 1\n", "list.txt:1: line = 'a.jpg 3 ': a space after the label"),
        ("a.jpg 3\nb.jpg 1 ", "list.txt:2: line = 'b.jpg 1 ': a space after the label"),
        ("a.jpg 3\nb.jpg 1 \t\r\n\r\n", "list.txt:2: line = 'b.jpg 1 \\t': a space after the label"),
        (f"a.jpg {'9' * 5000}\n", "a label that does not fit in 32 bits"),
    ],
)
def test_lines_that_caffe_reads_differently_are_reported(
    tmp_path: Path, capsys: Any, content: str, message: str
) -> None:
    (tmp_path / "list.txt").write_bytes(content.encode())
    assert main(["--list", str(tmp_path / "list.txt"), str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_convert_imageset_misreads_a_space_after_the_label(tmp_path: Path) -> None:
    write_photos(tmp_path, ["a.jpg", "a.jpg 3.jpg"])
    (tmp_path / "a.jpg 3.jpg").rename(tmp_path / "a.jpg 3")
    (tmp_path / "list.txt").write_text("a.jpg 3 \n")
    ((key, record),) = convert_imageset(tmp_path, tmp_path / "list.txt", tmp_path / "theirs").items()
    assert (key, pb.Datum.FromString(record).label) == (b"00000000_a.jpg 3", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["p", "o", "--seed", "-1"], "--seed -1: out of range"),
        (["p", "o", "--seed", str(1 << 64)], "out of range. Give a number from 0 to"),
        (["p", os.fsdecode(b"\xf0\x9f\x98\x80\xff")], "OUT = \U0001f600\\xff: a path that is not UTF-8"),
    ],
)
def test_impossible_options_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


# What it makes is trained on

NET = """name: "tiny"
layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { mirror: true crop_size: 24 mean_value: 104 mean_value: 117 mean_value: 123 }
  data_param { source: "SOURCE" batch_size: 4 backend: LMDB } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 5 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "classifier" type: "InnerProduct" bottom: "conv" top: "classifier"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "classifier" bottom: "label" top: "loss" }
"""


def test_the_harness_trains_on_the_result(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", [f"{name}/{n}.jpg" for name in "abc" for n in range(5)])
    made = tmp_path / "made"
    done = command(*MAKE_LMDB, tmp_path / "photos", made, "--encoded", "--test-share", "0")
    assert done.code == 0, done.stderr
    (fingerprint,) = re.findall(r"^train_lmdb .* fingerprint (\w+)$", done.stdout, re.MULTILINE)
    (tmp_path / "net.prototxt").write_text(NET.replace("SOURCE", str(made / "train_lmdb")))
    fields = {"test_iter": None, "test_interval": None, "base_lr": 0.0001}
    (tmp_path / "solver.prototxt").write_text(solver_text(tmp_path / "net.prototxt", tmp_path / "tiny", **fields))
    run = tmp_path / "run"
    options = ("--until", 5, "--watch", "0:5")
    train(tmp_path / "solver.prototxt", run, *options, env={"OPENBLAS_NUM_THREADS": "1"})

    told = json.loads((run / "run.json").read_text())["data"]
    assert told == {str(made / "train_lmdb"): {"fingerprint": fingerprint, "records": 15}}
    recording = Recording(run)
    keys = list(records(made / "train_lmdb"))
    labels = open_records(made / "train_lmdb").labels.tolist()
    for iteration in range(5):
        places = [(4 * iteration + n) % 15 for n in range(4)]
        assert recording.keys(iteration) == [keys[place] for place in places]
        assert recording.input(iteration, "label").tolist() == [labels[place] for place in places]
        assert recording.input(iteration, "data").shape == (4, 3, 24, 24)
    assert np.isfinite(recording.series("loss")).all()
