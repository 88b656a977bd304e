"""Damage to the files of a run directory: to their bytes, to the fields of JSON, and to the objects of HDF5."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Damage = Callable[[Path, Path, random.Random], None]  # of a file; the second is a file outside the run directory
_PAGE = 4096


# -- bytes -----------------------------------------------------------------------------------------------------------


def flip_a_bit(path: Path, victim: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes() or b"\0")
    blocks = [at for at in range(0, len(data), 64) if any(data[at : at + 64])] or [0]  # half of a recording is reserved
    data[min(chance.choice(blocks) + chance.randrange(64), len(data) - 1)] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def change_some_bytes(path: Path, victim: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data) + 1)
    data[at : at + chance.randint(0, 8)] = chance.randbytes(chance.randint(0, 8))
    path.write_bytes(data)


def truncate(path: Path, victim: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size + 1))


def empty(path: Path, victim: Path, chance: random.Random) -> None:
    os.truncate(path, 0)


def zero_a_page(path: Path, victim: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(chance.randrange(1 + path.stat().st_size // _PAGE) * _PAGE)
        file.write(bytes(min(_PAGE, path.stat().st_size - file.tell())))


def extend(path: Path, victim: Path, chance: random.Random) -> None:
    with path.open("ab") as file:
        file.write(chance.choice((bytes(_PAGE), chance.randbytes(_PAGE), b"\n{}\n", b"\xff\xfe")))


def grow_enormous(path: Path, victim: Path, chance: random.Random) -> None:
    os.truncate(path, 1 << 22 if path.suffix == ".log" else 1 << 36)  # logs are read whole, however long they are


def remove(path: Path, victim: Path, chance: random.Random) -> None:
    path.unlink()


def swap_with_another(path: Path, victim: Path, chance: random.Random) -> None:
    others = [other for other in path.parents[1].rglob("*") if other.is_file() and other != path]
    shutil.copy(chance.choice(sorted(others)), path)


def become_a_directory(path: Path, victim: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path, victim: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_link(path: Path, victim: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(chance.choice((victim, victim.parent, path, Path("/nowhere"), Path("/dev/null"))))


def forbid_reading(path: Path, victim: Path, chance: random.Random) -> None:
    path.chmod(0)


BYTES: tuple[Damage, ...] = (
    *(flip_a_bit, flip_a_bit, flip_a_bit, change_some_bytes, truncate, truncate, empty, zero_a_page, extend),
    *(grow_enormous, remove, swap_with_another, become_a_directory, become_a_pipe, become_a_link, forbid_reading),
)

# -- JSON ------------------------------------------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, "", 0, -1, 1, 5, 0.5, 1e308, float("nan"), float("inf"), 10**30, -(2**63), 2**31),
    *(
        "../../x",
        "/etc/passwd",
        "..",
        "a/b",
        "\0",
        "\ud800",
        "x" * 100_000,
        "[/red]\x1b[31m",
        "<script>alert(1)</script>",
    ),
    *(
        [[]],
        [0],
        ["x"],
        [None],
        {"x": 1},
        'layer { name: "x"',
        "a: 1",
        "base_lr: -1",
        "net: 'x' type: 'Nix' max_iter: -5",
    ),
)


def change_a_field(path: Path, victim: Path, chance: random.Random) -> None:
    content = json.loads(path.read_text())
    holder, key = chance.choice(list(_places(content)))
    holder[key] = chance.choice(_VALUES)
    path.write_text(json.dumps(content))


def drop_a_field(path: Path, victim: Path, chance: random.Random) -> None:
    content = json.loads(path.read_text())
    holder, key = chance.choice(list(_places(content)))
    del holder[key]
    path.write_text(json.dumps(content))


def add_a_field(path: Path, victim: Path, chance: random.Random) -> None:
    content = json.loads(path.read_text())
    content["more"] = chance.choice(_VALUES)
    path.write_text(json.dumps(content))


def change_a_text(path: Path, victim: Path, chance: random.Random) -> None:
    """Change a few characters of a text, mostly of a prototxt."""
    content = json.loads(path.read_text())
    texts = [(holder, key) for holder, key in _places(content) if isinstance(holder[key], str) and holder[key]]
    holder, key = max(chance.sample(texts, 3), key=lambda place: len(place[0][place[1]]))
    text = holder[key]
    at = chance.randrange(len(text))
    holder[key] = (
        text[:at] + chance.choice(("", "0", "-", "{", "}", '"', "\n", "x", "é")) + text[at + chance.randint(0, 3) :]
    )
    path.write_text(json.dumps(content))


def nest_deeply(path: Path, victim: Path, chance: random.Random) -> None:
    path.write_text(path.read_text().rstrip().removesuffix("}") + ', "deep": ' + "[" * 50_000 + "]" * 50_000 + "}")


def say_a_newer_version(path: Path, victim: Path, chance: random.Random) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))


JSON: tuple[Damage, ...] = (
    *(change_a_field, change_a_field, change_a_field, change_a_field, drop_a_field, drop_a_field),
    *(add_a_field, change_a_text, change_a_text, nest_deeply, say_a_newer_version),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List every field and item of JSON, as its holder and its key there."""
    keys: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


