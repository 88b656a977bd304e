"""Read and write capsule.json, whose contents `harness.schemas.capsule` defines."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import BadInput
from harness.schemas.capsule import (
    CAPSULE_FORMAT,
    CAPSULE_VERSION,
    RECORDING,
    RUN_INFO,
    SNAPSHOTS,
    Break,
    HeadLevels,
    Manifest,
    Member,
)

__all__ = ["MANIFEST", "REMEDY", "Break", "HeadLevels", "Manifest", "Member", "decode_manifest", "encode_manifest"]

MANIFEST = "capsule.json"
REMEDY = "Get the capsule again from where it came from"


class _Header(msgspec.Struct):
    format: object = None
    format_version: object = None


def encode_manifest(manifest: Manifest) -> bytes:
    """Return `manifest` as JSON text."""
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"


def decode_manifest(content: bytes, path: Path) -> Manifest:
    """Decode the capsule.json of the capsule `path`.

    Raises:
        BadInput: it is damaged, was written by a newer harness, or lists files that no capsule can have.
    """
    where = f"{path}: {MANIFEST}"
    try:
        header = msgspec.json.decode(content, type=_Header)
        if header.format != CAPSULE_FORMAT:
            raise ValueError(f"it is not that of a capsule: format is {header.format!r}")
        if isinstance(header.format_version, int) and header.format_version > CAPSULE_VERSION:
            raise BadInput(
                f"written by a newer caffe-harness (this one reads format {CAPSULE_VERSION})",
                file=where,
                field="format_version",
                value=header.format_version,
                remedy="Install that version of caffe-harness",
            )
        manifest = msgspec.json.decode(content, type=Manifest)
        _check_members(manifest)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BadInput(f"damaged ({error})", file=where, remedy=REMEDY) from None
    return manifest


def _check_members(manifest: Manifest) -> None:
    """Check that the files can be in one directory, and that what every capsule has is among them.

    Raises:
        ValueError: they cannot, or it is not.
    """
    names: set[str] = set()
    entries = {MANIFEST}
    directories: set[str] = set()
    for member in manifest.members:
        if member.name in names or member.entry in entries:
            raise ValueError(f"it lists {member.name} twice")
        names.add(member.name)
        entries.add(member.entry)
        parts = member.name.split("/")
        directories.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    both = names & directories
    if both:
        raise ValueError(f"it lists {min(both)} as a file and as a directory")
    for name in (RUN_INFO, RECORDING):
        if name not in names:
            raise ValueError(f"it lists no {name}")
    described = [name for name in names if name.startswith(f"{SNAPSHOTS}/") and name.endswith(".json")]
    if len(described) != 1:
        raise ValueError(f"it lists {len(described)} snapshots (files {SNAPSHOTS}/*.json), and a capsule has one")
