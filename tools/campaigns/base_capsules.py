"""A small capsule, made by hand, and capsules taken apart and put together with other code than that of the harness."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import zstandard
from google.protobuf import text_format

from harness.caffe_files.messages import parse_text, pb
from harness.capsules.file.capsule_file import write_capsule
from harness.capsules.packing.facts import break_at, describe
from harness.recording import Recording
from harness.recording.run_directory import read_info, write_info
from harness.recording.snapshots import iterations_of, read_snapshot, write_snapshot
from harness.schemas.onset import Onset
from harness.schemas.run_info import TrainingSetup

Setup = TypeVar("Setup", bound=TrainingSetup)

_BLOCK = 1 << 22  # bytes that `shuffle4` puts in order together
_SUFFIXES = {"stored": "", "deflate": "", "zstd": ".zst", "shuffle4+zstd": ".shuffle4.zst"}


def minimal_run(run: Path, first: int, out: Path) -> Path:
    """Make the run directory `out` that repeats `run` from its snapshot at `first` on, with all of its LMDB.

    The run must have been trained without windows from an LMDB, in the current directory.
    """
    info = read_info(run)
    path = iterations_of(run / "snapshots")[first]
    snapshot = read_snapshot(path)
    (out / "snapshots").mkdir(parents=True)
    (out / "data/0").mkdir(parents=True)
    source = next(place.source for place in info.point.places if place.net == 0)
    shutil.copy(Path(source) / "data.mdb", out / "data/0/data.mdb")
    for name in (snapshot.caffemodel, snapshot.solverstate):
        shutil.copy(path.with_name(name), out / "snapshots" / name)
    shutil.copy(run / "recording.h5", out / "recording.h5")
    step = snapshot.step or 0
    info = msgspec.structs.replace(info, first=first, step=step, point=snapshot.point, directory="/", weights=())
    write_info(out, _within(info, source))
    write_snapshot(out / "snapshots" / path.name, _within(snapshot, source))
    return out


def _within(setup: Setup, source: str) -> Setup:
    """Return a training without test nets that reads `data/0` in place of `source`, and whose solver names no file."""
    solver = parse_text(setup.solver, pb.SolverParameter, Path("run.json"))
    for field in ("net", "train_net", "test_net", "test_iter", "test_interval", "test_state", "weights"):
        solver.ClearField(field)
    solver.snapshot_prefix = Path(solver.snapshot_prefix).name
    net = parse_text(setup.net, pb.NetParameter, Path("run.json"))
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source = "data/0"
    places = tuple(replace(place, source="data/0") for place in setup.point.places if place.net == 0)
    return msgspec.structs.replace(
        setup,
        solver=text_format.MessageToString(solver),
        net=text_format.MessageToString(net),
        test_nets=(),
        data={"data/0": setup.data[source]},
        point=replace(setup.point, places=places),
    )


def capsule_of(directory: Path, onset: Onset | None, out: Path) -> Path:
    """Write the minimal run directory `directory` to the capsule `out`."""
    with Recording(directory, may_repair=False) as recording:
        broke = break_at(onset, recording, read_info(directory).until)
    write_capsule(directory, describe(directory, "jump", broke), out)
    return out


@dataclass
class TakenApart:
    """A capsule: capsule.json as it is, and the bytes of the members by name, as they were before they were encoded."""

    manifest: dict[str, Any]
    members: dict[str, bytes]


def take_apart(path: Path) -> TakenApart:
    """Read a capsule with nothing but zipfile, zstandard and NumPy."""
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("capsule.json"))
        members = {}
        for member in manifest["members"]:
            data = archive.read(member["name"] + _SUFFIXES[member["encoding"]])
            if member["encoding"].endswith("zstd"):
                data = zstandard.ZstdDecompressor().decompress(data, max_output_size=member["size"] or 1)
            if member["encoding"].startswith("shuffle4"):
                data = b"".join(_unshuffled(data[at : at + _BLOCK]) for at in range(0, len(data), _BLOCK))
            members[member["name"]] = data
    return TakenApart(manifest, members)


def put_together(capsule: TakenApart, out: Path) -> None:
    """Write a capsule with the sizes and digests that its members have; those that are not listed are added."""
    listed = {member["name"] for member in capsule.manifest["members"]}
    for name in capsule.members.keys() - listed:
        capsule.manifest["members"].append({"name": name, "encoding": "zstd"})
    kept = [member for member in capsule.manifest["members"] if member["name"] in capsule.members]
    for member in kept:
        data = capsule.members[member["name"]]
        member["size"], member["sha256"] = len(data), hashlib.sha256(data).hexdigest()
    capsule.manifest["members"] = kept
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("capsule.json", json.dumps(capsule.manifest), zipfile.ZIP_DEFLATED)
        for member in kept:
            archive.writestr(entry_of(member), encoded(capsule.members[member["name"]], member["encoding"]))


def entry_of(member: dict[str, Any]) -> str:
    """Return the name that a member has in the zip."""
    return f"{member['name']}{_SUFFIXES[member['encoding']]}"


def encoded(data: bytes, encoding: str) -> bytes:
    """Encode the bytes of a member."""
    if encoding.startswith("shuffle4"):
        data = b"".join(_shuffled(data[at : at + _BLOCK]) for at in range(0, len(data), _BLOCK))
    return zstandard.ZstdCompressor().compress(data) if encoding.endswith("zstd") else data


def _shuffled(block: bytes) -> bytes:
    whole = len(block) - len(block) % 4
    return b"".join(block[byte:whole:4] for byte in range(4)) + block[whole:]


def _unshuffled(block: bytes) -> bytes:
    whole = len(block) - len(block) % 4
    numbers = np.empty(whole, np.uint8)
    for byte in range(4):
        numbers[byte::4] = np.frombuffer(block, np.uint8)[byte * whole // 4 : (byte + 1) * whole // 4]
    return numbers.tobytes() + block[whole:]
