"""make_lmdb on real images, faults and signals; the oracles are Caffe's convert_imageset and compute_image_mean."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import cv2
import lmdb
import numpy as np
import psutil
import pytest
from PIL import Image

import harness.imageset.work_directory
from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.messages import pb
from harness.imageset.options import parse
from harness.imageset.workers import Workers
from harness.make_lmdb import main
from tests.helpers.imagesets import MAKE_LMDB, convert_imageset, records, report_of, write_photos
from tests.helpers.paths import BIN
from tests.helpers.processes import Finished, command, started, wait_for


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of ten images each."""
    write_photos(tmp_path / "photos", [f"{name}/im {n}.jpg" for name in ("cat", "big dog", "eel") for n in range(10)])
    return tmp_path / "photos"


# Equal to convert_imageset


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of many kinds, and `list.txt` with Windows line ends, spaces and unsorted labels."""
    home = tmp_path_factory.mktemp("mixed")
    kinds = ("jpg", "png", "bmp", "JPEG", "tif")
    names = [f"a b/{n}.{kind}" for kind in kinds for n in range(3)]
    write_photos(home, names)
    grey = cv2.imread(str(home / "a b/0.jpg"), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    for kind in ("jpg", "png"):
        cv2.imwrite(str(home / f"grey.{kind}"), grey)
    Image.open(home / "a b/1.png").convert("RGBA").save(home / "alpha.png")
    Image.open(home / "a b/1.png").convert("CMYK").save(home / "cmyk.jpg")
    cv2.imwrite(str(home / "deep.png"), grey.astype(np.uint16) * 200)
    held = Image.Exif()
    held[0x0112] = 6  # orientation
    Image.open(home / "a b/1.jpg").save(home / "turned.jpg", exif=held)
    (home / "really a png.jpg").write_bytes((home / "a b/2.png").read_bytes())
    names += ["grey.jpg", "grey.png", "alpha.png", "cmyk.jpg", "deep.png", "turned.jpg", "really a png.jpg"]
    (home / "list.txt").write_bytes(b"".join(f"{name} {n * 7 % 5}\r\n".encode() for n, name in enumerate(names)))
    return home


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--gray",
        "--resize_height=40 --resize_width=60",
        "--resize_height=128 --resize_width=128 --gray",
        "--encoded",
        "--encoded --gray",
        "--encode_type=jpg",
        "--encode_type=png --gray",
        "--encode_type=jpg --resize_height=32 --resize_width=32",
        "--encode_type=png --resize_height=32 --resize_width=32",
    ],
)
def test_records_equal_those_of_convert_imageset(mixed: Path, tmp_path: Path, options: str) -> None:
    theirs = convert_imageset(mixed, mixed / "list.txt", tmp_path / "theirs", *options.split())
    image_format = parse([*options.split(), "--list", "x", "out"]).image_format
    lines = [line.rsplit(b" ", 1) for line in (mixed / "list.txt").read_bytes().split(b"\r\n")[:-1]]
    with Workers(1, f"{mixed}/", image_format) as workers:
        numbered = [(n, path, int(label)) for n, (path, label) in enumerate(lines)]
        ours = {image.key: image.record for images, _ in workers.convert(numbered, False) for image in images}
    assert ours == theirs
    assert len(ours) == len(lines)


def _list_of(home: Path) -> list[str]:
    return ["--list", str(home / "list.txt"), "--root", str(home), "--test-share", "0"]


@pytest.mark.parametrize("options", ["--resize_height=40 --resize_width=60", "--encoded"])
def test_a_list_gives_the_same_lmdb(mixed: Path, tmp_path: Path, options: str) -> None:
    theirs = convert_imageset(mixed, mixed / "list.txt", tmp_path / "theirs", *options.split())
    out = tmp_path / "deep/er/ours"
    done = command(*MAKE_LMDB, *_list_of(mixed), *options.split(), out)
    assert done.code == 0, done.stderr
    assert list(records(out / "train_lmdb").items()) == list(theirs.items())
    assert not (out / "test_lmdb").exists()
    made = open_records(out / "train_lmdb")
    assert f"fingerprint {made.fingerprint}" in done.stdout
    assert not out.with_name("ours.part").exists()


def test_the_first_training_needs_no_scan(photos: Path, tmp_path: Path) -> None:
    assert main([str(photos), str(tmp_path / "out")]) == 0
    made = open_records(tmp_path / "out/train_lmdb", scan=lambda path, progress: pytest.fail("read again"))
    assert len(made) == 27


@pytest.mark.parametrize("options", ["--resize_height=40 --resize_width=60", "--gray", "--encode_type=jpg"])
def test_the_mean_equals_that_of_compute_image_mean(tmp_path: Path, options: str) -> None:
    write_photos(tmp_path / "photos", [f"{name}/{n}.png" for name in "ab" for n in range(7)], size=33)
    shutil.copy(tmp_path / "photos/a/3.png", tmp_path / "photos/a/copy.png")  # left out, of the sums, too
    out = tmp_path / "out"
    assert main([str(tmp_path / "photos"), str(out), *options.split()]) == 0
    done = command(BIN / "compute_image_mean", out / "train_lmdb", tmp_path / "mean")
    assert (out / "mean.binaryproto").read_bytes() == (tmp_path / "mean").read_bytes()
    theirs = [float(value) for value in re.findall(r"mean_value channel \[\d\]: (\S+)", done.stderr)]
    assert report_of(out)["mean_value"] == pytest.approx(theirs, rel=1e-4)


# A folder, and what is wrong in it


def test_bad_images_are_left_out_and_listed(photos: Path, tmp_path: Path) -> None:
    jpeg = (photos / "cat/im 0.jpg").read_bytes()
    pixels = cv2.imread(str(photos / "cat/im 1.jpg"))
    assert pixels is not None
    png = cv2.imencode(".png", pixels)[1].tobytes()
    spoiled = bytearray(jpeg)
    spoiled[len(jpeg) // 2 : len(jpeg) // 2 + 40] = bytes(range(100, 140))
    planted = {
        "cat/half.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "cat/no end.jpg": (jpeg[:-2], "damaged?"),
        "cat/half.png": (png[: len(png) // 2], "damaged"),
        "cat/zero.jpg": (b"", "empty"),
        "eel/Thumbs.db": (b"\xd0\xcf\x11\xe0 no image", "not an image"),
        "eel/404.jpg": (b"<html>not found</html>", "not an image"),
        "eel/sub/copy of 3.jpg": ((photos / "eel/im 3.jpg").read_bytes(), "duplicate"),
        "eel/dog.jpg": ((photos / "big dog/im 3.jpg").read_bytes(), "mislabelled?"),
        "eel/spoiled.jpg": (bytes(spoiled), "damaged?"),
        "readme.txt": (b"my photos", "no class"),
    }
    for path, (content, _) in planted.items():
        (photos / path).parent.mkdir(exist_ok=True)
        (photos / path).write_bytes(content)
    with Image.open(photos / "cat/im 5.jpg") as image:
        image.save(photos / "cat/5.gif")
        image.save(photos / "cat/5.webp", save_all=True, append_images=[image.rotate(90)])
    (photos / "cat/gone.jpg").symlink_to("nowhere")
    (photos / ".thumbnails").mkdir()
    (photos / "cat/linked").symlink_to(photos / "eel")
    wrong = {path: kind for path, (_, kind) in planted.items()} | {
        "cat/5.gif": "unsupported",
        "cat/5.webp": "unsupported",
        "cat/gone.jpg": "no such file",
        ".thumbnails": "no class",
        "cat/linked": "no class",
    }
    out = tmp_path / "out"
    done = command(*MAKE_LMDB, photos, out, "--seed", 3, "--resize-height=40", "--resize-width=40")
    assert done.code == 0, done.stderr

    report = report_of(out)
    # which of two copies comes first, and which has the wrong label, nobody knows
    other = {"eel/im 3.jpg": "eel/sub/copy of 3.jpg", "big dog/im 3.jpg": "eel/dog.jpg"}
    found = {other.get(problem["path"], problem["path"]): problem["kind"] for problem in report["problems"]}
    assert found == wrong
    kept = {problem["kind"] for problem in report["problems"] if problem["kept"]}
    assert kept == {"mislabelled?", "damaged?"}
    text = (out / "report.txt").read_text()
    assert all(path in text for path in {problem["path"] for problem in report["problems"]})
    assert "1 truncated, 1 damaged, 1 empty, 2 not an image, 2 unsupported, 1 no such file, 1 duplicate" in done.stdout
    assert (out / "classes.txt").read_text() == "0 big dog\n1 cat\n2 eel\n"

    # all that convert_imageset makes of the same lists, but for what it should not have made
    for name in ("train", "test"):
        size = "--resize_height=40", "--resize_width=40"
        theirs = convert_imageset(photos, out / f"{name}.txt", tmp_path / name, *size)
        ours = records(out / f"{name}_lmdb")
        assert ours.items() <= theirs.items()
        more = {key.decode()[9:] for key in theirs.keys() - ours.keys()}
        assert {other.get(path, path) for path in more} <= {
            "cat/half.jpg",
            "eel/sub/copy of 3.jpg",
        }
        assert len(ours) == report["sets"][name == "test"]["tally"]["records"]


def test_each_class_has_its_share_in_the_test_set(photos: Path, tmp_path: Path) -> None:
    assert main([str(photos), str(tmp_path / "out"), "--test-share", "0.3"]) == 0
    labels = {name: open_records(tmp_path / f"out/{name}_lmdb").labels for name in ("train", "test")}
    assert Counter(labels["test"].tolist()) == {0: 3, 1: 3, 2: 3}
    assert Counter(labels["train"].tolist()) == {0: 7, 1: 7, 2: 7}
    assert np.count_nonzero(np.diff(labels["train"])) > 5  # shuffled
    lists = [(tmp_path / f"out/{name}.txt").read_text().splitlines() for name in ("train", "test")]
    assert sorted(lists[0] + lists[1]) == sorted(
        f"{name}/im {n}.jpg {label}" for label, name in enumerate(("big dog", "cat", "eel")) for n in range(10)
    )
    assert main([str(photos), str(tmp_path / "again"), "--test-share", "0.3"]) == 0
    assert records(tmp_path / "again/train_lmdb") == records(tmp_path / "out/train_lmdb")
    assert main([str(photos), str(tmp_path / "other"), "--test-share", "0.3", "--seed", "2"]) == 0
    assert records(tmp_path / "other/train_lmdb") != records(tmp_path / "out/train_lmdb")


def test_encoded_images_of_different_forms_are_reported(mixed: Path, tmp_path: Path) -> None:
    done = command(*MAKE_LMDB, *_list_of(mixed), "--encoded", tmp_path / "out")
    assert done.code == 0, done.stderr
    problems = {problem["path"]: problem["kind"] for problem in report_of(tmp_path / "out")["problems"]}
    wanted = dict.fromkeys(("grey.jpg", "grey.png", "alpha.png", "deep.png"), "different format") | {
        "turned.jpg": "rotated"
    }
    assert problems == wanted | {"really a png.jpg": "mislabelled?"}
    assert "5 images need transform_param { force_color: true }" in done.stdout
    assert "images differ in size: the net needs a crop_size of at most 3" in done.stdout
    assert not (tmp_path / "out/mean.binaryproto").exists()


def test_strict_refuses_bad_images(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "eel/bad.jpg").write_bytes(b"")
    out = tmp_path / "out"
    assert main([str(photos), str(out), "--strict"]) == 2
    assert "1 images are left out or in two classes (--strict)" in capsys.readouterr().err
    assert not out.exists()
    assert "eel/bad.jpg (label 2): zero bytes" in (tmp_path / "out.part/report.txt").read_text()
    (photos / "eel/bad.jpg").unlink()
    assert main([str(photos), str(out), "--strict"]) == 0
    assert not (tmp_path / "out.part").exists()


def test_test_images_that_are_train_images_are_left_out(tmp_path: Path) -> None:
    write_photos(tmp_path, [f"{n}.png" for n in range(6)])
    shutil.copy(tmp_path / "1.png", tmp_path / "copy.png")
    (tmp_path / "list.txt").write_text("0.png 0\n1.png 1\n2.png 0\n3.png 1\n0.png 0\n")
    (tmp_path / "val.txt").write_text("copy.png 1\n4.png 0\n5.png 7\n")
    arguments = ["--list", "list.txt", "--test-list", "val.txt"]
    done = command(*MAKE_LMDB, *arguments, "out", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert list(records(tmp_path / "out/train_lmdb")) == [b"%08d_%d.png" % (n, n) for n in range(4)]
    assert list(records(tmp_path / "out/test_lmdb")) == [b"00000001_4.png", b"00000002_5.png"]
    assert "no image has labels 2, 3, 4, 5, 6" in done.stdout
    assert "no training image of class 7" in done.stdout
    assert "listed twice" in (tmp_path / "out/report.txt").read_text()
    done = command(*MAKE_LMDB, *arguments, "kept", "--duplicates=keep", "--no-shuffle", cwd=tmp_path)
    assert done.code == 0, done.stderr
    theirs = convert_imageset(tmp_path, tmp_path / "list.txt", tmp_path / "theirs")
    assert records(tmp_path / "kept/train_lmdb") == theirs
    assert len(records(tmp_path / "kept/test_lmdb")) == 3


def test_a_list_of_one_class_or_sorted_by_class_is_reported(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for classes, remark in ((["cat"], "there is only one class"), (["cat", "eel"], "sorted by class")):
        lines = [f"{name}/im {n}.jpg {label}\n" for label, name in enumerate(classes) for n in range(10)]
        (tmp_path / "list.txt").write_text("".join(lines))
        out = tmp_path / classes[-1]
        assert main(["--list", str(tmp_path / "list.txt"), "--root", str(photos), str(out)]) == 0
        assert remark in capsys.readouterr().out
        assert (out / "classes.txt").read_text() == "".join(f"{label} {name}\n" for label, name in enumerate(classes))


# Interruption

LISTED = 2600


@pytest.fixture(scope="module")
def long_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images, listed repeatedly so that they take a while."""
    home = tmp_path_factory.mktemp("long")
    write_photos(home, [f"{n}.jpg" for n in range(60)], size=200)
    (home / "list.txt").write_text("".join(f"{n * 13 % 60}.jpg {n % 7}\n" for n in range(LISTED)))
    return home


