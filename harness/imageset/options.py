"""Parse the options of make-lmdb, spelled as for argparse or as for Caffe's gflags."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from rich_argparse import RawDescriptionRichHelpFormatter

from harness.caffe_files.formatting import printable
from harness.caffe_files.image_kinds import UNREADABLE_BY_CAFFE, UNREADABLE_FROM_LMDB
from harness.command_parser import CommandParser
from harness.errors import BadInput
from harness.imageset.image_format import ImageFormat
from harness.invocation import command_line, next_command, program
from harness.processes import cores

DESCRIPTION = """
Make the LMDBs that Caffe trains on, from a folder of images with a folder for each class:

    {command} photos/ prototxt/googlenet280/data

or from lists as convert_imageset reads them, with a path and a label on each line:

    {command} --list train.txt --test-list val.txt --root photos/ prototxt/googlenet280/data

OUT then holds train_lmdb and test_lmdb; train.txt and test.txt, which list their images in order; classes.txt, with the
label and name of each class; mean.binaryproto, the mean of the training images; report.txt and report.json, with the
settings, the fingerprints, and every image that is left out or unusual, with the reason.
"""

EPILOG = """
With the same options and the same list, the records equal those of convert_imageset, byte for byte: raw, resized, grey,
encoded files stored as they are, and images encoded again as jpg, png or bmp. Unlike convert_imageset, make-lmdb leaves
out truncated JPEGs (of which convert_imageset stores the part that can be decoded, and grey below it), encoded WebP (at
which Caffe aborts) and, without --duplicates keep, copies.

After an interruption, the same command continues where it stopped. Until everything is done, OUT holds none of the
results: the work is in OUT.part, also when --strict refuses it. mean.binaryproto is not written if images differ in
size or have more than a megapixel.

