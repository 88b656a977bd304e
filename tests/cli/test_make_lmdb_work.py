"""The output, disk space and processes of make_lmdb, with real disks that fill up and real signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

import harness.imageset.workers
from harness.imageset.image_format import ImageFormat
from harness.imageset.work_state import WorkState
from harness.imageset.workers import Workers
from harness.make_lmdb import main
from tests.helpers.imagesets import MAKE_LMDB, convert_imageset, records, report_of, write_photos
from tests.helpers.mounts import run_on_disk
from tests.helpers.paths import BIN, ROOT
from tests.helpers.processes import Finished, command, started, wait_for
from tests.helpers.terminals import run_on_terminal

cv2.setNumThreads(1)  # its threads, once there, would not outlive the fork of workers that some tests make here

INTERRUPTED = "interrupted: run the same command to continue\n"
LISTED = 1500
SMALL = ("--resize_height=24", "--resize_width=24", "--duplicates=keep", "--workers=2")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of ten images each, all of one size."""
    write_photos(tmp_path / "photos", [f"{name}/{n}.png" for name in "abc" for n in range(10)], size=40)
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty images, listed repeatedly."""
    home = tmp_path_factory.mktemp("many")
    write_photos(home, [f"{n}.jpg" for n in range(30)], size=200)
    (home / "list.txt").write_text("".join(f"{n * 7 % 30}.jpg {n % 7}\n" for n in range(LISTED)))
    (home / "short.txt").write_text("".join(f"{n % 30}.jpg {n % 7}\n" for n in range(300)))
    return home


def a_list(home: Path, name: str = "list.txt") -> list[str]:
    return ["--list", str(home / name), "--root", str(home), "--test-share", "0"]


def labelled(home: Path, name: str, lines: str) -> list[str]:
    (home / name).write_text(lines)
    return ["--list", str(home / name), "--root", str(home), "--shuffle=false"]


# What OUT is, and what it holds


def test_force_leaves_nothing_of_an_earlier_call(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main([str(photos), str(out)]) == 0
    (out / "mine.txt").touch()
    assert {"mean.binaryproto", "test_lmdb"} < {path.name for path in out.iterdir()}
    write_photos(photos, ["a/larger.png"], seed=2, size=50)
    assert main([str(photos), str(out), "--force", "--test-share=0"]) == 0
    names = "train_lmdb train.txt test.txt classes.txt report.txt report.json mine.txt"
    assert {path.name for path in out.iterdir()} == set(names.split())
    assert not (tmp_path / "out.part").exists()


@pytest.mark.parametrize("moved", range(14))
def test_an_interrupted_replacement_continues(
    photos: Path, tmp_path: Path, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight files and folders are moved away, and six of them replaced."""
    out = tmp_path / "out"
    assert main([str(photos), str(out)]) == 0
    shutil.move(out / "train_lmdb", tmp_path / "elsewhere")
    (out / "train_lmdb").symlink_to(tmp_path / "elsewhere")
    write_photos(photos, ["a/larger.png"], seed=2, size=50)
    replace, left = os.replace, [moved]

    def now_and_then(made: Path, place: Path) -> None:
        if out in (Path(made).parent, Path(place).parent) and "probe" not in str(made):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        replace(made, place)

    again = [str(photos), str(out), "--force", "--test-share=0"]
    with monkeypatch.context() as patch:
        patch.setattr("harness.imageset.work_directory.os.replace", now_and_then)
        assert main(again) == 130
    assert main(again) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "out", "elsewhere"}
    assert not {"mean.binaryproto", "test_lmdb"} & {path.name for path in out.iterdir()}
    assert len(records(out / "train_lmdb")) == 31
    assert len(records(tmp_path / "elsewhere")) == 27  # what a link led to is not ours


def on_a_disk(tmp_path: Path, size: str, script: str) -> Finished:
    """Run the shell `script` where $DISK is a disk of its own of `size`."""
    env = {"HERE": str(tmp_path), "MAKE_LMDB": " ".join(MAKE_LMDB)}
    return run_on_disk(size, tmp_path / "disk", script, env)


