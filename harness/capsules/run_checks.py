"""Check the run directory in a capsule: it is complete, it fits together, and it names no file but its own."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import numpy as np

from harness.caffe_files.caffemodel import read_caffemodel
from harness.caffe_files.image_list import parse_lines
from harness.caffe_files.window_file import read_window_file
from harness.capsules.manifest import REMEDY
from harness.capsules.named_files import (
    OF_SOLVER,
    PREFIX,
    ROOTS,
    WRITTEN,
    Named,
    layers_in,
    messages_of,
    old_layers_in,
    paths_in,
    python_layers,
)
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.recording.snapshots import read_snapshot
from harness.recording.structure import SPARED, check_contained
from harness.schemas.capsule import DATA, EXPLAIN, RUN_INFO, SNAPSHOTS, Manifest
from harness.schemas.run_info import RunInfo, SnapshotInfo, TrainingSetup
from harness.supervisor.resume import check_snapshot, from_run

_LARGEST_EXPLANATION = 128 << 20  # bytes


@dataclass(frozen=True)
class Described:
    """What the JSON files in a capsule say of its training: run.json, and that of the snapshot."""

    info: RunInfo
    snapshot: SnapshotInfo

    @property
    def setups(self) -> tuple[TrainingSetup, TrainingSetup]:
        return (self.info, self.snapshot)


def snapshot_member(manifest: Manifest) -> str:
    """Return the name of the JSON of a capsule's one snapshot."""
    return next(m.name for m in manifest.members if m.name.startswith(f"{SNAPSHOTS}/") and m.name.endswith(".json"))


def check_described(described: Described, manifest: Manifest, path: Path) -> None:
    """Check what the JSON files of the capsule `path` say: its training reads and writes nothing but its own files.

    Raises:
        BadInput: it does, or they do not fit each other.
    """
    names = _Names(manifest)
    run_file, snapshot_file = (f"{path}: {name}" for name in (RUN_INFO, snapshot_member(manifest)))
    _check_alone(described.info, run_file)
    _check_iterations(manifest, described, run_file, snapshot_file)
    for setup, file in zip(described.setups, (run_file, snapshot_file), strict=True):
        _check_setup(setup, file, path, names)


def check_run(directory: Path, manifest: Manifest, path: Path, *, trust: bool) -> None:
    """Check the run directory `directory`, which has the members of `manifest`; errors name the capsule `path`.

    Args:
        trust: nets may have Python layers.

    Raises:
        BadInput: something in it is damaged or missing, does not fit the rest, or is refused.
    """
    with _errors_of(path, directory):
        described = Described(read_info(directory), read_snapshot(directory / snapshot_member(manifest)))
        check_described(described, manifest, path)
        check_trust(code_in(described, path), path, trust=trust)
        _check_lists(directory, described, path, _Names(manifest))
        _check_snapshot(directory, described)
        _check_recording(directory, described.info)
        _check_explanation(directory / EXPLAIN)


def code_in(described: Described, path: Path) -> tuple[str, ...]:
    """Say in one line each which layers in the nets of a capsule run Python code."""
    found = (
        layer
        for setup in described.setups
        for _, message in messages_of(setup, path)
        for layer in python_layers(message)
    )
    return tuple(dict.fromkeys(map(str, found)))


def check_trust(code: tuple[str, ...], path: Path, *, trust: bool) -> None:
    """Check that nets run no `code`, or that the user trusts it.

    Raises:
        BadInput: they do, and it is not trusted.
    """
    if code and not trust:
        raise BadInput(
            f"refused: training this net runs Python code: {'; '.join(code)}",
            file=path,
            remedy="Look at that code on this machine, then give --trust if you trust the net with it",
        )


@contextmanager
def _errors_of(path: Path, directory: Path) -> Iterator[None]:
    """Have errors about files in `directory` name the capsule `path` and the member."""

    def named(text: object) -> str:
        return str(text).replace(f"{directory}/", "" if path == directory else f"{path}: ")

    try:
        yield
    except BadInput as error:
        if error.file is None or not error.file.startswith(f"{directory}/"):
            raise
        value = None if error.value is None else named(error.value)
        problem = named(error.problem)
        raise BadInput(problem, file=named(error.file), field=error.field, value=value, remedy=REMEDY) from None
    except RecordingError as error:
        text = named(error).removesuffix(SPARED).removesuffix("; ").removesuffix("Copy it from a backup").rstrip(". ")
        raise BadInput(text, remedy=REMEDY) from None


