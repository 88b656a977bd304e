"""Read and write the metadata files of a run directory: run.json, the JSON beside each snapshot, explain.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import xxhash

from harness.atomic_write import write_whole
from harness.caffe_files.paths import exists, is_file
from harness.errors import BadInput
from harness.schemas.run_info import TrainingSetup

# bytes: a net of thousands of layers takes less than one MiB, the shuffled order of a million HDF5 rows 5 MiB
LARGEST = 128 << 20

Metadata = TypeVar("Metadata", bound=msgspec.Struct)


def read_metadata(path: Path, kind: type[Metadata], version: int, remedy: str) -> Metadata:
    """Read the file `path`, written in format `version` or an older one. `remedy` is what a user can do if it is bad.

    Raises:
        BadInput: it cannot be read, is damaged, or was written by a newer harness.
    """
    try:
        data = _read(path)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path, remedy=remedy) from None
    except ValueError as error:
        raise BadInput(f"damaged ({error})", file=path, remedy=remedy) from None
    return decode_metadata(data, path, kind, version, remedy)


def decode_metadata(data: bytes, file: object, kind: type[Metadata], version: int, remedy: str) -> Metadata:
    """Decode `data`, which was read from `file`, as `read_metadata` does."""
    try:
        content = _decoded(data)
        found = content.get("format_version", 1) if isinstance(content, dict) else 1
        if isinstance(found, int) and found > version:
            raise BadInput(
                f"written by a newer caffe-harness (this one reads format {version})",
                file=file,
                field="format_version",
                value=found,
                remedy="Install that version of caffe-harness",
            )
        if isinstance(content, dict) and content.get("digest") not in (None, content_digest(content)):
            raise BadInput(
                "damaged or edited: the digest of its fields is not the one that it states",
                file=file,
                field="digest",
                value=content["digest"],
                remedy=remedy,
            )
        return msgspec.convert(content, kind)
    except (ValueError, RecursionError) as error:  # msgspec's ValidationError is a ValueError
        raise BadInput(f"damaged ({error})", file=file, remedy=remedy) from None


def _read(path: Path) -> bytes:
    """Read `path`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no ordinary file, or too large.
    """
    if exists(path) and not is_file(path):  # reading a named pipe would wait forever
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    return data


def _decoded(data: bytes) -> object:
    """Decode JSON.

    Raises:
        ValueError: it is not JSON, or has texts that no message or path can contain.
    """
    content: object = json.loads(data)  # unlike msgspec's decoder, this reads NaN (of a loss)
    again = json.dumps(content, ensure_ascii=False)
    again.encode()  # fails for half of a surrogate pair
    if "\\u0000" in again:
        raise ValueError("a text in it contains a NUL")
    return content


def content_digest(fields: Mapping[str, object]) -> str:
    """Compute XXH3-64 over the fields of a file but `digest`, as JSON with sorted keys; 16 hex digits."""
    rest = {name: value for name, value in fields.items() if name != "digest"}
    return xxhash.xxh3_64_hexdigest(json.dumps(rest, sort_keys=True).encode())


def write_metadata(path: Path, content: TrainingSetup) -> None:
    """Write the file `path`, complete or not at all."""
    write_whole(path, encode_metadata(content))


def encode_metadata(content: TrainingSetup) -> bytes:
    """Return `content` as JSON text."""
    return (json.dumps(msgspec.to_builtins(content), indent=2) + "\n").encode()
