"""What can be asked of make_lmdb, in argparse's spelling and in that of Caffe's gflags."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich_argparse import RawDescriptionRichHelpFormatter

from harness.errors import BadInput
from harness.imageset.decoding import DEAF_TO_ENCODED, UNKNOWN_TO_CAFFE
from harness.imageset.record import Form, printable
from harness.invocation import command_line, program
from harness.processes import cores

DESCRIPTION = """
Make the LMDBs that Caffe trains on, of a folder of images with a folder for each class:

    {command} photos/ prototxt/googlenet280/data

or of lists as convert_imageset reads them, a path and a label a line:

    {command} --list train.txt --test-list val.txt --root photos/ prototxt/googlenet280/data

OUT then holds train_lmdb and test_lmdb; train.txt and test.txt, their images in their order; classes.txt, label and
name of each class; mean.binaryproto, of the train images; report.txt and report.json, with the settings, the
fingerprints, and every image that is left out or looks odd, and why.
"""

EPILOG = """
With equal options and the same list, records are those of convert_imageset, byte for byte: raw, resized, grey, encoded
as they are, and encoded anew as jpg, png or bmp. It leaves in what is left out here: truncated JPEGs (it stores the
half that can be decoded and grey below), encoded WebP (at which Caffe stops) and, but for --duplicates keep, copies.

When it is interrupted, the same command goes on where it stopped; until all is done, OUT holds nothing of it (the work
is in OUT.part, where what --strict refuses stays, too). There is no mean.binaryproto of images that differ in size or
have more than a megapixel.

