"""Read and write the metadata files of a run directory: run.json, and the JSON beside each snapshot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.atomic_write import write_whole
from harness.errors import BadInput
from harness.schemas.run_info import TrainingSetup

Metadata = TypeVar("Metadata", bound=TrainingSetup)


def read_metadata(path: Path, kind: type[Metadata], version: int, remedy: str) -> Metadata:
    """Read the file `path`, written in format `version` or an older one. `remedy` is what a user can do if it is bad.

    Raises:
        BadInput: it cannot be read, is damaged, or was written by a newer harness.
    """
    try:
        content = json.loads(path.read_text())  # unlike msgspec's decoder, this reads NaN (of a loss)
        found = content.get("format_version", 1) if isinstance(content, dict) else 1
        if isinstance(found, int) and found > version:
            raise BadInput(
                f"written by a newer caffe-harness (this one reads format {version})",
                file=path,
                field="format_version",
                value=found,
                remedy="Install that version of caffe-harness",
            )
        return msgspec.convert(content, kind)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", file=path, remedy=remedy) from None
    except (ValueError, RecursionError) as error:  # msgspec's ValidationError is a ValueError
        raise BadInput(f"damaged ({error})", file=path, remedy=remedy) from None


def write_metadata(path: Path, content: TrainingSetup) -> None:
    """Write the file `path`, complete or not at all."""
    write_whole(path, json.dumps(msgspec.to_builtins(content), indent=2) + "\n")