def _check_alone(info: RunInfo, file: str) -> None:
    """Check that a run continues no other: readers would look for the other one on this machine."""
    for field, value, nothing in (
        ("parent", info.parent and info.parent.run, None),
        ("goes_on_from", info.goes_on_from, None),
        ("resume", info.resume, None),
        ("weights", info.weights, ()),
    ):
        if value != nothing:
            raise BadInput("refused: the run in a capsule continues no other, and starts from its snapshot", file=file,
                           field=field, value=value, remedy=REMEDY)  # fmt: skip


def _check_iterations(manifest: Manifest, described: Described, run_file: str, snapshot_file: str) -> None:
    info, snapshot = described.info, described.snapshot
    for file, field, value, expected in (
        (run_file, "first", info.first, manifest.first),
        (run_file, "until", info.until, manifest.until),
        (snapshot_file, "iteration", snapshot.iteration, manifest.first),
    ):
        if value != expected:
            problem = f"damaged, or of another capsule: capsule.json says {expected}"
            raise BadInput(problem, file=file, field=field, value=value, remedy=REMEDY)


class _Names:
    """The names of what is in a capsule."""

    def __init__(self, manifest: Manifest) -> None:
        self._files = {member.name for member in manifest.members if member.name.startswith(f"{DATA}/")}

    def check_file(self, name: str, file: object, field: str) -> None:
        """Check that `name` is a file of the data."""
        if name not in self._files:
            raise self._elsewhere(name, file, field)

    def check_source(self, name: str, file: object, field: str) -> None:
        """Check that `name` is a file of the data, or an LMDB."""
        if name not in self._files and f"{name}/data.mdb" not in self._files:
            raise self._elsewhere(name, file, field)

    def _elsewhere(self, name: str, file: object, field: str) -> BadInput:
        return BadInput(f"refused: not a file of this capsule, whose data are in {DATA}/", file=file, field=field,
                        value=name, remedy=REMEDY)  # fmt: skip


def _check_setup(setup: TrainingSetup, file: str, path: Path, names: _Names) -> None:
    """Check that a training names no files but those of the capsule."""
    for source in (*setup.data, *(place.source for place in setup.point.inputs)):
        names.check_source(source, file, "source")
    for where, message in messages_of(setup, Path(file)):
        if old_layers_in(message):
            raise BadInput("refused: it has layers in the format before 2014, as no run.json has", file=file,
                           field=where, remedy=REMEDY)  # fmt: skip
        for named in paths_in(message, f"{file}: {where}"):
            _check_named(named, names)
        for layer in layers_in(message):
            if layer.type == "HDF5Output":
                raise BadInput("refused: such a layer writes a file", file=f"{file}: {where}: layer {layer.name}",
                               field="type", value=layer.type, remedy=REMEDY)  # fmt: skip


def _check_named(named: Named, names: _Names) -> None:
    where, field, value = named.where, named.field, named.value
    if field == PREFIX:
        if value and (value != PurePosixPath(value).name or value == ".."):
            raise BadInput("refused: a path, and it is a name without a directory in a capsule", file=where,
                           field=field, value=value, remedy=REMEDY)  # fmt: skip
    elif field in WRITTEN:
        raise BadInput("refused: the net would write a file", file=where, field=field, value=value, remedy=REMEDY)
    elif field in OF_SOLVER:
        raise BadInput("refused: in a capsule the nets are in run.json and the weights in its snapshot, and the solver "
                       "names no file", file=where, field=field, value=value, remedy=REMEDY)  # fmt: skip
    elif field in ROOTS:
        parts = value.split("/")
        if value and (parts[0] != DATA or len(parts) < 2 or ".." in parts):
            raise BadInput(f"refused: not a directory below {DATA}/", file=where, field=field, value=value,
                           remedy=REMEDY)  # fmt: skip
    else:
        names.check_source(value, where, field)


