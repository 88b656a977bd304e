"""Damage to a capsule: to its bytes, to its zip, to capsule.json, and to members, with digests that fit again."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from harness.recording.metadata import content_digest
from tools.campaigns import damages
from tools.campaigns.base_capsules import TakenApart, encoded, entry_of, put_together, take_apart

Damage = Callable[[Path, Path, random.Random], None]  # of a capsule; the second is a file that nobody may touch
_BOMB = 3 << 30  # bytes that a small file claims to unpack to
_NAMES = (
    *("../evil", "data/../../evil", "/tmp/evil", "data//x", "data/./x", "./run.json", "snapshots/.writing/x.json"),
    *("windows/1-2.h5", ".recording.h5.journal", "solver.log", "report.html", "data/a\\b", "data/\n", "data/\x1b[31m"),
    *("data/" + "x" * 300, "data/" + "/".join("abcdefghijkl"), "data", "snapshots", "run.json/x", "", "..", "RUN.JSON"),
    *("snapshots/other.json", "data/é", "data/\ud800", "capsule.json", "data/0/data.mdb/x", "index.html/x"),
)


# -- the zip ---------------------------------------------------------------------------------------------------------


def _entries(path: Path) -> list[tuple[zipfile.ZipInfo, bytes]]:
    with zipfile.ZipFile(path) as archive:
        return [(entry, archive.read(entry)) for entry in archive.infolist()]


def _write(path: Path, entries: list[tuple[zipfile.ZipInfo, bytes]]) -> None:
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may be there twice
        for entry, data in entries:
            archive.writestr(entry, data)


def swap_two_members(path: Path, victim: Path, chance: random.Random) -> None:
    entries = _entries(path)
    a, b = chance.sample(range(1, len(entries)), 2)
    first, second = entries[a][1], entries[b][1]
    entries[a], entries[b] = (entries[a][0], second), (entries[b][0], first)
    _write(path, entries)


def remove_a_member(path: Path, victim: Path, chance: random.Random) -> None:
    entries = _entries(path)
    del entries[chance.randrange(len(entries))]
    _write(path, entries)


def repeat_a_member(path: Path, victim: Path, chance: random.Random) -> None:
    entries = _entries(path)
    entry, data = chance.choice(entries)
    _write(path, [*entries, (entry, chance.choice((data, b"other")))])


def shuffle_the_members(path: Path, victim: Path, chance: random.Random) -> None:
    entries = _entries(path)
    chance.shuffle(entries)
    _write(path, entries)


def add_an_entry(path: Path, victim: Path, chance: random.Random) -> None:
    """Add an entry that capsule.json does not list, mostly one whose name leads out of the directory."""
    names = ("../evil", "/tmp/evil", "data/../../evil", "snapshots/../../evil", "data/more", "more/", str(victim))
    _write(path, [*_entries(path), (zipfile.ZipInfo(chance.choice(names)), b"evil")])


def become_a_link(path: Path, victim: Path, chance: random.Random) -> None:
    """Make an entry a symbolic link, a directory or a device, as the attributes of a zip can say."""
    entries = _entries(path)
    number = chance.randrange(len(entries))
    entry, data = entries[number]
    entry.external_attr = chance.choice((0o120777, 0o040755, 0o010644, 0o020644)) << 16
    entries[number] = (entry, chance.choice((data, str(victim).encode())))
    _write(path, entries)


def change_the_directory(path: Path, victim: Path, chance: random.Random) -> None:
    """Change a number in the central directory or in a local header: sizes, offsets, methods, flags, lengths."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
        headers = [entry.header_offset for entry in archive.infolist()]
    begin = chance.choice([start + 46 * chance.randrange(4), chance.choice(headers), len(data) - 22])
    at = min(begin + chance.randrange(0, 44, 2), len(data) - 4)
    value = chance.choice((0, 1, 9, 12, 93, 99, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, chance.getrandbits(32)))
    if chance.random() < 0.5:
        struct.pack_into("<H", data, at, value & 0xFFFF)
    else:
        struct.pack_into("<I", data, at, value)
    path.write_bytes(data)


