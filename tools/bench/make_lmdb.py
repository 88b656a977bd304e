"""The speed of make_lmdb compared with Caffe's own convert_imageset, for the same images and records.

    python -m tools.bench.make_lmdb [--share X] [--pairs N]

The images are synthetic, with noise: JPEGs of 500×375, as in ImageNet, resized to 256×256; JPEGs of 256×256, stored as
pixels and as they are; and PNGs of 32×32, whose overhead is largest. make_lmdb also finds copies, computes the mean,
reads the LMDB back for its fingerprint and writes its report.
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
from dataclasses import dataclass
from pathlib import Path

import cv2
import lmdb
import numpy as np

from harness.processes import cores
from tools.bench.nets import ROOT
from tools.bench.rows import Effort, Row, median

CLASSES = 20


@dataclass(frozen=True)
class Case:
    """`images` of a kind, and the options of their conversion."""

    name: str
    what: str
    images: int
    height: int
    width: int
    kind: str
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{'JPEG' if self.kind == 'jpg' else 'PNG'}s {self.width}×{self.height} {self.what}"


CASES = (
    Case("photos", "→ 256×256", 3000, 375, 500, "jpg", ("--resize_height=256", "--resize_width=256")),
    Case("pixels", "→ pixels", 3000, 256, 256, "jpg"),
    Case("encoded", "→ as they are", 3000, 256, 256, "jpg", ("--encoded",)),
    Case("small", "→ pixels", 20_000, 32, 32, "png"),
)


def write_images(home: Path, case: Case, count: int) -> Path:
    """Write `count` different images, in a folder for each class, and return their list."""
    random = np.random.default_rng(1)
    for label in range(CLASSES):
        (home / f"photos/{label}").mkdir(parents=True)
    lines = []
    size = case.width, case.height
    for number in range(count):
        coarse = cv2.resize(random.integers(0, 256, (12, 16, 3)).astype(np.uint8), size)
        half = random.integers(0, 40, (case.height // 2, case.width // 2, 3)).astype(np.uint8)
        path = f"{number % CLASSES}/{number}.{case.kind}"
        cv2.imwrite(str(home / "photos" / path), cv2.add(coarse, cv2.resize(half, size)))
        lines.append(f"{path} {number % CLASSES}\n")
    (home / "list.txt").write_text("".join(lines))
    return home / "list.txt"


def took(command: list[object], home: Path) -> tuple[float, float]:
    """Run `command`; return its seconds and its CPU seconds."""
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


def pair(
    home: Path, listed: Path, options: tuple[str, ...], ours_first: bool
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the seconds and CPU seconds of make_lmdb and of convert_imageset, run in turn for the same records."""
    ours, theirs = home / "ours", home / "theirs"
    photos = f"{home / 'photos'}/"
    commands: dict[Path, list[object]] = {
        ours: [
            sys.executable,
            ROOT / "harness/make_lmdb.py",
            "--list",
            listed,
            "--root",
            photos,
            "--test-share=0",
            *options,
            ours,
        ],
        theirs: [Path(sys.executable).with_name("convert_imageset"), *options, photos, listed, theirs],
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


def rows(name: str, home: Path, effort: Effort, share: float = 1) -> Iterator[Row]:
    for case in CASES:
        count = int(case.images * (share / 5 if effort.quick else share))
        place = home / case.name
        place.mkdir()
        listed = write_images(place, case, count)
        pair(place, listed, case.options, True)  # warms the page cache for both
        pairs = [pair(place, listed, case.options, bool(n % 2)) for n in range(effort.of(5))]
        shutil.rmtree(place)
        low, ratio, high = median([theirs / ours for (ours, _), (theirs, _) in pairs])
        (mine, my_cpu), (its, its_cpu) = np.median(pairs, axis=0).tolist()
        detail = (
            f"{count / mine:,.0f} images/s, convert_imageset {count / its:,.0f}; {count:,} {case}, {len(pairs)} pairs; "
            f"{cores()} workers; CPU time ×{my_cpu / its_cpu:.2f}"
        )
        raw = {"images": count, "pairs": pairs}
        what = f"{case.name}: speed compared with convert_imageset"
        yield Row(name, what, ratio, "×", 1, False, low, high, detail, raw)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1, metavar="X", help="share of the images (default: all)")
    parser.add_argument("--pairs", type=int, metavar="N", help="number of times both are run (default: 5)")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="bench-make-lmdb-") as home:
        for row in rows("make_lmdb", Path(home), Effort(args.pairs), args.share):
            print(f"{row.name}: {row.what}: {row.value:.2f} {row.unit} ({row.detail})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
