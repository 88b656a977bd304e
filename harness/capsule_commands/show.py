"""Show what is in a capsule, without unpacking it and without running anything."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich_argparse import RawDescriptionRichHelpFormatter

from harness.capsule_commands.progress import showing_progress
from harness.capsules.file.archive import Archive, open_capsule
from harness.capsules.file.json_checks import Described, check_described, code_in, snapshot_member
from harness.capsules.file.manifest import REMEDY
from harness.capsules.repeating.this_machine import other_arithmetic
from harness.command_parser import CommandParser
from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.output import visible_json, writing_results
from harness.recording.metadata import LARGEST, Metadata, decode_metadata
from harness.reports.console import results_console
from harness.reports.text.capsule import Part, Shown, as_json, show
from harness.schemas.capsule import DATA, EXPLAIN, PAGE, RECORDING, RUN_INFO, SNAPSHOTS
from harness.schemas.run_info import RUN_INFO_VERSION, SNAPSHOT_INFO_VERSION, RunInfo, SnapshotInfo

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_COLUMNS = 160  # of results in a file or a pipe
_PARTS = (RUN_INFO, RECORDING, f"{SNAPSHOTS}/", f"{DATA}/", EXPLAIN, PAGE)


def add_parser(actions: _SubParsersAction[CommandParser]) -> None:
    """Add the arguments of this sub-command."""
    parser = actions.add_parser(
        "show",
        help="show what is in a capsule, without running anything",
        description=f"{__doc__} All of it is read, and compared with its checksums.",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="F", help="a capsule")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run with the parsed arguments, and return the exit code."""
    with open_capsule(args.file) as archive, showing_progress("Reading") as progress:
        archive.verify(progress)
        shown = _shown(archive)
    with writing_results():
        if args.json:
            print(visible_json(json.dumps(as_json(shown), indent=2)))
        else:
            show(shown, results_console(_COLUMNS))
    return Exit.DONE


def _shown(archive: Archive) -> Shown:
    manifest = archive.manifest
    described = Described(
        _metadata(archive, RUN_INFO, RunInfo, RUN_INFO_VERSION),
        _metadata(archive, snapshot_member(manifest), SnapshotInfo, SNAPSHOT_INFO_VERSION),
    )
    check_described(described, manifest, archive.path)
    members = {part: [m for m in manifest.members if m.name.startswith(part)] for part in _PARTS}
    return Shown(
        path=archive.path,
        manifest=manifest,
        info=described.info,
        parts=tuple(
            Part(part, len(inside), sum(map(archive.stored_size, inside)), sum(member.size for member in inside))
            for part, inside in members.items()
            if inside
        ),
        code=code_in(described, archive.path),
        other_arithmetic=other_arithmetic(described.info),
    )


def _metadata(archive: Archive, name: str, kind: type[Metadata], version: int) -> Metadata:
    where = f"{archive.path}: {name}"
    member = archive.manifest.member(name)
    if member is None or member.size > LARGEST:
        raise BadInput(f"larger than {LARGEST >> 20} MiB", file=where, remedy=REMEDY)
    return decode_metadata(archive.read(member), where, kind, version, REMEDY)