def _check_lists(directory: Path, described: Described, path: Path, names: _Names) -> None:
    """Check that the lists which data layers read name nothing but files of the capsule."""
    messages = (message for setup in described.setups for _, message in messages_of(setup, path))
    for layer in (layer for message in messages for layer in layers_in(message)):
        root = ""
        match layer.type:
            case "ImageData":
                source, root = directory / layer.image_data_param.source, layer.image_data_param.root_folder
                listed = [os.fsdecode(key) for key, _ in parse_lines(source.read_bytes())]
            case "HDF5Data":
                source = directory / layer.hdf5_data_param.source
                listed = [os.fsdecode(name) for name in source.read_bytes().split()]
            case "WindowData":
                source, root = directory / layer.window_data_param.source, layer.window_data_param.root_folder
                listed = _windowed(source)
            case _:
                continue
        for name in dict.fromkeys(listed):
            names.check_file(root + name, source, "path")
            if layer.type == "HDF5Data":
                _check_contained(directory / name)


def _windowed(source: Path) -> list[str]:
    try:
        return list(read_window_file(source).images)
    except ValueError as error:
        raise BadInput(f"not a window file: {error}", file=source, remedy=REMEDY) from None


def _check_contained(path: Path) -> None:
    try:
        with h5py.File(path, "r") as file:
            check_contained(path, file)
    except (OSError, RuntimeError) as error:
        raise BadInput(f"not an HDF5 file, or a damaged one ({error})", file=path, remedy=REMEDY) from None


def _check_snapshot(directory: Path, described: Described) -> None:
    """Check that the files of the snapshot are there, and those that its JSON describes."""
    info, snapshot = described.info, described.snapshot
    model = directory / SNAPSHOTS / snapshot.caffemodel
    state = directory / SNAPSHOTS / snapshot.solverstate
    for path in (model, state):
        if not path.is_file():
            raise BadInput("not in the capsule, and the JSON of its snapshot names it", file=path, remedy=REMEDY)
        if path.name.endswith(".h5"):
            _check_contained(path)
    read_caffemodel(model)
    start = from_run(directory, info, info.first)
    if start.state is not None and start.state.learned_net != model:
        raise BadInput("it belongs to another caffemodel", file=state, field="learned_net", value=start.state.stored,
                       remedy=REMEDY)  # fmt: skip
    check_snapshot(start)
    if start.layer_state is not None:
        _check_arrays(start.layer_state)


def _check_arrays(path: Path) -> None:
    """Check that a NumPy archive holds float32 arrays as large as they claim to be; they are read later."""
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{entry.filename} is compressed")
                with archive.open(entry) as file:
                    version = np.lib.format.read_magic(file)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
                    if read is None:
                        raise ValueError(f"{entry.filename} is in format {version} of NumPy")
                    shape, _, dtype = read(file)
                    claimed = int(np.prod(shape, dtype=object)) * dtype.itemsize
                    if dtype != np.float32 or claimed != entry.file_size - file.tell():
                        raise ValueError(f"{entry.filename} is not the float32 array that it claims to be")
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise BadInput(f"damaged ({error})", file=path, remedy=REMEDY) from None


def _check_recording(directory: Path, info: RunInfo) -> None:
    with Recording(directory, may_repair=False) as recording:
        if recording.goes_on_from is not None:
            raise BadInput("refused: the run in a capsule continues no other", file=recording.path,
                           field="goes_on_from", value=recording.goes_on_from, remedy=REMEDY)  # fmt: skip
        recorded = recording.iterations
    repeated = np.arange(info.first, info.until)
    if not np.array_equal(recorded[-len(repeated) :], repeated) or (np.diff(recorded) != 1).any():
        raise BadInput(
            f"it does not hold the iterations {info.first} … {info.until - 1}, which the capsule repeats, at its end",
            file=directory / "recording.h5",
            remedy=REMEDY,
        )


def _check_explanation(path: Path) -> None:
    if not path.exists():
        return
    try:
        if path.stat().st_size > _LARGEST_EXPLANATION:
            raise ValueError(f"it is larger than {_LARGEST_EXPLANATION >> 20} MiB")
        if not isinstance(json.loads(path.read_bytes()), dict):
            raise ValueError("it is no JSON object")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"damaged ({error})", file=path, remedy=REMEDY) from None