def test_out_is_a_link_to_another_disk(photos: Path, tmp_path: Path) -> None:
    script = """
ln -s "$DISK/data" "$HERE/out"
$MAKE_LMDB "$HERE/photos" "$HERE/out" || exit 1
$MAKE_LMDB "$HERE/photos" "$HERE/out" --force --gray || exit 2
test -e "$HERE/out.part" && exit 3
ls "$DISK" "$DISK/data"
"""
    done = on_a_disk(tmp_path, "40m", script)
    assert done.code == 0, done.stderr
    assert "train_lmdb" in done.stdout
    assert "part" not in done.stdout
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("mount", ["", 'mkdir "$HERE/in" "$HERE/o"; mount --bind "$HERE/in" "$HERE/o"; DISK="$HERE/o"'])
def test_out_is_a_mount_point(photos: Path, tmp_path: Path, mount: str) -> None:
    script = f"""{mount}
$MAKE_LMDB "$HERE/photos" "$DISK"; code=$?
$MAKE_LMDB "$HERE/photos" "$DISK/inner" > "$DISK/said" || exit 1
cat "$DISK/said"
exit $code
"""
    done = on_a_disk(tmp_path, "40m", script)
    assert done.code == 2, done.stderr
    assert "a mount point: results are made next to it, and cannot be moved there. Give a folder in it" in done.stderr
    assert "Traceback" not in done.stderr
    assert "/inner/report.txt" in done.stdout
    assert not list(tmp_path.glob("*.part"))


def test_an_output_that_cannot_be_written_is_refused(photos: Path, tmp_path: Path) -> None:
    script = """
mkdir "$DISK/out"; mount -o remount,ro "$DISK"
for out in out new a/b; do
  $MAKE_LMDB "$HERE/photos" "$DISK/$out"; test $? = 2 || exit 1
done
"""
    done = on_a_disk(tmp_path, "40m", script)
    assert done.code == 0, done.stderr
    assert done.stderr.count("cannot be written (Read-only file system). Give a folder that you may write to") == 3


def test_impossible_outputs_are_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(photos), "/"]) == 2
    assert "/: a mount point" in capsys.readouterr().err
    (tmp_path / "circle").symlink_to("circle")
    assert main([str(photos), str(tmp_path / "circle")]) == 2
    assert "cannot be resolved (a loop of symbolic links)" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([str(photos), str(tmp_path / "file/out")]) == 2
    assert "cannot be written (Not a directory)" in capsys.readouterr().err
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([str(photos), "."]) == 0
    assert len(records(tmp_path / "here/train_lmdb")) == 27


def test_bad_input_leaves_no_folders_behind(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "there/x/y/z")]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())


def test_the_summary_names_every_file(photos: Path, tmp_path: Path) -> None:
    done = command(*MAKE_LMDB, photos, "out", cwd=tmp_path)
    assert "written to   out; out/report.txt lists every problem" in done.stdout


