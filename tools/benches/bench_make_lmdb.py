"""How fast tools/make_lmdb is, against Caffe's own convert_imageset: the same photographs, resized, the same records.

    python tools/benches/bench_make_lmdb.py [--images N] [--pairs N]

The images are made up: JPEGs of 500×375, as ImageNet's are, with noise in them, resized to 256×256. make_lmdb also
looks for copies, sums up the mean, reads the LMDB back for its fingerprint and writes its report.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import lmdb
import numpy as np
from bench_rows import Effort, Row, median

ROOT = Path(__file__).resolve().parents[2]
IMAGES = 3000
CLASSES = 20
HEIGHT, WIDTH = 375, 500
RESIZED = ("--resize_height=256", "--resize_width=256")


def write_photos(home: Path, count: int) -> Path:
    """A list of `count` JPEGs, all different, in a folder for each class."""
    random = np.random.default_rng(1)
    for label in range(CLASSES):
        (home / f"photos/{label}").mkdir(parents=True)
    lines = []
    for number in range(count):
        coarse = cv2.resize(random.integers(0, 256, (12, 16, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        grain = cv2.resize(random.integers(0, 40, (HEIGHT // 2, WIDTH // 2, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        path = f"{number % CLASSES}/{number}.jpg"
        cv2.imwrite(str(home / "photos" / path), cv2.add(coarse, grain))
        lines.append(f"{path} {number % CLASSES}\n")
    (home / "list.txt").write_text("".join(lines))
    return home / "list.txt"


def took(command: list[object], home: Path) -> tuple[float, float]:
    """Seconds until it is done, and of CPU time."""
    started, used = time.perf_counter(), _used()
    subprocess.run(
        list(map(str, command)),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ) | {"XDG_CACHE_HOME": str(home / ".cache")},
    )
    return time.perf_counter() - started, _used() - used


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def pair(home: Path, listed: Path, ours_first: bool) -> tuple[tuple[float, float], tuple[float, float]]:
    """What make_lmdb took and what convert_imageset, one after the other, for the same records."""
    ours, theirs = home / "ours", home / "theirs"
    photos = f"{home / 'photos'}/"
    commands: dict[Path, list[object]] = {
        ours: [ROOT / "tools/make_lmdb", "--list", listed, "--root", photos, "--test-share=0", *RESIZED, ours],
        theirs: [Path(sys.executable).with_name("convert_imageset"), *RESIZED, photos, listed, theirs],
    }
    seconds = {place: took(commands[place], home) for place in ((ours, theirs) if ours_first else (theirs, ours))}
    with (
        lmdb.open(str(ours / "train_lmdb"), readonly=True) as one,
        lmdb.open(str(theirs), readonly=True) as other,
        one.begin() as first,
        other.begin() as second,
    ):
        if any(mine != its for mine, its in zip(first.cursor(), second.cursor(), strict=True)):
            raise RuntimeError(f"{ours} and {theirs} differ")
    shutil.rmtree(ours)
    shutil.rmtree(theirs)
    return seconds[ours], seconds[theirs]


def rows(name: str, home: Path, effort: Effort, images: int | None = None) -> Iterator[Row]:
    count = images or (IMAGES // 5 if effort.quick else IMAGES)
    listed = write_photos(home, count)
    pair(home, listed, True)  # both find the images in the page cache
    pairs = [pair(home, listed, bool(n % 2)) for n in range(effort.of(5))]
    low, ratio, high = median([theirs / ours for (ours, _), (theirs, _) in pairs])
    (mine, my_cpu), (its, its_cpu) = np.median(pairs, axis=0).tolist()
    detail = (
        f"{count / mine:,.0f} images/s, convert_imageset {count / its:,.0f}; {count:,} JPEGs {WIDTH}×{HEIGHT} "
        f"→ 256×256, {len(pairs)} pairs; {len(os.sched_getaffinity(0))} workers; "
        f"CPU time ×{my_cpu / its_cpu:.2f}"
    )
    what = "as fast as convert_imageset"
    yield Row(name, what, ratio, "×", 1, False, low, high, detail, {"images": count, "pairs": pairs})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGES, metavar="N", help="default: %(default)s")
    parser.add_argument("--pairs", type=int, metavar="N", help="how often both are run (default: 5)")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="bench-make-lmdb-") as home:
        for row in rows("make_lmdb", Path(home), Effort(args.pairs), args.images):
            print(f"{row.name}: {row.what}: {row.value:.2f} {row.unit} ({row.detail})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
