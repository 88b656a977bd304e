"""Check of the structure of a recording, before anything in it is read or repaired.

A recording may be damaged, or come from a stranger. HDF5 follows links to other files, reads data that other files
hold, loads plugins, and allocates what a header claims; a repair would write through such links. So a recording
consists of groups and datasets that are linked once each, by hard links, and hold numbers or text in the file itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from harness.errors import RecordingError
from harness.recording.checksums import CHECKSUM
from harness.recording.hdf5_objects import DatasetFacts, objects_of
from harness.schemas.captures import ALL_CAPTURES
from harness.schemas.layout import ACTIVATION_STATS, FORMAT, FORMAT_VERSION, INPUT_STATS, ROWS, STATS, WINDOW_FORMAT

# What a user has without the recording
SPARED = "readlog still reads its solver.log, and restart its snapshots with --from ITERATION"
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}  # built into HDF5
_MOST_DEFLATED = 1100  # deflate compresses 1032 bytes to one at most
# Type (numpy's kind and bytes) and number of axes (None: any) of the datasets, by path
_KINDS: tuple[tuple[str, str, int | None], ...] = (
    (r"(?:|activation/|window/|test/\d+/)iteration", "i8", 1),
    (r"lr|loss|smoothed_loss|seconds", "f8", 1),
    (r"(?:window/)?digest", "u8", 1),
    (r"(?:|activation/|window/|test/\d+/)checksum", "u8", 2),
    (r"(?:test/\d+/)?output/.+", "f4", 2),
    (rf"stat/(?:{'|'.join(STATS)})", "f8", 2),
    (rf"input_stat/(?:{'|'.join(INPUT_STATS)})", "f8", 2),
    (rf"activation/(?:{'|'.join(ACTIVATION_STATS)})", "f8", 2),
    (rf"window/(?:{'|'.join(ALL_CAPTURES)}|state)/.+", "f4", None),
    (r"window/key", "S", 2),
)
_KIND = re.compile("|".join(f"({pattern})" for pattern, _, _ in _KINDS), re.DOTALL)
_FIELDS = {
    "param": ("layer", "index", "shape", "lr_mult", "decay_mult"),
    "blob": ("name", "shape"),
    "alarm": ("iteration", "rule", "subject", "value", "limit"),
    "input": ("name", "shape"),
}
_GROUPS = ("output", "stat", "activation", "test")
_INPUTS = ("input", *(f"input_stat/{name}" for name in INPUT_STATS))  # all of them, or none before 0.3.0
_NEEDED = (
    *(name for name in ROWS if name not in (*_GROUPS, "input_stat")),
    *(f"stat/{name}" for name in STATS),
    *(f"activation/{name}" for name in ("iteration", *ACTIVATION_STATS)),
    *(name for name in _FIELDS if name not in _INPUTS),
)


def check_structure(path: Path, file: h5py.File) -> None:
    """Check that `file`, opened from `path`, is a recording of a known version and consists of what a recording may.

    Raises:
        RecordingError: it is not. It names the object and what is wrong with it.
    """
    try:
        _check_format(path, file, FORMAT, "recording")
        found = dict(objects_of(path, file))
        datasets = {name: facts for name, facts in found.items() if facts is not None}
        _check_needed(path, found.keys() - datasets.keys(), datasets)
        for name, facts in datasets.items():
            _check_dataset(path, name, facts)
        _check_columns(path, datasets)
        _check_outputs(path, datasets)
        _check_sizes(path, datasets)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise RecordingError(f"{path}: damaged ({error}). Copy it from a backup; {SPARED}") from error


def check_window_structure(path: Path, file: h5py.File) -> None:
    """Check that `file`, opened from `path`, is a window in a file of its own and consists of what one may.

    Raises:
        RecordingError: it is not. It names the object and what is wrong with it.
    """
    try:
        _check_format(path, file, WINDOW_FORMAT, "window")
        datasets = {name: facts for name, facts in objects_of(path, file) if facts is not None}
        for name in ("window/iteration", "window/checksum", "window/digest"):
            if name not in datasets:
                raise RecordingError(f"{path}: damaged: it has no dataset /{name}")
        for name, facts in datasets.items():
            _check_dataset(path, name, facts)
        _check_sizes(path, datasets)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise RecordingError(f"{path}: damaged ({error})") from error


def check_contained(path: Path, file: h5py.File) -> None:
    """Check that `file`, any HDF5 file opened from `path`, holds all its values, which are numbers or text, itself.

    Raises:
        RecordingError: it does not. It names the object and what is wrong with it.
    """
    try:
        size = path.stat().st_size
        for name, facts in objects_of(path, file):
            if facts is not None:
                _check_values(path, name, facts)
                _check_size(path, name, facts, facts.shape, size)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        raise RecordingError(f"{path}: damaged ({error})") from error


def _check_format(path: Path, file: h5py.File, expected: str, kind: str) -> None:
    found = _scalar(path, file, "format")
    if found != expected:
        raise RecordingError(f"{path}: an HDF5 file, but not a {kind} (format = {found!r})")
    version = _scalar(path, file, "format_version")
    if not isinstance(version, int):
        raise RecordingError(f"{path}: not a {kind} (format_version = {version!r})")
    if version > FORMAT_VERSION:
        raise RecordingError(
            f"{path}: recorded in format {version}, and this harness reads up to format {FORMAT_VERSION}. "
            "Update the harness"
        )
    for name in file.attrs:
        _scalar(path, file, name)


def _scalar(path: Path, file: h5py.File, name: str) -> str | int | float | bool | None:
    """Read an attribute of the root, which must be text or a number; None if there is none."""
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or not (attribute.dtype.kind in "iufb" or h5py.check_string_dtype(attribute.dtype)):
        raise RecordingError(f"{path}: refused: its attribute {name} is neither text nor a number")
    value = file.attrs[name]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    plain: str | int | float | bool = value.item() if isinstance(value, np.generic) else value
    return plain


def _check_needed(path: Path, groups: set[str], datasets: Mapping[str, DatasetFacts]) -> None:
    """Check that what readers rely on is there."""
    tests = {name.removeprefix("test/") for name in groups if re.fullmatch(r"test/[^/]*", name)}
    if tests != set(map(str, range(len(tests)))):
        raise RecordingError(f"{path}: damaged: its test nets are {', '.join(sorted(tests))}, not 0, 1 and so on")
    for name in (*_GROUPS, *(f"test/{net}/output" for net in tests)):
        if name not in groups:
            raise RecordingError(f"{path}: damaged: it has no group /{name}")
    iterations = [*(f"test/{net}/iteration" for net in tests), *(["window/iteration"] if "window" in groups else [])]
    inputs = _INPUTS if {"input", "input_stat"} & (groups | datasets.keys()) else ()
    for name in (*_NEEDED, *inputs, *iterations):
        if name not in datasets:
            raise RecordingError(f"{path}: damaged: it has no dataset /{name}")


def _check_values(path: Path, name: str, facts: DatasetFacts, *, table: bool = False) -> None:
    """Check where a dataset's values are, how they are packed, and that they are numbers or text, unless in a table."""
    if facts.elsewhere:
        raise RecordingError(f"{path}: refused: the values of /{name} are in another file")
    plugins = facts.filters - _FILTERS
    if plugins:
        raise RecordingError(f"{path}: refused: /{name} needs a plugin (HDF5 filter {min(plugins)})")
    if facts.dtype.hasobject and not table:
        raise RecordingError(f"{path}: refused: /{name} holds neither numbers nor text")