def test_a_closed_standard_output_is_no_error(photos: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with started(*MAKE_LMDB, photos, tmp_path / "out", stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        stderr = process.communicate(timeout=100)[1]
    assert (process.returncode, stderr.strip()) == (0, "")


# What is said of the images


def test_duplicates_within_a_class_and_across_classes_are_found(tmp_path: Path) -> None:
    write_photos(tmp_path, ["a.png", "other.png", "last.png"])
    for name in "bcdef":
        shutil.copy(tmp_path / "a.png", tmp_path / f"{name}.png")
    arguments = labelled(tmp_path, "list.txt", "a.png 0\nb.png 1\nc.png 1\nother.png 0\nd.png 0\n")
    (tmp_path / "test.txt").write_text("e.png 1\nf.png 2\nlast.png 2\n")
    assert main([*arguments, "--test-list", str(tmp_path / "test.txt"), str(tmp_path / "out")]) == 0
    assert [key[9:] for key in records(tmp_path / "out/train_lmdb")] == [b"a.png", b"b.png", b"other.png"]
    assert [key[9:] for key in records(tmp_path / "out/test_lmdb")] == [b"f.png", b"last.png"]
    said = {problem["path"]: (problem["kind"], problem["why"]) for problem in report_of(tmp_path / "out")["problems"]}
    assert said == {
        "b.png": ("mislabelled?", "the same image as a.png, which has label 0"),
        "c.png": ("duplicate", "the same image as b.png"),
        "d.png": ("duplicate", "the same image as a.png"),
        "e.png": ("duplicate", "the same image as b.png"),
        "f.png": ("mislabelled?", "the same image as a.png, which has label 0"),
    }


def test_a_duplicate_that_is_left_out_is_not_in_the_mean(photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "a/3.png", photos / "a/copy.png")
    out = tmp_path / "out"
    assert main([str(photos), str(out), "--test-share=0"]) == 0
    assert report_of(out)["sets"][0]["tally"]["records"] == 30
    command(BIN / "compute_image_mean", out / "train_lmdb", tmp_path / "mean")
    assert (out / "mean.binaryproto").read_bytes() == (tmp_path / "mean").read_bytes()


def test_images_of_each_class_are_counted(photos: Path, tmp_path: Path) -> None:
    (photos / "b/3.png").unlink()
    (photos / "c/9.png").write_bytes(b"")
    assert main([str(photos), str(tmp_path / "out"), "--test-share=0"]) == 0
    assert report_of(tmp_path / "out")["sets"][0]["tally"]["labels"] == {"0": 10, "1": 9, "2": 9}
    assert "  2 c: 9 train, 0 test\n" in (tmp_path / "out/report.txt").read_text()


def test_a_test_set_of_another_size_makes_the_mean_useless(tmp_path: Path) -> None:
    write_photos(tmp_path, ["a.png", "b.png"], size=40)
    write_photos(tmp_path, ["c.png"], size=41)
    arguments = labelled(tmp_path, "list.txt", "a.png 0\nb.png 1\n")
    (tmp_path / "test.txt").write_text("c.png 1\n")
    assert main([*arguments, "--test-list", str(tmp_path / "test.txt"), str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out/mean.binaryproto").exists()
    assert main([*arguments, "--test-share=0", str(tmp_path / "alone")]) == 0
    assert (tmp_path / "alone/mean.binaryproto").exists()


def test_a_label_of_two_billion_works(tmp_path: Path) -> None:
    write_photos(tmp_path, ["a.png", "b.png", "c.png"])
    arguments = labelled(tmp_path, "list.txt", "a.png 0\nb.png 3\nc.png 2147483647\n")
    done = command(
        "prlimit", f"--data={1 << 30}", *MAKE_LMDB, *arguments, "--test-share=0", "--workers=1", tmp_path / "out"
    )
    assert done.code == 0, done.stderr
    assert "no image has labels 1, 2, 4, 5, 6, 7, 8, 9, 10, 11 and 2,147,483,635 more" in done.stdout


def test_check_size_works_without_the_first_image(tmp_path: Path) -> None:
    """Chunks of images that are alike within themselves are compared with each other."""
    (tmp_path / "bad.png").write_bytes(b"text")
    for size in (40, 50):
        cv2.imwrite(str(tmp_path / f"{size}.png"), np.full((size, size, 3), size, np.uint8))
    lines = "bad.png 0\n" + "40.png 0\n" * 2000 + "50.png 0\n" * 2000
    arguments = labelled(tmp_path, "list.txt", lines)
    done = command(*MAKE_LMDB, *arguments, "--test-share=0", "--check-size", "--duplicates=keep", tmp_path / "out")
    assert done.code == 2
    assert "3×50×50, but those of 40.png are 3×40×40" in done.stderr


# Large and small images


def test_large_images_have_no_mean_image(tmp_path: Path) -> None:
    for name, height in (("a", 1025), ("b", 1025), ("c", 1024), ("d", 1024)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((height, 1024, 3), (10, 20, ord(name)), np.uint8))
    arguments = labelled(tmp_path, "list.txt", "a.png 0\nb.png 1\n")
    assert main([*arguments, "--test-share=0", str(tmp_path / "large")]) == 0
    report = report_of(tmp_path / "large")
    assert not (tmp_path / "large/mean.binaryproto").exists()
    assert (
        "images have more than a megapixel (1025×1024): no mean.binaryproto is written, use mean_value"
        in report["remarks"]
    )
    assert report["mean_value"] == [10, 20, 97.5]
    arguments = labelled(tmp_path, "list.txt", "c.png 0\nd.png 1\n")
    assert main([*arguments, "--test-share=0", str(tmp_path / "small")]) == 0
    assert (tmp_path / "small/mean.binaryproto").exists()
    assert not any("megapixel" in remark for remark in report_of(tmp_path / "small")["remarks"])


def test_a_chunk_has_as_many_images_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny images, then large ones, as in a sorted list: no answer is much larger than CHUNK_BYTES."""
    write_photos(tmp_path, ["tiny.png"], size=4)
    write_photos(tmp_path, ["large.png"], size=300)  # 270 kB
    monkeypatch.setattr(harness.imageset.workers, "CHUNK_BYTES", 1 << 20)
    monkeypatch.setattr(harness.imageset.workers, "AHEAD_BYTES", 1 << 22)
    names = 2000 * [b"tiny.png"] + 300 * [b"large.png"] + 2000 * [b"tiny.png"]
    lines = [(number, name, 0) for number, name in enumerate(names)]
    with Workers(2, f"{tmp_path}/", ImageFormat()) as workers:
        answers = [images for images, _ in workers.convert(lines, summed=True)]
    assert [image.number for images in answers for image in images] == list(range(4300))
    sizes = [sum(len(image.record or b"") for image in images) for images in answers]
    assert max(sizes) <= (2 << 20) + 300_000
    counts = [len(images) for images in answers]
    assert counts[0] == 1  # nothing is known yet
    assert max(counts) == 256
    large = [len(images) for images in answers if images[0].path == b"large.png"]
    assert set(large[2:-2]) <= {3, 8}  # as many as fit, or, of a chunk for tiny ones, twice that
    assert large.count(3) > len(large) / 2
    assert counts[-2] == 256  # and small ones have large chunks again


def test_large_photographs_need_little_memory(tmp_path: Path) -> None:
    """Forty of 6 megapixels, 18 MB each as pixels."""
    write_photos(tmp_path, [f"{n}.jpg" for n in range(4)], size=2450)
    lines = "".join(f"{n % 4}.jpg {n % 2}\n" for n in range(40))
    arguments = [*labelled(tmp_path, "list.txt", lines), "--test-share=0", "--duplicates=keep", "--workers=2"]
    most = 0
    with started(*MAKE_LMDB, *arguments, tmp_path / "out", stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:  # which its deadline ends
            with suppress(psutil.Error):
                pids = [process.pid, *(child.pid for child in psutil.Process(process.pid).children())]
                most = max(most, sum(map(anonymous, pids)))
            time.sleep(0.02)
    assert process.returncode == 0
    assert len(records(tmp_path / "out/train_lmdb")) == 40
    assert most < 1.5e9  # in chunks of 32 it was 2.2e9, of these, and three times that of larger ones


def anonymous(pid: int) -> int:
    """The anonymous memory of a process in bytes, without mapped files."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0
    found = re.search(r"^Anonymous: +(\d+) kB", text, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


# Full disks


# make_lmdb on a disk of which it believes that there is room
TRUSTING = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import harness.imageset.plan, harness.make_lmdb
harness.imageset.plan.free_bytes = lambda _: 1 << 60
sys.exit(harness.make_lmdb.main())
"""


@pytest.mark.parametrize("kib", [4, 8, 12, 20, 28, 36, 44, 60, 100, 300, 500, 600, 660, 700, 740, 780])
def test_a_full_disk_stops_it_until_space_is_free(many: Path, tmp_path: Path, kib: int) -> None:
    (tmp_path / "make.py").write_text(TRUSTING)
    arguments = " ".join([*a_list(many, "short.txt"), *SMALL])
    script = f"""
{sys.executable} "$HERE/make.py" {arguments} "$DISK/out"; code=$?
test -e "$DISK/out/train_lmdb" && echo early
mount -o remount,size=60m "$DISK"
$MAKE_LMDB {arguments} "$DISK/out" || exit 98
cp -r "$DISK/out" "$HERE/out"
test -e "$DISK/out.part" && exit 97
exit $code
"""
    done = on_a_disk(tmp_path, f"{kib}k", script)
    assert done.code == 1, (done.code, done.stderr)
    assert "out.part: the disk is full. " in done.stderr
    assert "images are done: free some space, and run the same command to continue from there" in done.stderr
    assert "Traceback" not in done.stderr
    theirs = convert_imageset(many, many / "short.txt", tmp_path / "theirs", *SMALL[:2])
    assert list(records(tmp_path / "out/train_lmdb").items()) == list(theirs.items())


def test_the_free_space_behind_a_link_counts(many: Path, tmp_path: Path) -> None:
    arguments = " ".join([*a_list(many, "short.txt"), *SMALL])
    script = f"""
ln -s "$DISK/out" "$HERE/out"
$MAKE_LMDB {arguments} "$HERE/out"
"""
    done = on_a_disk(tmp_path, "200k", script)
    assert done.code == 2
    assert re.search(r"about \d{3}\.\d kB of disk space are needed, and 2\d\d\.\d kB are free", done.stderr)


def test_another_form_has_space_after_a_full_disk(many: Path, tmp_path: Path) -> None:
    """Another form, the remedy for a full disk, must not fail because of the space that the earlier work takes."""
    (tmp_path / "make.py").write_text(TRUSTING)
    arguments = " ".join([*a_list(many, "short.txt"), "--duplicates=keep", "--resize_height=90"])
    script = f"""
{sys.executable} "$HERE/make.py" {arguments} --resize_width=90 "$DISK/out"; test $? = 1 || exit 98
$MAKE_LMDB {arguments} --resize_width=18 "$DISK/out"
"""
    done = on_a_disk(tmp_path, "3m", script)
    assert done.code == 0, done.stderr
    assert "the disk is full" in done.stderr
    assert "starting over" in done.stderr


# Going on


def test_continuing_reports_what_is_not_examined_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "a/bad.png").write_bytes(b"")
    (photos / "b/bad.png").write_bytes(b"?")
    (photos / "readme.txt").touch()
    for out, count in ((tmp_path / "out", 2), (tmp_path / "good", 0)):
        with monkeypatch.context() as patch:
            interrupt = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
            patch.setattr("harness.imageset.pipeline._Pipeline._finish", interrupt)
            assert main([str(photos), str(out)]) == 130
        assert main([str(photos), str(out)]) == 0
        said = capsys.readouterr().err
        assert f"Continuing in {out}.part: {30 + count} of {30 + count} images are done" in said
        again = f". {count} of them are left out and will not be read again; to do so, remove {out}.part\n"
        assert (again in said) == bool(count)
        for name in "ab":
            (photos / name / "bad.png").unlink(missing_ok=True)


def test_work_that_strict_refused_is_not_lost(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = photos / "a/bad.png"
    bad.write_bytes(b"")
    out = tmp_path / "out"
    assert main([str(photos), str(out), "--strict"]) == 2
    assert "or omit --strict to make the LMDBs from the other images" in capsys.readouterr().err
    assert "zero bytes" in (tmp_path / "out.part/report.txt").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("harness.imageset.workers.convert", None)
        assert main([str(photos), str(out)]) == 0
    assert "31 of 31 images are done" in capsys.readouterr().err
    assert len(records(out / "train_lmdb")) == 27

    # the same path holds a good image now: it is looked at, with --strict
    assert main([str(photos), str(out), "--force", "--strict"]) == 2
    write_photos(photos, ["a/bad.png"], seed=9, size=40)
    assert main([str(photos), str(out), "--force", "--strict"]) == 0
    assert "was refused by --strict: starting over" in capsys.readouterr().err
    assert report_of(out)["left_out"] == 0


def test_an_incomplete_state_is_ignored(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state that remains after a kill between its creation and its first entry."""
    with monkeypatch.context() as patch:
        patch.setattr(WorkState, "put_counts", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main([str(photos), str(tmp_path / "out")]) == 130
    assert main([str(photos), str(tmp_path / "out")]) == 0


# Ctrl-C


def group_of(pid: int) -> int | None:
    """The process group of a process; None if it has ended."""
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None


@contextmanager
def making(*command_line: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command in a process group of its own, as a terminal starts its jobs."""
    pipe = subprocess.PIPE
    with started(*command_line, stdout=pipe, stderr=pipe, new_session=True) as process:
        yield process


def ended(process: subprocess.Popen[str]) -> str:
    """Wait until nothing of the process group is left, and return what it printed to stderr."""
    stderr = process.communicate(timeout=30)[1]
    wait_for(lambda: not any(group_of(pid) == process.pid for pid in psutil.pids()), pause=0.05)
    return stderr


@pytest.mark.parametrize("spacing", [None, 0.0, 0.001, 0.005, 0.02, 0.05, 0.1])
def test_ctrl_c_once_or_twice_ends_in_order(many: Path, tmp_path: Path, spacing: float | None) -> None:
    out = tmp_path / "out"
    with making(*MAKE_LMDB, *a_list(many), *SMALL, out) as process:
        wait_for((tmp_path / "out.part/train_lmdb").exists, process)
        time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        if spacing is not None:
            time.sleep(spacing)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        stderr = ended(process)
    assert process.returncode == 130, stderr
    assert INTERRUPTED in stderr
    assert "Traceback" not in stderr
    done = command(*MAKE_LMDB, *a_list(many), *SMALL, out)
    assert done.code == 0, done.stderr
    assert len(records(out / "train_lmdb")) == LISTED


def test_a_second_ctrl_c_ends_a_stuck_worker(many: Path, tmp_path: Path) -> None:
    """A read from an unreachable server is stuck: the first Ctrl-C waits, the second one ends everything."""
    with making(*MAKE_LMDB, *a_list(many), *SMALL, tmp_path / "out") as process:
        wait_for((tmp_path / "out.part/train_lmdb").exists, process)
        for worker in psutil.Process(process.pid).children():
            worker.suspend()
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        stderr = ended(process)
    assert process.returncode == 130
    assert stderr.lstrip() == INTERRUPTED


@pytest.mark.parametrize("after", [0.0, 0.04, 0.09, 0.14, 0.24])
def test_ctrl_c_during_the_imports_ends_in_order(many: Path, tmp_path: Path, after: float) -> None:
    """From its first import after the handler's installation on; before that, any Python program prints a traceback."""
    errors = tmp_path / "stderr"
    arguments = (*MAKE_LMDB, *a_list(many), *SMALL, tmp_path / "out")
    env = {"PYTHONPROFILEIMPORTTIME": "1"}
    with (
        errors.open("w") as stderr,
        started(*arguments, stdout=subprocess.DEVNULL, stderr=stderr, env=env, new_session=True) as process,
    ):
        wait_for(lambda: re.search(r"\| +rich", errors.read_text()), process, pause=0.001)
        time.sleep(after)
        os.killpg(process.pid, signal.SIGINT)
        ended(process)
    assert process.returncode == 130
    printed = [line for line in errors.read_text().splitlines(keepends=True) if not line.startswith("import time:")]
    assert "".join(printed).lstrip() == INTERRUPTED


def test_workers_ignore_ctrl_c(many: Path, tmp_path: Path) -> None:
    with making(*MAKE_LMDB, *a_list(many), *SMALL, tmp_path / "out") as process:
        wait_for((tmp_path / "out.part/train_lmdb").exists, process)
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
        for worker in workers:
            worker.send_signal(signal.SIGINT)
        stderr = ended(process)
    assert process.returncode == 0, stderr
    assert len(records(tmp_path / "out/train_lmdb")) == LISTED


def test_an_ignored_ctrl_c_stays_ignored(many: Path, tmp_path: Path) -> None:
    """This is so in a job that a script has started with &."""
    with making(
        "sh", "-c", "trap '' INT; exec \"$@\"", "sh", *MAKE_LMDB, *a_list(many), *SMALL, tmp_path / "out"
    ) as process:
        wait_for((tmp_path / "out.part/train_lmdb").exists, process)
        os.killpg(process.pid, signal.SIGINT)
        ended(process)
    assert process.returncode == 0


def test_the_bar_advances_on_a_terminal(many: Path, tmp_path: Path) -> None:
    arguments = (*MAKE_LMDB, *a_list(many), *SMALL, tmp_path / "out")
    done = run_on_terminal(*arguments, columns=120, stdout=subprocess.DEVNULL)
    assert done.code == 0
    counts = [int(count) for count in re.findall(rf"train_lmdb\W+(\d+)/{LISTED}", done.stdout)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2


def test_the_report_contains_the_summary(photos: Path, tmp_path: Path) -> None:
    """report.json has what is printed, except the paths."""
    done = command(*MAKE_LMDB, photos, tmp_path / "out")
    assert done.stdout.startswith(json.loads((tmp_path / "out/report.json").read_text())["summary"])