def put_something_before(path: Path, victim: Path, chance: random.Random) -> None:
    path.write_bytes(chance.choice((b"#!/bin/sh\necho evil\n", bytes(4096), b"PK\x03\x04")) + path.read_bytes())


ZIP: tuple[Damage, ...] = (
    *(swap_two_members, remove_a_member, repeat_a_member, shuffle_the_members, add_an_entry, become_a_link),
    *(change_the_directory, change_the_directory, change_the_directory, put_something_before),
)

# -- capsule.json ----------------------------------------------------------------------------------------------------


def _edit_manifest(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    entries = _entries(path)
    content = json.loads(entries[0][1])
    change(content)
    entries[0] = (entries[0][0], json.dumps(content).encode())
    _write(path, entries)


def change_the_contents(path: Path, victim: Path, chance: random.Random) -> None:
    """Change, drop or add a field of capsule.json, as a field of run.json may change."""
    entries = _entries(path)
    entries[0] = (entries[0][0], _damaged(entries[0][1], ".json", chance.choice(damages.JSON), victim, chance))
    _write(path, entries)


def change_a_member_entry(path: Path, victim: Path, chance: random.Random) -> None:
    """Change what capsule.json says of one member."""

    def change(content: dict[str, Any]) -> None:
        member = chance.choice(content["members"])
        changes: dict[str, tuple[Any, ...]] = {
            "size": (0, 1, member["size"] + 1, member["size"] - 1, 1 << 41, -1, _BOMB, "1", None, 1.5),
            "sha256": ("0" * 64, "", "x", member["sha256"].upper(), None, member["sha256"][:-1]),
            "encoding": ("stored", "deflate", "zstd", "shuffle4+zstd", "pickle", "", None),
            "name": (*_NAMES, None, 5, str(victim), chance.choice(content["members"])["name"]),
        }
        field = chance.choice(list(changes))
        member[field] = chance.choice([value for value in changes[field] if value != member[field]])

    _edit_manifest(path, change)


def say_another_version(path: Path, victim: Path, chance: random.Random) -> None:
    field, value = chance.choice(
        (
            *(("format_version", version) for version in (2, 0, -1, 10**30, "1", None, 1.5, [1])),
            *(("format", kind) for kind in ("caffe-harness recording", "", None, 1)),
        )
    )
    _edit_manifest(path, lambda content: content.update({field: value}))


def rename_a_member(path: Path, victim: Path, chance: random.Random) -> None:
    """Give a member another name, in capsule.json and in the zip, mostly one that leads out of the directory."""
    entries = _entries(path)
    content = json.loads(entries[0][1])
    number = chance.randrange(len(content["members"]))
    member = content["members"][number]
    old, member["name"] = entry_of(member), chance.choice((*_NAMES, str(victim)))
    kept = []
    for entry, data in entries[1:]:
        if entry.filename == old:
            entry = zipfile.ZipInfo(entry_of(member).encode(errors="replace").decode())
        kept.append((entry, data))
    _write(path, [(entries[0][0], json.dumps(content).encode()), *kept])


MANIFEST: tuple[Damage, ...] = (
    *(change_the_contents, change_the_contents, change_a_member_entry, change_a_member_entry, say_another_version),
    *(rename_a_member, rename_a_member),
)

# -- members, with digests that fit ------------------------------------------------------------------------------------


def _damaged(data: bytes, suffix: str, damage: damages.Damage, victim: Path, chance: random.Random) -> bytes:
    """Return `data` after a damage to a file that contains it; as it is where the file is none any more."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "a/b" / f"file{suffix}"
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        damage(file, victim, chance)
        return file.read_bytes()


def _redigested(name: str, data: bytes) -> bytes:
    """Return the JSON of a snapshot with the digest of its fields."""
    try:
        content = json.loads(data)
        content["digest"] = content_digest(content)
        return json.dumps(content).encode()
    except (ValueError, TypeError, RecursionError):
        return data


def change_a_json(path: Path, victim: Path, chance: random.Random) -> None:
    """Change a field of run.json or of the snapshot's JSON, with consistent digests."""
    capsule = take_apart(path)
    name = chance.choice([name for name in capsule.members if name.endswith(".json")])
    data = _damaged(capsule.members[name], ".json", chance.choice(damages.JSON), victim, chance)
    capsule.members[name] = _redigested(name, data) if name.startswith("snapshots/") else data
    put_together(capsule, path)


def change_the_recording(path: Path, victim: Path, chance: random.Random) -> None:
    capsule = take_apart(path)
    damage = chance.choice(damages.HDF5)
    capsule.members["recording.h5"] = _damaged(capsule.members["recording.h5"], ".h5", damage, victim, chance)
    put_together(capsule, path)


def change_the_bytes_of_a_member(path: Path, victim: Path, chance: random.Random) -> None:
    capsule = take_apart(path)
    name = chance.choice(list(capsule.members))
    damage = chance.choice((damages.flip_a_bit, damages.change_some_bytes, damages.truncate, damages.empty,
                            damages.zero_a_page, damages.extend))  # fmt: skip
    capsule.members[name] = _damaged(capsule.members[name], Path(name).suffix, damage, victim, chance)
    put_together(capsule, path)


def leave_out_a_member(path: Path, victim: Path, chance: random.Random) -> None:
    capsule = take_apart(path)
    del capsule.members[chance.choice(list(capsule.members))]
    put_together(capsule, path)


def add_a_member(path: Path, victim: Path, chance: random.Random) -> None:
    capsule = take_apart(path)
    capsule.members[chance.choice([name for name in _NAMES if name and "\ud800" not in name])] = b"evil"
    put_together(capsule, path)


def name_a_file_elsewhere(path: Path, victim: Path, chance: random.Random) -> None:
    """Have solver, net or run.json read, write or run something outside of the capsule."""
    capsule = take_apart(path)
    snapshot = next(name for name in capsule.members if name.startswith("snapshots/") and name.endswith(".json"))
    where = chance.choice((str(victim), str(victim.parent), "../victim/recording.h5", "data/0/../../../x", "data/1"))
    text = json.dumps(where)
    layers = (
        f'layer {{ name: "out" type: "HDF5Output" hdf5_output_param {{ file_name: {text} }} bottom: "data" }}',
        f'layer {{ name: "py" type: "Python" top: "x" python_param {{ module: "os" layer: {text} }} }}',
        f'layer {{ name: "d" type: "Data" top: "x" data_param {{ source: {text} backend: LMDB batch_size: 1 }} }}',
        f'layer {{ name: "i" type: "ImageData" top: "x" image_data_param {{ source: {text} root_folder: "/" }} }}',
        f'layer {{ name: "h" type: "HDF5Data" top: "x" hdf5_data_param {{ source: {text} batch_size: 1 }} }}',
        f'layer {{ name: "w" type: "WindowData" top: "x" window_data_param {{ source: {text} root_folder: "/" }} }}',
        f'layer {{ name: "g" type: "InfogainLoss" bottom: "x" infogain_loss_param {{ source: {text} }} }}',
        f'layer {{ name: "m" type: "Dummy" transform_param {{ mean_file: {text} }} }}',
        f'layers {{ name: "o" type: DATA top: "x" data_param {{ source: {text} }} }}',
    )
    fields = (f"snapshot_prefix: {text}", f"weights: {text}", f"net: {text}", f"train_net: {text}", f"test_net: {text}",
              f"net_param {{ {chance.choice(layers)} }}", f"test_net_param {{ {chance.choice(layers)} }}")  # fmt: skip
    name = chance.choice(("run.json", snapshot))
    content = json.loads(capsule.members[name])
    kind = chance.choice(("net", "net", "net", "solver", "solver", "path", "source"))
    if kind == "net":
        content["net"] += chance.choice(layers)
    elif kind == "solver":
        content["solver"] = re.sub("snapshot_prefix.*", "", content["solver"]) + chance.choice(fields)
    elif kind == "source":
        content["net"] = content["net"].replace('"data/0"', text)
        for place in content["point"]["places"]:
            place["source"] = where
        content["data"] = {where: next(iter(content["data"].values()))}
    else:
        name, content = "run.json", json.loads(capsule.members["run.json"])
        content |= chance.choice(
            (
                *({"goes_on_from": where}, {"resume": where}, {"weights": [where]}),
                {"parent": {"run": where, "iteration": content["first"]}},
            )
        )
    data = json.dumps(content).encode()
    capsule.members[name] = _redigested(name, data) if name == snapshot else data
    put_together(capsule, path)


MEMBERS: tuple[Damage, ...] = (
    *(change_a_json, change_a_json, change_a_json, change_the_recording, change_the_recording),
    *(change_the_bytes_of_a_member, change_the_bytes_of_a_member, leave_out_a_member, add_a_member),
    *(name_a_file_elsewhere, name_a_file_elsewhere, name_a_file_elsewhere),
)

# -- bombs -------------------------------------------------------------------------------------------------------------


def _with_data(capsule: TakenApart, data: bytes, encoding: str, size: int, path: Path, method: int) -> None:
    """Write a capsule with one more member, whose stored bytes are `data`."""
    member = {"name": "data/0/bomb", "encoding": encoding, "size": size, "sha256": "0" * 64}
    put_together(capsule, path)
    entries = _entries(path)
    capsule.manifest["members"].append(member)
    extra = zipfile.ZipInfo(entry_of(member))
    extra.compress_type = method
    _write(path, [(entries[0][0], json.dumps(capsule.manifest).encode()), *entries[1:], (extra, data)])


def _zeros(size: int, level: int = 19, *, with_size: bool = True) -> bytes:
    target = io.BytesIO()
    compressor = zstandard.ZstdCompressor(level=level, write_content_size=with_size)
    with compressor.stream_writer(target, size=size if with_size else -1, closefd=False) as writer:
        for _ in range(size >> 20):
            writer.write(bytes(1 << 20))
    return target.getvalue()


def unpack_to_too_much(path: Path, victim: Path, chance: random.Random) -> None:
    """Add a member that is small in the zip, and large once it is unpacked, whether it says so or not."""
    capsule = take_apart(path)
    size = chance.choice((64 << 20, 256 << 20))
    honest = chance.random() < 0.3
    match chance.randrange(4):
        case 0:  # the frame says how much
            _with_data(capsule, _zeros(size), "zstd", size if honest else 1000, path, zipfile.ZIP_STORED)
        case 1:  # it does not
            _with_data(capsule, _zeros(size, with_size=False), "zstd", 1000, path, zipfile.ZIP_STORED)
        case 2:  # zip's own compression
            _with_data(capsule, bytes(size), "deflate", 1000, path, zipfile.ZIP_DEFLATED)
        case _:  # both
            _with_data(capsule, _zeros(size, 1), "zstd", 1000, path, zipfile.ZIP_DEFLATED)


def claim_too_much(path: Path, victim: Path, chance: random.Random) -> None:
    """Have a frame or capsule.json claim sizes that no disk has."""
    capsule = take_apart(path)
    frame = bytearray(encoded(b"x" * 300, "zstd"))
    head = b"\x28\xb5\x2f\xfd" + chance.choice((b"\xe0" + struct.pack("<Q", 1 << 62), b"\x00\xf8", b"\x00\xff"))
    size = chance.choice((300, 1 << 40, _BOMB, 1 << 62))
    _with_data(
        capsule, chance.choice((head + bytes(frame[6:]), head, bytes(frame))), "zstd", size, path, zipfile.ZIP_STORED
    )


def have_a_large_manifest(path: Path, victim: Path, chance: random.Random) -> None:
    entries = _entries(path)
    entries[0][0].compress_type = zipfile.ZIP_DEFLATED
    padding = b" " * chance.choice((70 << 20, 200 << 20))
    _write(path, [(entries[0][0], entries[0][1] + padding), *entries[1:]])


BOMBS: tuple[Damage, ...] = (unpack_to_too_much, claim_too_much, claim_too_much, have_a_large_manifest)

BYTES: tuple[Damage, ...] = (
    *(damages.flip_a_bit, damages.flip_a_bit, damages.flip_a_bit, damages.change_some_bytes, damages.truncate),
    *(damages.truncate, damages.empty, damages.zero_a_page, damages.extend, damages.become_a_directory),
    *(damages.become_a_pipe, damages.forbid_reading),
)