def _check_dataset(path: Path, name: str, facts: DatasetFacts) -> None:
    """Check a dataset's values, and of those that a recording has, their type and shape."""
    _check_values(path, name, facts, table=name in _FIELDS)
    if name in _FIELDS and (len(facts.shape) != 1 or not set(_FIELDS[name]) <= set(facts.dtype.names or ())):
        raise RecordingError(f"{path}: damaged: /{name} is not a table of {', '.join(_FIELDS[name])}")
    known = _KIND.fullmatch(name)
    if known is None:
        return
    kind, axes = _KINDS[(known.lastindex or 1) - 1][1:]
    here = f"{facts.dtype.kind}{'' if facts.dtype.kind == 'S' else facts.dtype.itemsize}"
    if here != kind or len(facts.shape) < 1 or (axes is not None and len(facts.shape) != axes):
        raise RecordingError(f"{path}: damaged: /{name} has type {facts.dtype} and shape {facts.shape}")
    if not (facts.chunked and facts.grows):
        raise RecordingError(f"{path}: damaged: /{name} cannot grow")


def _check_columns(path: Path, datasets: Mapping[str, DatasetFacts]) -> None:
    """Check that the statistics have one column for each row of their table."""
    tables = [("stat", "param", STATS), ("activation", "blob", ACTIVATION_STATS)]
    tables += [("input_stat", "input", INPUT_STATS)] if "input" in datasets else []
    for group, table, names in tables:
        rows = datasets[table].shape[0]
        for name in names:
            columns = datasets[f"{group}/{name}"].shape[1]
            if columns != rows:
                raise RecordingError(f"{path}: damaged: /{group}/{name} has {columns} columns, /{table} {rows} rows")


def _check_outputs(path: Path, datasets: Mapping[str, DatasetFacts]) -> None:
    """Check that no output of a net is missing: each has a column of checksums, beside those of the other datasets."""
    inputs = len(INPUT_STATS) if "input" in datasets else 0
    for name, facts in datasets.items():
        if found := re.fullmatch(r"(|test/\d+/)checksum", name):
            others = 1 if found[1] else 2 + len(STATS) + inputs
            missing = facts.shape[1] - others - sum(other.startswith(f"{found[1]}output/") for other in datasets)
            if missing:
                raise RecordingError(f"{path}: damaged: /{found[1]}output lacks outputs: {missing}. {SPARED}")


def _check_sizes(path: Path, datasets: Mapping[str, DatasetFacts]) -> None:
    """Check that no dataset claims more than the file holds: a reader allocates what is claimed."""
    size = path.stat().st_size
    complete: dict[str, int] = {}  # rows, by group
    for name, facts in datasets.items():
        group = _rows_group(name)
        if group is not None:
            complete[group] = min(complete.get(group, facts.shape[0]), facts.shape[0])
    for name, facts in datasets.items():
        group = _rows_group(name)
        shape = facts.shape if group is None else (complete[group], *facts.shape[1:])
        _check_size(path, name, facts, shape, size)


def _check_size(path: Path, name: str, facts: DatasetFacts, shape: tuple[int, ...], size: int) -> None:
    """Check that a dataset of `shape` claims no more than a file of `size` bytes holds of it."""
    claimed = math.prod(shape) * facts.dtype.itemsize
    holds = facts.stored * (_MOST_DEFLATED if h5py.h5z.FILTER_DEFLATE in facts.filters else 1)
    if facts.stored > size or claimed > holds:
        raise RecordingError(
            f"{path}: damaged: /{name} claims {claimed:,} bytes, and {min(facts.stored, size):,} are there"
        )


def _rows_group(name: str) -> str | None:
    """Name the datasets that grow together with `name`: "" for those of every iteration; None if it stands alone."""
    head, _, rest = name.partition("/")
    if head in ROWS or head == CHECKSUM:
        return ""
    if head == "test" and rest:
        return f"test/{rest.partition('/')[0]}"
    return head if head in ("activation", "window") else None
