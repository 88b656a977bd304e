"""Bad input is found before anything is started: exit code 2, no run directory, one error with place and remedy.

`main` runs in this process (the supervisor never loads Caffe), with real files; where the point is that the
process must survive something, it is started as a user starts it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest

from harness.caffe_files import messages
from harness.caffe_files.messages import pb
from harness.run import main
from tests.helpers.bad_input import Case
from tests.helpers.commands import RUN, caffe_train, train
from tests.helpers.lmdbs import CLASSES, digits, write_lmdb
from tests.helpers.mounts import run_with_mounts
from tests.helpers.nets import small_net, solver_text
from tests.helpers.processes import Finished, started, wait_for

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture
def case(small: Path, digit_data: Path, capfd: pytest.CaptureFixture[str]) -> Case:
    return Case(small, digit_data, capfd)


# -- files and their text ---------------------------------------------------------------------------------------------


def test_no_such_solver(case: Case) -> None:
    missing = case.home / "missing.prototxt"
    case.refused(str(missing), "cannot read the solver", str(Path.cwd()), solver=missing)


def test_a_directory_as_solver(case: Case) -> None:
    case.refused(str(case.home), "a directory", "Name the file", solver=case.home)


def test_a_named_pipe_as_solver(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_PATIENCE", 0.1)
    pipe = case.home / "pipe"
    os.mkfifo(pipe)
    case.refused(str(pipe), "nothing was written", solver=pipe)
    with ThreadPoolExecutor() as pool:  # as in the shell: --solver <(sed … solver.prototxt)
        pool.submit(pipe.write_text, case.solver.read_text())
        monkeypatch.setattr(messages, "_PATIENCE", 30.0)
        assert case.run("--until", 3, solver=pipe)[0] == 0


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\x89PNG\r\n\x1a\n\x00", os.urandom(5000)])
def test_a_binary_as_solver(case: Case, content: bytes) -> None:
    case.solver.write_bytes(content)
    case.refused(str(case.solver), "not a text file", "solver prototxt")


def test_a_caffemodel_as_solver(case: Case, trained: Path) -> None:
    case.refused(
        "native_iter_5.caffemodel",
        "a caffemodel",
        "It belongs to --weights",
        solver=trained / "native_iter_5.caffemodel",
    )


def test_an_empty_solver(case: Case) -> None:
    case.solver.write_text("")
    case.refused(str(case.solver), "lr_policy", "not given")


def test_a_solver_that_is_a_net(case: Case) -> None:
    case.refused(str(case.net), "a net prototxt, not a solver", f"in its field `net`: {case.solver}", solver=case.net)


def test_an_unreadable_solver(case: Case) -> None:
    # root may read everything; a file that is gone once it is opened may nobody
    case.refused("cannot read the solver", solver=Path("/proc/self/mem/solver"))


@pytest.mark.parametrize("name", ["net.prototxt", "solver.prototxt"])
def test_a_syntax_error_is_located(case: Case, name: str) -> None:
    path = case.home / name
    text = path.read_text()
    path.write_text(text.replace("\n", "\n  }}} oops\n", 1))
    case.refused(f"{path}:2:3", "Correct the prototxt there")


@pytest.mark.parametrize(
    ("name", "old", "new", "near"),
    [
        ("solver.prototxt", "momentum:", "momentun:", "momentum"),
        ("solver.prototxt", "max_iter:", "max_iters:", "max_iter"),
        ("net.prototxt", "num_output:", "num_outputs:", "num_output"),
        ("net.prototxt", "convolution_param", "convolution_parameters", "convolution_param"),
    ],
)
def test_an_unknown_field_suggests_the_nearest_name(case: Case, name: str, old: str, new: str, near: str) -> None:
    case.edit(case.home / name, old, new)
    said = case.refused(str(case.home / name), new.rstrip(":"), "has no field of that name", f"Did you mean {near}")
    assert re.search(rf"{re.escape(name)}:\d+:\d+", said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_iter: 60", "max_iter: many", "many"),
        ("solver_mode: CPU", "solver_mode: TPU", "TPU"),
        ("momentum: 0.9", "momentum: 0.9 momentum: 0.8", "momentum"),
        ("momentum: 0.9", "momentum: '0.9'", "momentum"),
    ],
)
def test_a_value_of_the_wrong_type(case: Case, old: str, new: str, said: str) -> None:
    case.edit(case.solver, old, new)
    case.refused(str(case.solver), said)


def test_no_such_net(case: Case) -> None:
    case.net.unlink()
    case.refused(str(case.net), str(case.solver), "`net`", str(Path.cwd()), "not from the solver's")


def test_a_net_path_is_relative_to_the_current_directory(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.edit(case.solver, str(case.net), "net.prototxt")
    (case.home / "elsewhere").mkdir()
    monkeypatch.chdir(case.home / "elsewhere")
    case.refused("net.prototxt", str(case.home / "elsewhere"))
    monkeypatch.chdir(case.home)
    case.works()


def test_a_device_in_place_of_a_net(case: Case) -> None:
    case.edit(case.solver, str(case.net), "/dev/zero")
    case.refused("/dev/zero", "not a text file")


def test_a_net_that_is_a_directory(case: Case) -> None:
    case.net.unlink()
    case.net.mkdir()
    case.refused(str(case.net), "a directory")


def test_an_empty_net(case: Case) -> None:
    case.net.write_text("")
    case.refused(str(case.net), "no layer")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"# caf\xe9: a comment in Latin-1, \xca\xd6 in GBK\n" + text,
        lambda text: b"# caf\xc3\xa9\n" + text,
    ],
    ids=["crlf", "latin-1 comment", "utf-8 comment"],
)
def test_the_harness_reads_what_caffe_reads(case: Case, change: Callable[[bytes], bytes]) -> None:
    for path in (case.net, case.solver):
        path.write_bytes(change(path.read_bytes()))
    case.works()


@pytest.mark.parametrize("name", ["net.prototxt", "solver.prototxt"])
def test_a_byte_order_mark_is_reported(case: Case, name: str) -> None:
    path = case.home / name
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    case.refused(str(path), "byte order mark", "without one")


def test_unusual_layer_names_work(case: Case) -> None:
    folder = case.home / "ein Ordner; $(x) [1] 'ü'"
    folder.mkdir()
    net, solver = folder / "net  [bold]{}.prototxt", folder / "sölver.prototxt"
    case.net.rename(net)
    solver.write_text(case.solver.read_text().replace(str(case.net), str(net).replace("'", "\\'")))
    code, stderr = case.run("--until", 3, solver=solver, out=folder / "ruñ")
    assert code == 0, stderr
    assert "[bold]" in stderr or str(net) not in stderr.replace("\n", "")
    net.unlink()
    case.refused("net  [bold]{}.prototxt", solver=solver)


def test_a_net_in_the_format_before_2014(case: Case) -> None:
    case.net.write_text(f"""
