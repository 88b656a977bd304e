"""The files of a capsule's run directory: parts of data sets, and a snapshot without paths."""

from __future__ import annotations

from pathlib import Path

import h5py
import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

from harness.caffe_files.history_digest import digest_history
from harness.caffe_files.messages import pb
from harness.caffe_files.stripped import copy_caffemodel, copy_state
from harness.capsules.packing.minimal_run import without_files_written
from harness.capsules.packing.subsets import Images, write_lmdb, write_rows
from harness.errors import BadInput
from harness.schemas.capsule import Member


def test_a_caffemodel_keeps_names_types_and_weights_alone(tmp_path: Path) -> None:
    net = pb.NetParameter(name="net", state=pb.NetState(stage=["secret"]))
    data = net.layer.add(name="data", type="Data", top=["data"])
    data.data_param.source = "/home/secret"
    net.layer.add(name="ip", type="InnerProduct", blobs=[pb.BlobProto(shape=pb.BlobShape(dim=[3]), data=[1, 2, 3])])
    (tmp_path / "a").write_bytes(net.SerializeToString())
    copy_caffemodel(tmp_path / "a", tmp_path / "b")
    copy = pb.NetParameter.FromString((tmp_path / "b").read_bytes())
    assert [(layer.name, layer.type) for layer in copy.layer] == [("data", "Data"), ("ip", "InnerProduct")]
    assert copy.layer[1].blobs == net.layer[1].blobs
    assert b"secret" not in (tmp_path / "b").read_bytes()


def test_a_solverstate_keeps_its_history(tmp_path: Path) -> None:
    blob = pb.BlobProto(shape=pb.BlobShape(dim=[2]), data=[0.5, -1])
    state = pb.SolverState(iter=7, current_step=2, learned_net="/home/secret/x.caffemodel", history=[blob, blob])
    (tmp_path / "a").write_bytes(state.SerializeToString())
    copy_state(tmp_path / "a", "y.caffemodel", tmp_path / "b")
    copy = pb.SolverState.FromString((tmp_path / "b").read_bytes())
    assert (copy.iter, copy.current_step, copy.learned_net) == (7, 2, "y.caffemodel")
    assert digest_history(tmp_path / "a") == digest_history(tmp_path / "b")
    assert b"secret" not in (tmp_path / "b").read_bytes()


def test_a_solverstate_in_hdf5_keeps_its_history(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["iter"], file["current_step"] = [7], [2]
        file["learned_net"] = np.array(b"/home/secret/x.caffemodel.h5")
        file["history/0"] = np.array([0.5, -1], np.float32)
    copy_state(tmp_path / "a.h5", "y.caffemodel.h5", tmp_path / "b.h5")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["learned_net"][()] == b"y.caffemodel.h5"
    assert digest_history(tmp_path / "a.h5") == digest_history(tmp_path / "b.h5")
    assert b"secret" not in (tmp_path / "b.h5").read_bytes()


def test_an_lmdb_of_some_records(tmp_path: Path) -> None:
    values = {b"%03d" % number: bytes([number]) * (10 ** (number % 5)) for number in range(60)}
    with lmdb.open(str(tmp_path / "all"), map_size=1 << 24) as data, data.begin(write=True) as writing:
        for key, value in values.items():
            writing.put(key, value)
    keys = sorted(values)[7:40:3]
    write_lmdb(tmp_path / "all", keys, tmp_path / "some")
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["data.mdb"]
    with lmdb.open(str(tmp_path / "some"), readonly=True) as data, data.begin() as reading:
        assert list(reading.cursor()) == [(key, values[key]) for key in keys]
    write_lmdb(tmp_path / "all", sorted(values), tmp_path / "whole")
    with lmdb.open(str(tmp_path / "whole"), readonly=True) as data:
        assert data.stat()["entries"] == len(values)
    with pytest.raises(BadInput, match="no such record any more"):
        write_lmdb(tmp_path / "all", [b"999"], tmp_path / "none")


def test_images_are_copied_once_and_only_below_their_directory(tmp_path: Path) -> None:
    (tmp_path / "all/deep").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    for name in ("a b.jpg", "deep/c.png", "d.jpg"):
        (tmp_path / "all" / name).write_text(name)
    images = Images(f"{tmp_path}/all/", tmp_path / "out")
    assert [images.copy(name) for name in (b"a b.jpg", b"deep/c.png", b"a b.jpg")] == [
        b"a b.jpg",
        b"deep/c.png",
        b"a b.jpg",
    ]
    renamed = images.copy(b"../all/d.jpg").decode()
    assert renamed == "renamed/2.jpg"
    assert (tmp_path / "out" / renamed).read_text() == "d.jpg"


@pytest.mark.parametrize("name", ["a/b/c/d/e/f/g.png", "deep/lock.mdb", "a\\b.png"])
def test_an_image_gets_a_name_that_a_capsule_can_have(tmp_path: Path, name: str) -> None:
    (tmp_path / "all" / name).parent.mkdir(parents=True)
    (tmp_path / "all" / name).write_text(name)
    out = tmp_path / "data/0/images"
    out.mkdir(parents=True)
    images = Images(f"{tmp_path}/all/", out)
    copied = out / images.copy(name.encode()).decode()
    assert copied.read_text() == name
    Member(str(copied.relative_to(tmp_path)), "zstd", 1, "0" * 64)  # raises ValueError for a name of another kind


def test_rows_of_files_of_other_types_are_what_caffe_reads(tmp_path: Path) -> None:
    values = [np.arange(6).reshape(3, 2), np.arange(6, 14).reshape(4, 2) / 3]
    for number, kind in enumerate(("i8", "f8")):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["data"] = values[number].astype(kind)
    file, row = np.array([1, 0, 1], np.int32), np.array([3, 2, 0], np.int32)
    names = [str(tmp_path / f"{number}.h5") for number in (0, 1)]
    write_rows(names, ["data"], file, row, tmp_path / "rows.h5")
    with h5py.File(tmp_path / "rows.h5") as written:
        expected = [values[1][3], values[0][2], values[1][0]]
        assert np.array_equal(written["data"][:], np.array(expected, np.float32))


def test_a_net_writes_no_files_and_names_none_that_it_does_not_read() -> None:
    net = text_format.Parse(
        """
        layer { name: "data" type: "Data" top: "data" data_param { source: "lmdb" mean_file: "old" }
          hdf5_data_param { source: "elsewhere" } transform_param { mean_file: "mean" } }
        layer { name: "relu" type: "ReLU" bottom: "data" top: "data" transform_param { mean_file: "mean" } }
        layer { name: "out" type: "HDF5Output" bottom: "data" bottom: "data" hdf5_output_param { file_name: "out.h5" } }
        """,
        pb.NetParameter(),
    )
    data, relu, out = without_files_written(net).layer
    assert (data.data_param.source, data.transform_param.mean_file) == ("lmdb", "mean")
    assert not data.data_param.mean_file
    assert not data.HasField("hdf5_data_param")
    assert not relu.transform_param.mean_file
    assert (out.type, list(out.bottom), out.HasField("hdf5_output_param")) == ("Silence", ["data", "data"], False)
