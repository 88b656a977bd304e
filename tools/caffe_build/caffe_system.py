"""The compiler and the libraries that Caffe is built with: Debian's, or those of a conda environment."""

import os
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.caffe_build.caffe_source import CannotBuild


@dataclass(frozen=True)
class System:
    """A compiler, libraries, and what the build needs to use them.

    `environment` is the whole environment of the build's programs; `libraries` are versions by name; `options` are
    CMake's. `directories` hold shared libraries that the system's loader does not find.
    """

    environment: Mapping[str, str]
    compiler: str
    libraries: Mapping[str, str]
    options: tuple[str, ...] = ()
    directories: tuple[Path, ...] = ()


def _output(environment: Mapping[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def debian() -> System:
    """Return the system of the packages in debian-packages.txt."""
    # An environment without conda or pyenv on the PATH, and without LIBRARY_PATH: the build finds no other libraries.
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    packages = Path(__file__).parents[1].joinpath("debian-packages.txt").read_text().split("\n")
    names = [name for name in packages if name.startswith("lib")]
    lines = _output(environment, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *names)
    versions = dict(line.split() for line in sorted(lines.splitlines()))
    return System(environment, _output(environment, "c++", "--version").splitlines()[0], versions)


def conda() -> System:
    """Return the system of the active conda environment, made from environment.yml.

    Raises:
        CannotBuild: no environment is active, or it has no compilers.
    """
    prefix = Path(os.environ.get("CONDA_PREFIX", ""))
    packages = sorted(path.stem for path in prefix.glob("conda-meta/*.json")) if prefix.is_absolute() else []
    compilers = {name: os.environ.get(name, "") for name in ("CC", "CXX")}  # set when the environment is activated
    if not (packages and all(compilers.values())):
        raise CannotBuild(
            "--conda needs its environment active: conda env create -f environment.yml; conda activate caffe-harness"
        )
    environment = {
        "PATH": f"{prefix}/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        # conda's linker looks only in its sysroot for the libraries that a library needs, such as libcaffe's libpython.
        "LDFLAGS": f"-Wl,-rpath-link,{prefix}/lib",
        **compilers,
    }
    versions = {}
    for package in packages:
        name, version, build = package.rsplit("-", 2)
        versions[name] = f"{version}-{build}"
    return System(
        environment,
        _output(environment, compilers["CXX"], "--version").splitlines()[0],
        versions,
        # A library that the environment lacks is an error: those of the machine do not fit its compilers.
        options=(
            f"-DCMAKE_PREFIX_PATH={prefix}",
            "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF",
            "-DCMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF",
            # Caffe's FindOpenBLAS searches a fixed list of directories.
            f"-DOpenBLAS_INCLUDE_DIR={prefix}/include",
            f"-DOpenBLAS_LIB={prefix}/lib/libopenblas.so",
        ),
        directories=(prefix / "lib",),
    )


def python_library() -> str:
    """Return the shared library of this Python. conda's configuration names an archive, but both exist."""
    directory, name = Path(str(sysconfig.get_config_var("LIBDIR"))), str(sysconfig.get_config_var("LDLIBRARY"))
    return str(directory / name.replace(".a", ".so"))