layers {{ name: "data" type: DATA top: "data" top: "label" data_param {{ source: "{case.data / "train"}" batch_size: 8
  backend: LMDB scale: 0.0078125 }} }}
layers {{ name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layers {{ name: "ip" type: INNER_PRODUCT bottom: "conv" top: "ip"
  inner_product_param {{ num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layers {{ name: "loss" type: SOFTMAX_LOSS bottom: "ip" bottom: "label" top: "loss" }}
""")
    case.solver_fields(test_iter=None, test_interval=None)
    case.works("--watch", "0:2")
    shutil.rmtree(case.out)
    case.edit(case.net, "num_output: 5", "num_output: 4")
    case.refused("labels lie outside 0…3")


def test_a_net_without_a_data_layer(case: Case) -> None:
    case.net.write_text("""
layer { name: "data" type: "DummyData" top: "data" top: "target"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "target" top: "loss" }
""")
    case.solver_fields(test_iter=None, test_interval=None)
    case.works("--watch", "0:2")


# -- the solver's fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lr_policy": '"pol"'}, ("lr_policy = pol", "poly")),
        ({"lr_policy": '"cosine"'}, ("lr_policy = cosine", "multistep")),
        ({"lr_policy": None}, ("lr_policy", "not given")),
        ({"type": '"Adamm"'}, ("type = Adamm", "Adam")),
        ({"type": '"adam"'}, ("type = adam", "Adam")),
        ({"type": '"SGD"', "solver_type": "SGD"}, ("solver_type = SGD", "together with type")),
        ({"max_iter": 0}, ("max_iter = 0",)),
        ({"max_iter": None}, ("max_iter",)),
        ({"iter_size": 0}, ("iter_size = 0", "at least 1")),
        ({"average_loss": 0}, ("average_loss = 0", "at least 1")),
        ({"test_interval": 0}, ("test_interval = 0", "test_iter")),
        ({"lr_policy": '"step"'}, ("stepsize = 0", "positive")),
        ({"net": None}, ("no train net", "train_net")),
        ({"train_net": '"other.prototxt"'}, ("net, train_net", "exactly one")),
        ({"net": None, "train_net": '"gone.prototxt"'}, ("gone.prototxt", "`train_net`")),
        ({"test_net": '"gone_too.prototxt"'}, ("gone_too.prototxt", "`test_net`")),
        ({"solver_mode": "GPU"}, ("solver_mode = GPU", "CPU-only", "--cpu", "CUDA build")),
        ({"lr_policy": '"exp"', "gamma": -0.5}, ("gamma = -0.5",)),
        ({"type": '"AdaGrad"'}, ("momentum = 0.9", "AdaGrad")),
        ({"type": '"RMSProp"'}, ("momentum = 0.9", "RMSProp")),
        ({"type": '"RMSProp"', "momentum": 0, "rms_decay": 1.5}, ("rms_decay = 1.5",)),
        ({"regularization_type": '"L3"'}, ("regularization_type = L3", "L1", "L2")),
        ({"lr_policy": '"multistep"'}, ("stepvalue",)),
    ],
)
def test_a_solver_field_that_caffe_would_reject(case: Case, fields: dict[str, object], said: tuple[str, ...]) -> None:
    case.solver_fields(**fields)
    if "multistep" in str(fields.get("lr_policy")):  # Caffe takes it, as a fixed rate
        case.works()
    else:
        case.refused(str(case.solver) if "gone" not in str(fields) else "", *said)


def test_a_net_given_twice(case: Case) -> None:
    case.solver.write_text(case.solver.read_text() + 'net_param { name: "x" }\n')
    case.refused(str(case.solver), "net, net_param", "exactly one")


def test_more_test_iters_than_test_nets(case: Case) -> None:
    case.solver_fields(net=None, train_net=f'"{case.net}"')
    case.refused(str(case.solver), "test_iter", "test net")


def test_a_test_net_without_data(case: Case) -> None:
    case.edit(case.net, "phase: TEST", "phase: TRAIN stage: 'never'")
    case.refused(str(case.net), "layer conv1/3x3", "bottom = data", "TEST")


def test_a_bottom_that_no_layer_produces(case: Case) -> None:
    case.edit(case.net, 'bottom: "frozen" top: "conv2/a"', 'bottom: "frozn" top: "conv2/a"')
    case.refused(str(case.net), "layer conv2/a", "bottom = frozn", "Did you mean frozen")


# -- the data ---------------------------------------------------------------------------------------------------------


def own_data(case: Case) -> Path:
    """Make a train LMDB that may be damaged."""
    shutil.copytree(case.data / "train", case.home / "own")
    case.edit(case.net, str(case.data / "train"), str(case.home / "own"))
    return case.home / "own"


def test_an_lmdb_that_is_missing(case: Case) -> None:
    source = own_data(case)
    shutil.rmtree(source)
    case.refused(str(source), "no such LMDB", str(Path.cwd()))


def test_an_lmdb_that_is_a_file(case: Case) -> None:
    source = own_data(case)
    case.edit(case.net, str(source), str(source / "data.mdb"))
    case.refused(str(source / "data.mdb"), "a file, not an LMDB directory")


def test_an_lmdb_without_its_data(case: Case) -> None:
    source = own_data(case)
    (source / "data.mdb").unlink()
    case.refused(str(source), "data.mdb")


def test_an_lmdb_without_records(case: Case) -> None:
    source = own_data(case)
    shutil.rmtree(source)
    lmdb.open(str(source), map_size=1 << 20).close()
    case.refused(str(source), "no records")


def test_an_lmdb_without_its_lock_file_works(case: Case) -> None:
    source = own_data(case)
    (source / "lock.mdb").unlink()
    case.works()


@contextlib.contextmanager
def holding(code: str, path: Path) -> Iterator[None]:
    """Run Python code that opens `path`, prints a line, and waits for one, which comes at the end of the block."""
    pipe = subprocess.PIPE
    with started(sys.executable, "-c", code, path, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield
        process.communicate("\n", timeout=60)


def test_an_lmdb_that_another_process_locks(case: Case) -> None:
    source = own_data(case)
    code = """import fcntl, sys
file = open(sys.argv[1], "r+b"); fcntl.lockf(file, fcntl.LOCK_EX, 1, 0); print(1, flush=True); input()"""
    with holding(code, source / "lock.mdb"):
        case.refused(str(source), "locked by another process", "Wait for that process")
    case.works()


@pytest.mark.parametrize("look", ["check_lmdb", "check_reader_lock", "scan_apart"])
def test_an_lmdb_that_a_process_with_the_same_id_reads(case: Case, look: str) -> None:
    """This occurs in two containers, each of which numbers its processes from 1."""
    source = own_data(case)
    code = f"""import sys
from pathlib import Path
from harness.caffe_files.lmdb_file import check_lmdb, check_reader_lock
from harness.training_data.lmdb_scan import scan_apart
if __name__ == "__main__":
    input()
    {look}(Path(sys.argv[1]), *[lambda *_: None] * ("{look}" == "scan_apart"))
"""
    with (
        started(sys.executable, "-c", code, source, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as reader,
        (source / "lock.mdb").open("r+b") as file,
    ):
        fcntl.lockf(file, fcntl.LOCK_EX, 1 << 20, reader.pid)  # and of the processes that it starts
        _, stderr = reader.communicate("\n", timeout=60)
    assert reader.returncode == 1
    assert f"{source}: a process in another container reads it" in stderr
    assert "read-only" in stderr


def test_an_lmdb_that_another_process_reads_or_writes_works(case: Case) -> None:
    source = own_data(case)
    code = """import lmdb, sys
with lmdb.open(sys.argv[1], map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
    print(1, flush=True); input()"""
    with holding(code, source):
        case.works()


def survives(case: Case) -> None:
    """Check that it exits with 2 or trains, and neither crashes nor hangs."""
    done = train(case.solver, case.out, "--until", 2, timeout=60, code=None)
    assert done.code in (0, 2, 4), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    if done.code == 2:
        assert "own" in done.stderr
        assert not case.out.exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: os.urandom(len(data)),
        lambda data: b"",
        lambda data: b"\0" * len(data),
        lambda data: data[:100],
        lambda data: data[:8192],
        lambda data: data[: len(data) // 2],
        lambda data: data[: len(data) // 2] + os.urandom(len(data) - len(data) // 2),
    ],
    ids=["garbage", "empty", "zeros", "100 bytes", "two pages", "half", "half garbage"],
)
def test_an_lmdb_that_is_damaged(case: Case, spoil: Callable[[bytes], bytes]) -> None:
    source = own_data(case)
    data = (source / "data.mdb").read_bytes()
    (source / "data.mdb").write_bytes(spoil(data))
    done = train(case.solver, case.out, timeout=60, code=2)
    assert "Traceback" not in done.stderr
    assert str(source) in done.stderr
    assert "convert_imageset" in done.stderr
    assert not case.out.exists()


@pytest.mark.parametrize("seed", range(4))
def test_an_lmdb_with_random_bytes_overwritten(case: Case, seed: int) -> None:
    source = own_data(case)
    random = np.random.default_rng(seed)
    with (source / "data.mdb").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for _ in range(10):
            file.seek(int(random.integers(0, size - 200)))
            file.write(random.bytes(int(random.integers(1, 200))))
    survives(case)


def test_a_record_that_is_no_datum(case: Case) -> None:
    source = own_data(case)
    with lmdb.open(str(source), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"00000100_img100.png", b"\xff\xff\xff not a datum")
    case.refused(str(source), "00000100_img100.png", "not a Datum")


@pytest.mark.parametrize(
    "datum",
    [
        pb.Datum(channels=1, height=12, width=12, data=b"short", label=1),
        pb.Datum(channels=1, height=12, width=12, label=1),
        pb.Datum(encoded=True, data=b"not an image", label=1),
    ],
    ids=["short", "empty", "undecodable"],
)
def test_a_record_with_a_damaged_image(case: Case, datum: pb.Datum) -> None:
    source = own_data(case)
    with lmdb.open(str(source), map_size=1 << 30) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"00000003_img3.png", datum.SerializeToString())
    survives(case)


@pytest.mark.parametrize(("wrong", "said"), [(CLASSES, "0…5"), (-1, "-1…4"), (279, "0…279")])
def test_a_label_outside_the_classes(case: Case, wrong: int, said: str) -> None:
    images, labels = digits(40, 3)
    labels[:5] = range(5)
    labels[17] = wrong
    source = write_lmdb(case.home / "own", images, labels)
    case.edit(case.net, str(case.data / "train"), str(source))
    for _ in range(2):  # the second time from the cache
        case.refused(
            str(source), f"label = {said}", "1 of 40", "loss1/loss1", "0…4", "00000017_img17.png", f"label {wrong}"
        )
    # the labels are corrected and the LMDB is made anew, everything else as it was
    shutil.rmtree(source)
    labels[17] = 3
    write_lmdb(source, images, labels)
    case.works()


def test_a_wrong_label_in_a_large_lmdb_that_was_made_again_is_found(case: Case) -> None:
    """A scan is cached by a sample of the pages; a correction of another page must be found nevertheless."""
    images, labels = digits(40, 3)
    images = np.repeat(np.tile(images, (50, 1, 1, 1)), 6, axis=1).repeat(4, axis=2)  # 2000 of 3.4 kB: 2000 pages
    labels = np.tile(labels, 50)
    source = case.home / "own"
    case.edit(case.net, str(case.data / "train"), str(source))
    case.edit(case.net, "mirror: true crop_size: 10", "")
    case.edit(case.net, str(case.data / "test"), str(source))
    case.edit(case.net, "crop_size: 10", "")
    for record in (1237, 1311, 1640):
        labels_now = labels.copy()
        labels_now[record] = 9
        shutil.rmtree(source, ignore_errors=True)
        write_lmdb(source, images, labels_now)
        case.refused(f"{record:08d}_img{record}.png", "label 9")
    shutil.rmtree(source)
    write_lmdb(source, images, labels)
    case.works()


def test_an_ignored_label_may_lie_outside_the_classes(case: Case) -> None:
    images, labels = digits(40, 3)
    labels[17] = 255
    case.edit(case.net, str(case.data / "train"), str(write_lmdb(case.home / "own", images, labels)))
    text = case.net.read_text()
    case.net.write_text(re.sub(r'(type: "SoftmaxWithLoss")', r"\1 loss_param { ignore_label: 255 }", text))
    case.works()


def test_a_cache_that_cannot_be_written_is_not_needed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    own_data(case)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    case.works()


def test_an_interrupted_scan_leaves_nothing_behind(case: Case, tmp_path: Path) -> None:
    source = write_lmdb(case.home / "own", np.zeros((60_000, 1, 12, 12), np.uint8), np.zeros(60_000, int))
    case.edit(case.net, str(case.data / "train"), str(source))
    home = tmp_path / "cache"
    arguments = (sys.executable, RUN, "--solver", case.solver, "--out", case.out)
    env = {"XDG_CACHE_HOME": str(home)}
    with started(*arguments, stderr=subprocess.PIPE, env=env, new_session=True) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        wait_for(lambda: any(_maps(pid, source / "data.mdb") for pid in children.read_text().split()), process, pause=0)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal's Ctrl-C: it reaches the scanning process too
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 130, stderr[-2000:]
    assert "Traceback" not in stderr
    assert not case.out.exists()
    assert not list(home.rglob("*.npz"))


def _maps(pid: str, file: Path) -> bool:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return str(file) in Path(f"/proc/{pid}/maps").read_text()
    return False


@pytest.mark.parametrize("backend", ["backend: LEVELDB", ""])
def test_leveldb_is_refused(case: Case, backend: str) -> None:
    case.edit(case.net, "backend: LMDB", backend)
    case.refused(str(case.net), "layer data", "backend = LEVELDB", "LMDB only", "backend: LMDB")


def test_a_mean_file_that_is_missing(case: Case) -> None:
    case.edit(case.net, "scale: 0.0078125", 'mean_file: "gone.binaryproto"')
    case.refused(str(case.net), "mean_file = gone.binaryproto", "compute_image_mean")


def test_a_source_of_another_data_layer_that_is_missing(case: Case) -> None:
    case.net.write_text("""
layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "gone.txt" batch_size: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "data" bottom: "label" top: "loss" }""")
    case.solver_fields(test_iter=None, test_interval=None)
    case.refused(str(case.net), "layer data", "hdf5_data_param.source = gone.txt", str(Path.cwd()))


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["200:100", "-5:10", "x", "5:5", "1:2:3", "٣:٤", "", ":", "1:", ":2", "1.5:3", "0x1:5", "1 2:5", "1_0:20", "²:³"],
)
def test_a_window_that_cannot_be_parsed(case: Case, text: str) -> None:
    code, stderr = case.run(f"--watch={text}")
    assert code == 2
    assert not case.out.exists()
    assert f"--watch {text}" in stderr
    assert "118900:119100" in stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--watch", "9" * 30 + ":" + "9" * 31),
        ("--watch", "0:" + "9" * 5000),
    ],
)
def test_a_window_that_is_too_large(case: Case, arguments: tuple[object, ...]) -> None:
    code, stderr = case.run("--until", 2, *arguments)
    assert code in (0, 2)
    assert "Traceback" not in stderr


def test_a_window_of_a_whole_long_training_is_refused_at_once(case: Case) -> None:
    """Nothing may be computed for each of its iterations beforehand: only the nets are built."""
    case.solver_fields(max_iter=2_000_000_000)
    start = time.monotonic()
    case.refused("the recording needs", "for 2000000000 window iterations", arguments=("--watch", "0:2000000000"))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--until", "0"), ("--until 0", "at least 1")),
        (("--until", "-3"), ("--until -3",)),
        (("--until", "61"), ("--until 61", "max_iter 60", "Raise max_iter")),
        (("--until", "9" * 30), ("--until",)),
        (("--until", "x"), ("--until", "invalid int")),
        (("--capture", "foo"), ("--capture foo", "'foo'", "weight, gradient, update, history, input")),
        (("--capture", ""), ("--capture",)),
        (("--capture", "weight,,update"), ("--capture weight,,update",)),
        (("--gpu", "0"), ("--gpu 0", "CPU-only", "--cpu", "CUDA build")),
        (("--gpu", "-1"), ("--gpu -1",)),
        (("--cpu", "--gpu", "0"), ("--gpu", "not allowed with")),
        (("--seed", "-1"), ("--seed -1", "4294967295")),
        (("--seed", str(1 << 32)), (f"--seed {1 << 32}", "4294967295")),
        (("--seed", "9" * 40), ("--seed", "4294967295")),
        (("--snapshot-every", "-1"), ("--snapshot-every -1",)),
        (("--snapshot-every", "9" * 20), ("--snapshot-every",)),
        (("--ring-mib", "0"), ("--ring-mib 0", "at least 1")),
        (("--ring-mib", "-1"), ("--ring-mib -1", "at least 1")),
        (("--ring-mib", "9" * 20), ("--ring-mib",)),
        (("--weights", "a", "--resume", "b"), ("not allowed with",)),
        (("--bogus",), ("--bogus",)),
        (("--weights", "gone.caffemodel"), ("gone.caffemodel", "cannot read the caffemodel")),
        (("--weights", ""), ("caffemodel",)),
        (("--weights", "."), ("error: .: a directory", "not a caffemodel")),
        (("--resume", "gone.solverstate"), ("gone.solverstate", "cannot read the solverstate")),
        (("--weights", "gone.caffemodel.h5"), ("gone.caffemodel.h5",)),
    ],
)
def test_a_wrong_argument(case: Case, arguments: tuple[object, ...], said: tuple[str, ...]) -> None:
    case.refused(*said, arguments=arguments)


def test_no_solver_is_given(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([])
    assert exit_.value.code == 2
    assert "--solver" in capfd.readouterr().err


@pytest.mark.parametrize("seed", [0, (1 << 32) - 1])
def test_every_seed_that_caffe_takes_works(case: Case, seed: int) -> None:
    case.works("--seed", seed)


def test_out_below_a_file(case: Case) -> None:
    case.refused("--out", str(case.net / "run"), "Give another --out", out=case.net / "run")


def test_out_is_a_file(case: Case) -> None:
    case.refused("--out", str(case.net), "Give another --out", out=case.net)
    assert case.net.is_file()


def test_out_is_not_empty(case: Case) -> None:
    case.out.mkdir()
    (case.out / "precious").write_text("x")
    case.refused("--out", str(case.out), "not empty", out=case.out)
    assert [p.name for p in case.out.iterdir()] == ["precious"]


def test_an_empty_out_is_kept_when_the_run_is_refused(case: Case, trained: Path) -> None:
    case.out.mkdir()
    case.edit(case.net, "num_output: 6 kernel_size: 3", "num_output: 7 kernel_size: 3")
    code, _ = case.run("--weights", trained / "native_iter_5.caffemodel")
    assert code == 2
    assert case.out.is_dir()
    assert not list(case.out.iterdir())


def read_only(case: Case, target: Path, *options: object) -> Finished:
    """Run the harness where `target` lies on a disk that is mounted read-only."""
    script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" || exit 99; exec "$@"'
    return run_with_mounts(script, target, sys.executable, RUN, "--solver", case.solver, *options)


@pytest.mark.parametrize("name", [".", "run"])
def test_out_on_a_read_only_disk(case: Case, name: str) -> None:
    (case.home / "frozen").mkdir()
    done = read_only(case, case.home / "frozen", "--out", case.home / "frozen" / name)
    assert done.code == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "--out" in done.stderr
    assert "Read-only" in done.stderr or "cannot be written" in done.stderr


@pytest.mark.parametrize("locked", [True, False])
def test_an_lmdb_on_a_read_only_disk_works(case: Case, locked: bool) -> None:
    """LMDB reads without a lock there (mdb_env_setup_locks), also for Caffe."""
    source = own_data(case)
    if not locked:
        (source / "lock.mdb").unlink()
    done = read_only(case, source, "--out", case.out, "--until", 3)
    assert done.code == 0, done.stderr[-2000:]


# -- weights and states -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """Snapshots by plain Caffe at iteration 5 of the small net: SGD, Adam in `adam_…`, HDF5 in `h5_…`."""
    home = tmp_path_factory.mktemp("trained")
    (home / "net.prototxt").write_text(small_net(digit_data))
    flat = re.sub(r'"(\w+)/([\w-]+)"', r'"\1_\2"', small_net(digit_data))  # Caffe's HDF5 snapshots want no slashes
    (home / "flat.prototxt").write_text(flat)
    kinds: dict[str, dict[str, object]] = {
        "native": {},
        "adam": {"type": '"Adam"'},
        "h5": {"snapshot_format": "HDF5", "net": f'"{home}/flat.prototxt"'},
    }
    for name, fields in kinds.items():
        (home / f"{name}.prototxt").write_text(
            solver_text(home / "net.prototxt", home / name, **{"max_iter": 5} | fields)
        )
        caffe_train(home / f"{name}.prototxt")
    return home


@pytest.mark.parametrize(
    ("suffix", "layer"), [("native_iter_5.caffemodel", "conv1/3x3"), ("h5_iter_5.caffemodel.h5", "conv1_3x3")]
)
def test_weights_that_do_not_fit(case: Case, trained: Path, suffix: str, layer: str) -> None:
    case.net.write_text(case.net.read_text().replace("conv1/3x3", layer))
    case.edit(case.net, "num_output: 6 kernel_size: 3", "num_output: 7 kernel_size: 3")
    case.refused(
        suffix, f"layer = {layer}", "6×1×3×3", "7×1×3×3", "Rename the layer", arguments=("--weights", trained / suffix)
    )


def test_weights_of_a_layer_with_another_number_of_blobs(case: Case, trained: Path) -> None:
    case.edit(case.net, "num_output: 6 kernel_size: 3 pad: 1", "bias_term: false num_output: 6 kernel_size: 3 pad: 1")
    case.edit(case.net, "param { lr_mult: 2 decay_mult: 0 }", "")
    case.refused("layer = conv1/3x3", "2 blobs", arguments=("--weights", trained / "native_iter_5.caffemodel"))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"layer { name: 'conv1' }\n", "text.caffemodel"),
        (b"", "empty.caffemodel"),
        (os.urandom(3000), "random.caffemodel"),
        (b"not HDF5", "text.caffemodel.h5"),
        (b"", "empty.caffemodel.h5"),
    ],
)
def test_weights_that_are_no_caffemodel(case: Case, content: bytes, name: str) -> None:
    path = case.home / name
    path.write_bytes(content)
    case.refused(str(path), "caffemodel", arguments=("--weights", path))


@pytest.mark.parametrize("kind", ["native_iter_5.{}", "h5_iter_5.{}.h5"])
def test_a_solverstate_and_a_caffemodel_that_are_exchanged(case: Case, trained: Path, kind: str) -> None:
    state, model = trained / kind.format("solverstate"), trained / kind.format("caffemodel")
    case.refused(str(state), "not a caffemodel", arguments=("--weights", state))
    case.refused(str(model), "not a solverstate", arguments=("--resume", model))


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["caffemodel", "solverstate"])
def test_a_truncated_snapshot(case: Case, trained: Path, share: float, kind: str) -> None:
    data = (trained / f"native_iter_5.{kind}").read_bytes()
    path = case.home / f"short.{kind}"
    path.write_bytes(data[: int(share * len(data))])
    case.refused(str(path), arguments=("--weights" if kind == "caffemodel" else "--resume", path))


def test_several_weights(case: Case, trained: Path) -> None:
    model = trained / "native_iter_5.caffemodel"
    said = case.works("--weights", f"{model}, {trained / 'h5_iter_5.caffemodel.h5'}")
    assert said.count("Weights from") == 2
    shutil.rmtree(case.out)
    case.refused("gone", arguments=("--weights", f"{model},gone"))
    case.refused("caffemodel", arguments=("--weights", f"{model},"))


def test_a_solverstate_of_another_net(case: Case, trained: Path) -> None:
    case.edit(case.net, "num_output: 6 kernel_size: 3", "num_output: 7 kernel_size: 3")
    said = case.refused("6×1×3×3", "7×1×3×3", arguments=("--resume", trained / "native_iter_5.solverstate"))
    assert "native_iter_5" in said


def test_a_solverstate_of_a_net_with_other_layers(case: Case, trained: Path) -> None:
    extra = """layer { name: "more" type: "InnerProduct" bottom: "frozen" top: "more"
  inner_product_param { num_output: 600 weight_filler { type: "xavier" } } }
"""
    head = 'layer { name: "loss1/classifier" type: "InnerProduct" bottom: '
    case.edit(case.net, f'{head}"frozen"', f'{extra}{head}"more"')
    case.refused("native_iter_5.solverstate", "history", arguments=("--resume", trained / "native_iter_5.solverstate"))


def test_a_solverstate_of_another_solver_type(case: Case, trained: Path) -> None:
    state = trained / "adam_iter_5.solverstate"
    case.refused(str(state), "Adam", "et `type`", arguments=("--resume", state))


@pytest.mark.parametrize("kind", ["{}", "{}.h5"])
def test_a_solverstate_whose_caffemodel_is_missing(case: Case, trained: Path, kind: str) -> None:
    name = "native_iter_5" if kind == "{}" else "h5_iter_5"
    home = case.home / "moved"
    shutil.copytree(trained, home)
    model = trained / f"{name}.{kind.format('caffemodel')}"
    (home / model.name).unlink()  # one that lies beside the solverstate would do
    model.rename(model.with_suffix(".away"))
    try:
        state = home / f"{name}.{kind.format('solverstate')}"
        case.refused(str(state), f"learned_net = {model}", str(Path.cwd()), arguments=("--resume", state))
    finally:
        model.with_suffix(".away").rename(model)


def test_a_resume_with_nothing_left_to_do(case: Case, trained: Path) -> None:
    state = trained / "native_iter_5.solverstate"
    case.refused("--until 5", "starts at iteration 5", arguments=("--resume", state, "--until", 5))
    case.solver_fields(max_iter=5)
    case.refused("max_iter", "starts at iteration 5", arguments=("--resume", state))


def test_a_resume_reports_whether_it_is_exact(case: Case, trained: Path) -> None:
    arguments = ("--resume", trained / "native_iter_5.solverstate", "--until", 8)
    code, stderr = case.run(*arguments)
    assert code == 0, stderr
    assert "Resuming at iteration 5 exactly" in stderr
    code, stderr = case.run(*arguments, "--data", "caffe", "--out", case.home / "again")
    assert code == 0, stderr
    assert "the position in the data and the random state are not" in stderr
