"""The encodings of capsules, and what is refused before anything is unpacked."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harness.caffe_files.messages import parse_text, pb
from harness.capsules.file.archive import open_capsule
from harness.capsules.file.encodings import BLOCK, BadData, decode, encode
from harness.capsules.file.named_files import paths_in, python_layers
from harness.errors import BadInput
from harness.schemas.capsule import Encoding

NAMES = ("run.json", "recording.h5", "snapshots/a.json", "data/0/data.mdb")


def write(path: Path, entries: dict[str, bytes], manifest: dict[str, Any] | None = None) -> Path:
    """Write a zip that begins with capsule.json."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("capsule.json", json.dumps(manifest or contents(entries)))
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def contents(entries: dict[str, bytes], **fields: object) -> dict[str, Any]:
    """A capsule.json that lists `entries` as they are stored."""
    members = [
        {"name": name, "encoding": "stored", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in entries.items()
    ]
    return {
        "format": "caffe-harness capsule", "format_version": 1, "title": "made up", "harness": "0.3.0", "first": 5,
        "until": 9, "parameters": 1, "members": members,
    } | fields  # fmt: skip


MINIMAL = {name: name.encode() for name in NAMES}


@given(st.binary(max_size=70), st.sampled_from(["stored", "zstd", "shuffle4+zstd"]))
def test_what_was_encoded_is_decoded(data: bytes, encoding: Encoding) -> None:
    stored = io.BytesIO()
    encode(io.BytesIO(data), stored, encoding, len(data))
    stored.seek(0)
    assert b"".join(decode(stored, encoding, len(data))) == data


def test_bytes_of_numbers_are_shuffled_block_by_block() -> None:
    data = np.arange(BLOCK // 4 + 3, dtype="<f4").tobytes() + b"xy"
    stored = io.BytesIO()
    encode(io.BytesIO(data), stored, "shuffle4+zstd", len(data))
    blocks = [data[:BLOCK], data[BLOCK:]]
    shuffled = b"".join(
        b"".join(block[byte : len(block) // 4 * 4 : 4] for byte in range(4)) + block[len(block) // 4 * 4 :]
        for block in blocks
    )
    assert zstandard.ZstdDecompressor().decompress(stored.getvalue()) == shuffled
    stored.seek(0)
    assert b"".join(decode(stored, "shuffle4+zstd", len(data))) == data


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (zstandard.ZstdCompressor().compress(b"x" * 101), "holds a zstd frame of 101 bytes"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 24)), "unpacks to more than the 100"),
        (zstandard.ZstdCompressor().compress(b"x" * 100)[:-4], "unpacks to 0 bytes"),
        (zstandard.ZstdCompressor().compress(b"x" * 100) + b"more", "is no zstd frame"),
        (b"no frame", "is no zstd frame"),
        (b"", "is no zstd frame"),
    ],
    ids=["more", "more than it says", "cut", "something behind", "no frame", "empty"],
)
def test_a_frame_that_is_not_what_it_should_be(stored: bytes, said: str) -> None:
    with pytest.raises(BadData, match=said):
        list(decode(io.BytesIO(stored), "zstd", 100))


def test_a_capsule_is_read(tmp_path: Path) -> None:
    with open_capsule(write(tmp_path / "x.capsule", MINIMAL)) as archive:
        archive.verify()
        assert [archive.read(member).decode() for member in archive.manifest.members] == list(NAMES)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil", "no member of a capsule can be called"),
        ("/tmp/evil", "no member of a capsule can be called"),
        ("data/../../evil", "no member of a capsule can be called"),
        ("data/a\\..\\b", "no member of a capsule can be called"),
        ("snapshots/.writing/x.json", "no member of a capsule can be called"),
        ("windows/1-2.h5", "no member of a capsule can be called"),
        ("data/0/lock.mdb", "no member of a capsule can be called"),
        ("data/0/data.mdb/x", "lists data/0/data.mdb as a file and as a directory"),
        ("snapshots/b.json", "lists 2 snapshots"),
    ],
)
def test_a_member_of_another_place_is_refused(tmp_path: Path, name: str, said: str) -> None:
    path = write(tmp_path / "x.capsule", MINIMAL | {name: b"evil"})
    with pytest.raises(BadInput, match=r"capsule\.json: damaged") as raised, open_capsule(path):
        pass
    assert said in str(raised.value)


