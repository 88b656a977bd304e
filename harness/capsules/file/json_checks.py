"""Check what the JSON files in a capsule say: that its training reads, writes and runs nothing but what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness.capsules.file.manifest import REMEDY
from harness.capsules.file.named_files import (
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
from harness.errors import BadInput
from harness.schemas.capsule import DATA, RUN_INFO, SNAPSHOTS, Manifest
from harness.schemas.run_info import RunInfo, SnapshotInfo, TrainingSetup

_MOST_SHOWN = 300  # characters of a value in an error


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
    names = Names(manifest)
    run_file, snapshot_file = (f"{path}: {name}" for name in (RUN_INFO, snapshot_member(manifest)))
    _check_alone(described.info, run_file)
    _check_iterations(manifest, described, run_file, snapshot_file)
    for setup, file in zip(described.setups, (run_file, snapshot_file), strict=True):
        _check_setup(setup, file, names)
    for field in ("random_seed", "data", "point"):
        if getattr(described.snapshot, field) != getattr(described.info, field):
            problem = f"damaged, or of another capsule: {RUN_INFO} has another one"
            raise refused(problem, snapshot_file, field, getattr(described.snapshot, field))


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


def refused(problem: str, file: object, field: str, value: object) -> BadInput:
    """Return the error about a field of a file in a capsule."""
    shown = str(value)
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"
    return BadInput(problem, file=file, field=field, value=shown, remedy=REMEDY)


def _check_alone(info: RunInfo, file: str) -> None:
    """Check that a run continues no other: readers would look for the other one on this machine."""
    for field, value, nothing in (
        ("parent", info.parent and info.parent.run, None),
        ("goes_on_from", info.goes_on_from, None),
        ("resume", info.resume, None),
        ("weights", info.weights, ()),
    ):
        if value != nothing:
            problem = "refused: the run in a capsule continues no other, and starts from its snapshot"
            raise refused(problem, file, field, value)


def _check_iterations(manifest: Manifest, described: Described, run_file: str, snapshot_file: str) -> None:
    info, snapshot = described.info, described.snapshot
    for file, field, value, expected in (
        (run_file, "first", info.first, manifest.first),
        (run_file, "until", info.until, manifest.until),
        (snapshot_file, "iteration", snapshot.iteration, manifest.first),
    ):
        if value != expected:
            raise refused(f"damaged, or of another capsule: capsule.json says {expected}", file, field, value)


class Names:
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
        return refused(f"refused: not a file of this capsule, whose data are in {DATA}/", file, field, name)


def _check_setup(setup: TrainingSetup, file: str, names: Names) -> None:
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
                at = f"{file}: {where}: layer {layer.name}"
                raise refused("refused: such a layer writes a file", at, "type", layer.type)


def _check_named(named: Named, names: Names) -> None:
    where, field, value = named.where, named.field, named.value
    if field == PREFIX:
        if value and (value != PurePosixPath(value).name or value == ".."):
            problem = "refused: a path, and it is a name without a directory in a capsule"
            raise refused(problem, where, field, value)
    elif field in WRITTEN:
        raise refused("refused: the net would write a file", where, field, value)
    elif field in OF_SOLVER:
        problem = "refused: the nets are in run.json and the weights in the snapshot, and a solver names no file"
        raise refused(problem, where, field, value)
    elif field in ROOTS:
        parts = value.split("/")
        if value and (parts[0] != DATA or len(parts) < 2 or ".." in parts):
            raise refused(f"refused: not a directory below {DATA}/", where, field, value)
    else:
        names.check_source(value, where, field)
