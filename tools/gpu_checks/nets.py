"""The nets that checks train: on a GPU, and smaller ones on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb
from google.protobuf import text_format

from harness.caffe_files.messages import pb, read_text
from harness.schemas.window import Window
from tools.bench.nets import FOREVER, GLYPHS, glyphs280, googlenet, lenet, write_lmdb
from tools.full_size.data import write_images
from tools.small_net import small_solver

GOOGLENET_IMAGES = 128  # four batches


@dataclass(frozen=True)
class Net:
    """A net to train: `write` makes its files in a new directory and returns the solver."""

    name: str
    write: Callable[[Path], Path]
    iterations: int

    @property
    def middle(self) -> int:
        """The iteration before which a snapshot is taken."""
        return self.iterations // 2

    @property
    def window(self) -> Window:
        """The iterations that are recorded in full."""
        return Window(self.middle + 1, self.middle + 3)


@dataclass(frozen=True)
class Timed:
    """A training to time: `write` makes the files of a net and returns its solver; `turn` iterations, `pairs` times."""

    name: str
    write: Callable[[Path], Path]
    turn: int
    pairs: int


@dataclass(frozen=True)
class Broken:
    """A training that breaks in iteration `at`: `write` makes its files and returns run.py's options."""

    name: str
    write: Callable[[Path], Sequence[str]]
    at: int


def edit_solver(path: Path, **fields: object) -> Path:
    """Set fields of a solver file. Returns it."""
    solver = read_text(path, pb.SolverParameter, "solver")
    for name, value in fields.items():
        setattr(solver, name, value)
    path.write_text(text_format.MessageToString(solver))
    return path


def full_size(home: Path) -> Path:
    """Write bvlc_googlenet for 280 classes with batches of 32, and images for it, which need no decoding."""
    images = home.parent / "googlenet-images"
    if not images.exists():
        write_images(images, GOOGLENET_IMAGES, range(0), encoded=False)
    return googlenet(home, 32, images).solver


def glyphs(home: Path) -> Path:
    """Write prototxt/glyphs280 without test passes."""
    return glyphs280(home).solver


def small(home: Path) -> Path:
    """Write a net with crops, mirroring and dropout, whose iteration takes a millisecond."""
    return small_solver(home / "small", max_iter=FOREVER)


GPU_NETS = (
    Net("small", small, 200),
    Net("glyphs280", glyphs, 60),
    Net("googlenet", full_size, 12),
)
CPU_NETS = (Net("small", small, 40),)
GPU_TIMED = {"glyphs280": Timed("glyphs280", glyphs, 12, 12), "googlenet": Timed("googlenet", full_size, 4, 12)}
CPU_TIMED = Timed("lenet", lambda home: lenet(home).solver, 5, 3)

_FIRST = 801  # the iteration of glyphs280 whose records the broken training begins with: its 12-bit scans are in 841


def glyphs_that_break(home: Path) -> Sequence[str]:
    """Write glyphs280 with the records of its iterations 801 to 920 alone, so that it breaks after 40."""
    solver = glyphs280(home).solver
    net = read_text(GLYPHS / "train_val.prototxt", pb.NetParameter, "net")
    with lmdb.open(str(GLYPHS / "data/train_lmdb"), readonly=True, lock=False) as source, source.begin() as reading:
        records = list(reading.cursor())[_FIRST * 32 : (_FIRST + 120) * 32]
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source = str(home / "records")
    write_lmdb(home / "records", records)
    (home / "net.prototxt").write_text(text_format.MessageToString(net))
    edit_solver(solver, net=str(home / "net.prototxt"), max_iter=120)
    return ("--solver", str(solver), "--weights", str(GLYPHS / "base.caffemodel"))


def small_that_breaks(home: Path) -> Sequence[str]:
    """Write the small net with a schedule that multiplies its rate by 100,000 before iteration 60."""
    fields = {"base_lr": 0.001, "lr_policy": '"multistep"', "stepvalue": 60, "gamma": 100_000, "max_iter": 200}
    return ("--solver", str(small_solver(home / "small", **fields)))


GPU_BROKEN = Broken("glyphs280", glyphs_that_break, 40)
CPU_BROKEN = Broken("small", small_that_breaks, 60)