LONG = ("--resize_height=24", "--resize_width=24", "--duplicates=keep", "--workers=1")


def noted_down(part: Path) -> int:
    """The number of images of the train list that are done."""
    with (
        contextlib.suppress(lmdb.Error, KeyError),
        lmdb.open(str(part / "state"), readonly=True, lock=False, create=False) as state,
        state.begin() as transaction,
    ):
        return int(json.loads(transaction.get(b"tallies", b"{}"))["train"]["lines"])
    return 0


def interrupted(home: Path, out: Path, number: int) -> Finished:
    """Run make_lmdb on the long list and send it a signal after the first commit."""
    part = out.with_name(f"{out.name}.part")
    workers: list[psutil.Process] = []
    with started(
        *MAKE_LMDB, *_list_of(home), *LONG, out, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60
    ) as process:
        while process.poll() is None:
            workers = psutil.Process(process.pid).children() or workers
            if noted_down(part):
                process.send_signal(number)
                break
            time.sleep(0.002)
        stdout, stderr = process.communicate(timeout=60)
    assert workers
    assert not psutil.wait_procs(workers, timeout=10)[1]
    assert not out.exists()
    return Finished(process.returncode, stdout, stderr)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_same_command_continues_after_an_interruption(long_list: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "out"
    done = interrupted(long_list, out, number)
    assert done.code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    if number == signal.SIGINT:
        assert "run the same command to continue" in done.stderr
    made = len(records(tmp_path / "out.part/train_lmdb"))
    assert 1000 <= noted_down(tmp_path / "out.part") <= made < LISTED
    # as if it had been killed after the records were written, and before that was noted down
    with (
        lmdb.open(str(tmp_path / "out.part/train_lmdb"), map_size=1 << 30) as data,
        data.begin(write=True) as transaction,
    ):
        transaction.put(b"%08d_half a record" % (made + 3), b"?")
    done = command(*MAKE_LMDB, *_list_of(long_list), *LONG, out)
    assert done.code == 0, done.stderr
    assert re.search(r"Continuing in \S+/out.part: [12],0[0-9]{2} of 2,600 images are done", done.stderr)
    options = LONG[:2]
    theirs = convert_imageset(long_list, long_list / "list.txt", tmp_path / "theirs", *options)
    assert list(records(out / "train_lmdb").items()) == list(theirs.items())
    command(BIN / "compute_image_mean", out / "train_lmdb", tmp_path / "mean")
    assert (out / "mean.binaryproto").read_bytes() == (tmp_path / "mean").read_bytes()


def test_a_full_disk_stops_it_until_space_is_free(long_list: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = command("prlimit", f"--fsize={3 << 20}", *MAKE_LMDB, *_list_of(long_list), *LONG, out)
    assert done.code == 1
    assert re.search(r"1,0\d\d images are done: run the same command to continue from there", done.stderr)
    assert not out.exists()
    done = command(*MAKE_LMDB, *_list_of(long_list), *LONG, out)
    assert done.code == 0, done.stderr
    assert len(records(out / "train_lmdb")) == LISTED


def test_a_killed_worker_is_reported(long_list: Path, tmp_path: Path) -> None:
    with started(*MAKE_LMDB, *_list_of(long_list), *LONG, tmp_path / "out", stderr=subprocess.PIPE) as process:
        wait_for((tmp_path / "out.part/state").exists, process)
        for worker in psutil.Process(process.pid).children():
            worker.kill()
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "a worker was killed" in stderr
    assert "Run the same command to continue from there" in stderr


def test_other_options_start_over(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(
            "harness.imageset.pipeline._Pipeline._finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert main([str(photos), str(out)]) == 130
    done = command(*MAKE_LMDB, photos, out, "--gray")
    assert "begun with other options or images: starting over" in done.stderr
    assert main([str(photos), str(tmp_path / "other"), "--gray"]) == 0
    assert records(out / "train_lmdb") == records(tmp_path / "other/train_lmdb")


def test_an_interruption_while_results_are_moved(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert main([str(photos), str(out), "--gray"]) == 0
    replace = os.replace

    def until_the_lmdbs(made: Path, place: Path) -> None:
        if place.name == "train_lmdb":
            raise KeyboardInterrupt
        replace(made, place)

    with monkeypatch.context() as patch:
        patch.setattr("harness.imageset.work_directory.os.replace", until_the_lmdbs)
        assert main([str(photos), str(out), "--force"]) == 130
    assert main([str(photos), str(out), "--force"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "out"}
    assert pb.Datum.FromString(next(iter(records(out / "train_lmdb").values()))).channels == 3


def test_a_second_process_on_the_same_output_is_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with harness.imageset.work_directory.WorkDirectory(tmp_path / "out"):
        assert main([str(photos), str(tmp_path / "out")]) == 2
    assert "another make-lmdb is running in this folder" in capsys.readouterr().err


def test_the_lmdb_map_grows_when_it_is_full(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.imageset.work_directory, "_INITIAL_MAP_SIZE", 1 << 16)
    assert main([str(photos), str(tmp_path / "out")]) == 0
    assert len(records(tmp_path / "out/train_lmdb")) == 27


# Options and bad input


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty list of images"),
        (b"a.jpg 1\r\nb.jpg\r\n", "list.txt:2: line = 'b.jpg': no label after a path and a space"),
        (b"a.jpg 1\na b.jpg\n", "list.txt:2: line = 'a b.jpg': no label"),
        (b"a.jpg 1\n\nb.jpg 2\n", "list.txt:2: line = '': an empty line. Remove it"),
        (
            b"a.jpg 1\na.jpg 2.7272\n",
            "'a.jpg 2.7272': a label with a fraction, which Caffe would cut off",
        ),
        (b"a.jpg -1\n", "list.txt:1: line = 'a.jpg -1': a negative label"),
        (b"a.jpg 2147483648\n", "a label that does not fit in 32 bits"),
        (b"a.jpg\t1\n", "a tab between path and label; Caffe requires a space"),
        ("a.jpg 1\n".encode("utf-16"), "not a text in UTF-8"),
        (b"gone.jpg 0\nb\\c.jpg 1\n", "none of a sample of 2 images can be used, for example this one: no such file"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_bad_lists_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)
    assert main(["--list", str(tmp_path / "list.txt"), "--workers=1", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_folders_are_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def says(*arguments: object) -> str:
        assert main([*map(str, arguments), "--workers=1"]) == 2
        return capsys.readouterr().err

    out = tmp_path.parent / f"{tmp_path.name}-out"
    assert "cannot be read (No such file or directory)" in says(tmp_path / "gone", out)
    assert f"{photos / 'cat'}: it has no class folders" in says(photos / "cat", out)
    assert "only one class (photos), so there is nothing to learn. If the classes are in" in says(photos.parent, out)
    assert f"inside {photos}, where it would be a class" in says(photos, photos / "out")
    (photos / "void").mkdir()
    assert f"{photos / 'void'}: a class folder without files" in says(photos, out)
    (photos / "void").rmdir()
    assert not list(tmp_path.parent.glob(f"{out.name}*"))

    out.mkdir()
    (out / "train_lmdb").mkdir()
    assert "already holds train_lmdb. Give another folder, or --force to replace them" in says(photos, out)
    (tmp_path / "file").touch()
    assert "not a folder" in says(photos, tmp_path / "file")
    (tmp_path / "new.part").mkdir()
    (tmp_path / "new.part/thesis.tex").touch()
    assert "needed for the work in progress, but holds other files. Move it away" in says(photos, tmp_path / "new")
    assert (tmp_path / "new.part/thesis.tex").exists()


def test_check_size_refuses_images_of_different_sizes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photos), str(tmp_path / "out"), "--check_size"]) == 2
    assert re.search(
        r"--check-size: channels, height and width are 3×\d+×\d+, but those of .* are 3×", capsys.readouterr().err
    )
    assert main([str(photos), str(tmp_path / "out"), "--check_size", "--resize_height=9", "--resize_width=9"]) == 0


def test_a_disk_that_is_too_small_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("harness.imageset.output_directory.shutil.disk_usage", lambda _: usage)
    assert main([str(photos), str(tmp_path / "out")]) == 2
    assert re.search(r"about \d+\.\d kB of disk space are needed, and \d\.\d kB are free", capsys.readouterr().err)