Exit codes: 0 done, 1 it could not go on (full disk, a killed worker), 2 bad input, 130 interrupted.
"""

_FLAGS = ("gray", "shuffle", "encoded", "check-size")  # true or false for gflags


@dataclass(frozen=True)
class Options:
    """What was asked for. Either `folder` is given or `train_list`; `root` ends in /, or is empty."""

    folder: Path | None
    train_list: Path | None
    test_list: Path | None
    root: str
    out: Path
    form: Form
    shuffle: bool
    check_size: bool
    test_share: float
    seed: int
    keep_duplicates: bool
    strict: bool
    force: bool
    workers: int


def parse(arguments: Sequence[str]) -> Options:
    """The options in `arguments`; argparse ends the program (exit 2) where they cannot be parsed.

    Raises:
        BadInput: they do not fit together.
    """
    args = parser().parse_args(_as_argparse(arguments))
    if (args.folder is None) == (args.list is None):
        command = command_line("make-lmdb")
        raise BadInput(
            "give a folder of images, or a list" if args.folder is None else "a folder of images and a list",
            field="--list", value=args.list, remedy=f"{command} PHOTOS OUT, or {command} --list LIST OUT",
        )  # fmt: skip
    for name in ("root", "test_list"):
        if args.folder is not None and getattr(args, name) is not None:
            raise BadInput(
                "goes with --list only", field=f"--{name.replace('_', '-')}", value=getattr(args, name),
                remedy="A folder's images are found in it, and its test images are taken out of it (--test-share)",
            )  # fmt: skip
    _check_numbers(args)
    share = args.test_share if args.test_share is not None else 0.0 if args.test_list else 0.1
    if args.test_list and args.test_share:
        raise BadInput(
            "nothing needs to be held out where the test images are listed",
            field="--test-share", value=args.test_share, remedy="Give it or --test-list",
        )  # fmt: skip
    root = str(args.folder) if args.folder else args.root or ""
    return Options(
        folder=args.folder, train_list=args.list, test_list=args.test_list,
        root=root if not root or root.endswith("/") else f"{root}/", out=args.out,
        form=Form(args.gray, args.resize_height, args.resize_width, args.encoded, args.encode_type.lower()),
        shuffle=args.folder is not None if args.shuffle is None else args.shuffle, check_size=args.check_size,
        test_share=share, seed=args.seed, keep_duplicates=args.duplicates == "keep", strict=args.strict,
        force=args.force, workers=args.workers,
    )  # fmt: skip


def _check_numbers(args: argparse.Namespace) -> None:
    if min(args.resize_height, args.resize_width) < 0 or (args.resize_height > 0) != (args.resize_width > 0):
        raise BadInput(
            "convert_imageset resizes only where both sides are given", field="--resize-height, --resize-width",
            value=f"{args.resize_height}, {args.resize_width}", remedy="Give both (pixels), or none",
        )  # fmt: skip
    if args.test_share is not None and not 0 <= args.test_share < 1:
        raise BadInput("not a share", field="--test-share", value=args.test_share, remedy="Give 0 (none) to 0.9")
    if str(args.out) != printable(os.fsencode(args.out)):  # LMDB's module takes none
        raise BadInput(
            "a path that is not UTF-8",
            field="OUT",
            value=printable(os.fsencode(args.out)),
            remedy="Give another folder",
        )
    if args.workers < 1:
        raise BadInput("no workers", field="--workers", value=args.workers, remedy="Give 1 or more")
    if not 0 <= args.seed < 1 << 64:
        raise BadInput("no seed", field="--seed", value=args.seed, remedy="Give a number from 0 to 2^64 - 1")
    kind = args.encode_type.lower()
    if kind and (kind in (*UNKNOWN_TO_CAFFE, *DEAF_TO_ENCODED) or not cv2.haveImageWriter(f"x.{kind}")):
        raise BadInput(
            "Caffe cannot decode such images", field="--encode-type", value=args.encode_type, remedy="Give jpg or png"
        )


def _as_argparse(arguments: Sequence[str]) -> list[str]:
    """gflags' spellings in argparse's: --resize_height, -gray, --shuffle=true, --nogray."""
    found = []
    for argument in arguments:
        if match := re.fullmatch(r"--?([a-z]{2}[a-z_-]*)(=.*)?", argument, re.DOTALL):
            name, value = match[1].replace("_", "-"), match[2] or ""
            if name.removeprefix("no") in _FLAGS and not value:
                argument = f"--no-{name[2:]}" if name.startswith("no") else f"--{name}"
            elif name in _FLAGS and value.lower() in ("=true", "=1", "=yes", "=t", "=y"):
                argument = f"--{name}"
            elif name in _FLAGS and value.lower() in ("=false", "=0", "=no", "=f", "=n"):
                argument = f"--no-{name}"
            else:
                argument = f"--{name}{value}"
        found.append(argument)
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options, in argparse's spelling."""
    parser = argparse.ArgumentParser(
        prog=program("make-lmdb"), description=DESCRIPTION.format(command=command_line("make-lmdb")), epilog=EPILOG,
        formatter_class=RawDescriptionRichHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("folder", type=Path, nargs="?", metavar="PHOTOS", help="folder with a folder of images for each class")
    add("out", type=Path, metavar="OUT", help="folder to put train_lmdb, test_lmdb and the rest into")
    add("--test-share", type=float, metavar="X", help="share of each class to hold out for test_lmdb (default: 0.1)")
    add("--seed", type=int, default=1, metavar="N", help="of shuffling and holding out (default: %(default)s)")
    copies = "what becomes of copies within a class, but for the first; listed in any case (default: %(default)s)"
    add("--duplicates", choices=("drop", "keep"), default="drop", help=copies)
    add("--strict", action="store_true", help="images that are left out, or in two classes, are an error (exit 2)")
    add("--force", action="store_true", help="replace what OUT holds of an earlier call")
    add("--workers", type=int, default=cores(), metavar="N",
        help="processes that read images (default: one a core, %(default)s here)")  # fmt: skip
    lists = parser.add_argument_group("lists instead of a folder")
    lists.add_argument("--list", type=Path, metavar="FILE", help="train images: a path, a space, a label a line")
    lists.add_argument("--test-list", type=Path, metavar="FILE", help="test images; without it, a share of the list")
    lists.add_argument("--root", metavar="DIR", help="what the paths are relative to (default: this directory)")
    same = parser.add_argument_group(
        "what becomes of an image",
        "as convert_imageset has it; --resize_height=N and --encoded=true are understood, too",
    )
    add = same.add_argument
    yes_or_no = argparse.BooleanOptionalAction
    add("--resize-height", type=int, default=0, metavar="N", help="pixels; with --resize-width")
    add("--resize-width", type=int, default=0, metavar="N", help="pixels")
    add("--gray", action=yes_or_no, default=False, help="one channel")
    add("--encoded", action=yes_or_no, default=False, help="store files as they are, not pixels")
    add("--encode-type", default="", metavar="TYPE", help="store encoded images of this type: jpg, png")
    add("--shuffle", action=yes_or_no, default=None,
        help="default: a folder's images are shuffled, those of a list stay in its order")  # fmt: skip
    add("--check-size", action=yes_or_no, default=False, help="images of different sizes are an error")
    return parser