def listed_twice() -> dict[str, Any]:
    manifest = contents(MINIMAL)
    return manifest | {"members": [*manifest["members"], manifest["members"][0]]}


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (contents(MINIMAL, format_version=2), "format_version = 2: written by a newer caffe-harness"),
        (contents(MINIMAL, format="caffe-harness recording"), "it is not that of a capsule"),
        (contents(MINIMAL, until=5), "until 5 is not after first 5"),
        (contents(MINIMAL, first=-1), r"damaged \(Expected `int` >= 0"),
        (contents(MINIMAL | {"explain.json": b""}), "explain.json: damaged: capsule.json lists it, and it is not in"),
        (
            contents({n: MINIMAL[n] for n in NAMES[:3]}),
            "data.mdb: refused: it is in the zip, and capsule",
        ),
        (contents({n: MINIMAL[n] for n in NAMES[1:]}), "it lists no run.json"),
        (contents(MINIMAL | {"run.json": b"other!"}), "run.json: size = 6: damaged: the zip gives 8 bytes"),
        (listed_twice(), "it lists run.json twice"),
        ({"members": []}, "it is not that of a capsule"),
    ],
)
def test_contents_that_do_not_fit_are_refused(tmp_path: Path, manifest: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "x.capsule", MINIMAL, manifest)
    with pytest.raises(BadInput, match=said), open_capsule(path):
        pass


def test_more_than_a_file_of_that_size_can_hold_is_refused(tmp_path: Path) -> None:
    manifest = contents(MINIMAL)
    manifest["members"][3] |= {"encoding": "zstd", "size": 1 << 31}
    path = write(tmp_path / "x.capsule", {**{n: MINIMAL[n] for n in NAMES[:3]}, "data/0/data.mdb.zst": b"x"}, manifest)
    said = "refused: it would unpack to 2,048 MiB, and a file of its size to 1,024"
    with pytest.raises(BadInput, match=said), open_capsule(path):
        pass


def test_entries_that_are_no_files_are_refused(tmp_path: Path) -> None:
    for kind, said in ((0o120777, "a link"), (0o040755, "a link, a directory"), (0o010644, "a link")):
        path = tmp_path / "x.capsule"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("capsule.json", json.dumps(contents(MINIMAL)))
            for name, data in MINIMAL.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = kind << 16 if name == "run.json" else 0
                archive.writestr(entry, data)
        with pytest.raises(BadInput, match=f"run.json: refused: {said}"), open_capsule(path):
            pass


def test_a_zip_of_something_else_and_no_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "text").write_text("hello")
    capsule = write(tmp_path / "x.capsule", MINIMAL)
    (tmp_path / "prefixed").write_bytes(b"#!/bin/sh\n" + capsule.read_bytes())
    for name, said in (
        ("a.zip", "a zip, but not a capsule"),
        ("prefixed", "a zip, but not a capsule: it does not begin with capsule.json"),
        ("text", "not a capsule, or damaged"),
        ("nothing", "no such file"),
        (".", "not a file"),
    ):
        with pytest.raises(BadInput, match=said), open_capsule(tmp_path / name):
            pass


def test_everything_that_a_prototxt_names_is_found() -> None:
    text = """
    net: "a" test_net: "b" weights: "c" snapshot_prefix: "d"
    net_param { layer { name: "out" type: "HDF5Output" hdf5_output_param { file_name: "e" } }
      layer { name: "images" type: "ImageData" image_data_param { source: "f" root_folder: "g" } }
      layers { name: "old" type: DATA data_param { source: "h" mean_file: "i" } layer { meanfile: "j" } } }
    train_net_param { layer { name: "mean" type: "Data" transform_param { mean_file: "k" }
      data_param { source: "l" } } }
    test_net_param { layer { name: "x" infogain_loss_param { source: "m" } window_data_param { source: "n" }
      hdf5_data_param { source: "o" } memory_data_param { batch_size: 1 } } }
    """
    solver = parse_text(text, pb.SolverParameter, Path("solver"))
    found = list(paths_in(solver, "solver"))
    assert sorted(named.value for named in found) == list("abcdefghijklmno")
    assert {named.where for named in found if named.value in "ek"} == {"solver: layer out", "solver: layer mean"}


def test_python_layers_are_found_wherever_they_are() -> None:
    python = 'layer { name: "p" type: "Python" python_param { module: "os" layer: "system" param_str: "rm" } }'
    for text in (f"net_param {{ {python} }}", f"test_net_param {{ {python} }}", f"train_net_param {{ {python} }}"):
        (layer,) = python_layers(parse_text(text, pb.SolverParameter, Path("solver")))
        assert str(layer) == "layer p runs system of the Python module os with param_str 'rm'"
    (hidden,) = python_layers(parse_text(python.replace("Python", "ReLU", 1), pb.NetParameter, Path("net")))
    assert hidden.module == "os"