# -- HDF5 ------------------------------------------------------------------------------------------------------------


def _edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+", libver="latest") as file:
        change(file)


def _objects(file: h5py.File, kind: type[Any] = object) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, node: names.append(name) if isinstance(node, kind) else None)
    return sorted(names)


def delete_an_object(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        del file[chance.choice(_objects(file))]

    _edit(path, change)


def rename_an_object(path: Path, victim: Path, chance: random.Random) -> None:
    _edit(path, lambda file: file.move(chance.choice(_objects(file)), "renamed"))


def retype_a_dataset(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        name = chance.choice(_objects(file, h5py.Dataset))
        kept, kind = dict(file[name].attrs), chance.choice(("<f4", "<i8", "S4", "<c16", "<u1"))
        shape = chance.choice((file[name].shape, (), (1,), (3, 3), (0,)))
        del file[name]
        made = file.create_dataset(name, shape, kind, maxshape=(None,) * len(shape) if shape else None)
        made.attrs["name"] = kept.get("name", "x")

    _edit(path, change)


def resize_a_dataset(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        growing = [name for name in _objects(file, h5py.Dataset) if file[name].maxshape[:1] == (None,)]
        file[chance.choice(growing)].resize(chance.choice((0, 1, 7, 500, 10**6, 1 << 50)), axis=0)

    _edit(path, change)


def change_numbers(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        names = [name for name in _objects(file, h5py.Dataset) if file[name].dtype.kind in "iuf" and file[name].size]
        dataset = file[chance.choice(names)]
        row = chance.randrange(len(dataset))
        dataset[row] = np.full(dataset.shape[1:], chance.choice((1, 77)), dataset.dtype)

    _edit(path, change)


def link_elsewhere(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        name = chance.choice(_objects(file))
        del file[name]
        file[name] = chance.choice(
            (h5py.ExternalLink(str(victim), "/loss"), h5py.SoftLink("/lr"), h5py.SoftLink("/no"))
        )

    _edit(path, change)


def link_in_a_circle(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        file[f"{chance.choice(_objects(file, h5py.Group))}/again"] = file[chance.choice(("/", "stat", "loss"))]

    _edit(path, change)


def change_an_attribute(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        names = [name for name in file.attrs if name != "checksum"]
        values = (
            5,
            -1,
            "x",
            "",
            "[",
            "null",
            "{}",
            np.arange(3),
            np.float64("nan"),
            np.bytes_(b"\xff"),
            h5py.Empty("f"),
        )
        file.attrs[chance.choice(names)] = chance.choice(values)

    _edit(path, change)


def delete_an_attribute(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        del file.attrs[chance.choice([name for name in file.attrs if name != "checksum"])]

    _edit(path, change)


def change_a_name(path: Path, victim: Path, chance: random.Random) -> None:
    def change(file: h5py.File) -> None:
        named = [name for name in _objects(file, h5py.Dataset) if "name" in file[name].attrs]
        file[chance.choice(named)].attrs["name"] = chance.choice(("other", "", 5, np.arange(2)))

    _edit(path, change)


def be_left_open(path: Path, victim: Path, chance: random.Random) -> None:
    """Mark the recording as open for writing, as a killed writer leaves it, and cut one dataset short."""
    part = path.with_name("part")
    with h5py.File(path, "r+", libver="latest") as file:
        file.swmr_mode = True
        file.flush()
        shutil.copy(path, part)
    part.replace(path)


def forge(path: Path, victim: Path, chance: random.Random) -> None:
    """Change a recording, and remove its checksums, as in one of before 0.3.0."""
    changes = (change_numbers, change_an_attribute, delete_an_attribute, change_a_name, retype_a_dataset)
    for _ in range(chance.randint(1, 4)):
        chance.choice(changes)(path, victim, chance)

    def drop_checksums(file: h5py.File) -> None:
        nodes = [file, *(file[name] for name in _objects(file))]
        for node in nodes:
            for name in {"checksum", "checksum_column"} & set(node.attrs):
                del node.attrs[name]

    _edit(path, drop_checksums)


HDF5: tuple[Damage, ...] = (
    *(delete_an_object, rename_an_object, retype_a_dataset, resize_a_dataset, change_numbers, change_numbers),
    *(link_elsewhere, link_in_a_circle, change_an_attribute, delete_an_attribute, change_a_name, be_left_open),
    *(forge, forge),
)