Exit codes: 0 done, 1 stopped (full disk, a killed worker), 2 bad input, 130 interrupted.
"""

_FLAGS = ("gray", "shuffle", "encoded", "check-size")  # booleans in gflags


@dataclass(frozen=True)
class Options:
    """The options of one call. Either `folder` or `train_list` is given; `root` ends in /, or is empty."""

    folder: Path | None
    train_list: Path | None
    test_list: Path | None
    root: str
    out: Path
    image_format: ImageFormat
    shuffle: bool
    check_size: bool
    test_share: float
    seed: int
    keep_duplicates: bool
    strict: bool
    force: bool
    workers: int


def parse(arguments: Sequence[str]) -> Options:
    """Parse `arguments`; argparse ends the program (exit code 2) if they have syntax errors.

    Raises:
        BadInput: a value is invalid, or options exclude each other.
    """
    args = parser().parse_args(_as_argparse(arguments))
    if (args.folder is None) == (args.list is None):
        command = next_command("make-lmdb")
        raise BadInput(
            "give a folder of images, or a list" if args.folder is None else "excludes a folder of images",
            field="--list", value=args.list, remedy=f"Run {command} PHOTOS OUT, or {command} --list LIST OUT",
        )  # fmt: skip
    for name in ("root", "test_list"):
        if args.folder is not None and getattr(args, name) is not None:
            raise BadInput(
                "only allowed with --list", field=f"--{name.replace('_', '-')}", value=getattr(args, name),
                remedy="Omit it: the test images of a folder are held out from it (--test-share)",
            )  # fmt: skip
    _check_numbers(args)
    share = args.test_share if args.test_share is not None else 0.0 if args.test_list else 0.1
    if args.test_list and args.test_share:
        raise BadInput(
            "excluded by --test-list, which lists the test images",
            field="--test-share", value=args.test_share, remedy="Give only one of the two",
        )  # fmt: skip
    root = str(args.folder) if args.folder else args.root or ""
    encode_type = args.encode_type.lower()
    return Options(
        folder=args.folder, train_list=args.list, test_list=args.test_list,
        root=root if not root or root.endswith("/") else f"{root}/", out=args.out,
        image_format=ImageFormat(args.gray, args.resize_height, args.resize_width, args.encoded, encode_type),
        shuffle=args.folder is not None if args.shuffle is None else args.shuffle, check_size=args.check_size,
        test_share=share, seed=args.seed, keep_duplicates=args.duplicates == "keep", strict=args.strict,
        force=args.force, workers=args.workers,
    )  # fmt: skip


def _check_numbers(args: argparse.Namespace) -> None:
    if min(args.resize_height, args.resize_width) < 0 or (args.resize_height > 0) != (args.resize_width > 0):
        raise BadInput(
            "only one of them is given (convert_imageset would not resize)", field="--resize-height, --resize-width",
            value=f"{args.resize_height}, {args.resize_width}", remedy="Give both, in pixels, or neither",
        )  # fmt: skip
    if args.test_share is not None and not 0 <= args.test_share < 1:
        raise BadInput("out of range", field="--test-share", value=args.test_share, remedy="Give 0 (none) up to 0.9")
    if str(args.out) != printable(os.fsencode(args.out)):  # the lmdb module accepts only UTF-8
        raise BadInput(
            "a path that is not UTF-8",
            field="OUT",
            value=printable(os.fsencode(args.out)),
            remedy="Give another folder",
        )
    if args.workers < 1:
        raise BadInput("out of range", field="--workers", value=args.workers, remedy="Give 1 or more")
    if not 0 <= args.seed < 1 << 64:
        raise BadInput("out of range", field="--seed", value=args.seed, remedy="Give a number from 0 to 2^64 - 1")
    kind = args.encode_type.lower()
    if kind and (kind in (*UNREADABLE_BY_CAFFE, *UNREADABLE_FROM_LMDB) or not cv2.haveImageWriter(f"x.{kind}")):
        raise BadInput(
            "Caffe cannot decode such images", field="--encode-type", value=args.encode_type, remedy="Give jpg or png"
        )


def _as_argparse(arguments: Sequence[str]) -> list[str]:
    """Translate gflags' spellings for argparse: --resize_height, -gray, --shuffle=true, --nogray."""
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
    """Return the parser of the options, as argparse spells them."""
    parser = CommandParser(
        prog=program("make-lmdb"), description=DESCRIPTION.format(command=command_line("make-lmdb")), epilog=EPILOG,
        formatter_class=RawDescriptionRichHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("folder", type=Path, nargs="?", metavar="PHOTOS", help="a folder with a folder of images for each class")
    add("out", type=Path, metavar="OUT", help="the folder for train_lmdb, test_lmdb and the other results")
    add("--test-share", type=float, metavar="X", help="share of each class to hold out for test_lmdb (default: 0.1)")
    add(
        "--seed", type=int, default=1, metavar="N", help="seed for shuffling and for holding out (default: %(default)s)"
    )
    copies = "drop or keep later copies within a class; the report lists them anyway (default: %(default)s)"
    add("--duplicates", choices=("drop", "keep"), default="drop", help=copies)
    add("--strict", action="store_true", help="fail (exit code 2) if images are left out, or are in two classes")
    add("--force", action="store_true", help="replace the results of an earlier call in OUT")
    add("--workers", type=int, default=cores(), metavar="N",
        help="processes that read images (default: one per core, here %(default)s)")  # fmt: skip
    lists = parser.add_argument_group("lists instead of a folder")
    lists.add_argument(
        "--list", type=Path, metavar="FILE", help="training images, with a path, a space and a label on each line"
    )
    lists.add_argument(
        "--test-list", type=Path, metavar="FILE", help="test images; without it, a share of the list is held out"
    )
    lists.add_argument(
        "--root", metavar="DIR", help="the folder to which the paths are relative (default: the current one)"
    )
    same = parser.add_argument_group(
        "conversion of images",
        "as in convert_imageset; its spellings (--resize_height=N, --encoded=true) are accepted, too",
    )
    add = same.add_argument
    yes_or_no = argparse.BooleanOptionalAction
    add("--resize-height", type=int, default=0, metavar="N", help="height in pixels; requires --resize-width")
    add("--resize-width", type=int, default=0, metavar="N", help="width in pixels")
    add("--gray", action=yes_or_no, default=False, help="store one channel")
    add("--encoded", action=yes_or_no, default=False, help="store the files themselves, not pixels")
    add("--encode-type", default="", metavar="TYPE", help="encode images in this type (jpg, png) and store that")
    add("--shuffle", action=yes_or_no, default=None,
        help="shuffle the images (default: yes for a folder, no for lists)")  # fmt: skip
    add("--check-size", action=yes_or_no, default=False, help="fail if images have different sizes")
    return parser
