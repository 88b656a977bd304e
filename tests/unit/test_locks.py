"""The lock files and environment.yml."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.helpers.paths import ROOT

LOCKS = sorted(ROOT.glob("requirements*.lock"))


def locked(*names: str) -> dict[str, str]:
    texts = [(ROOT / name).read_text() for name in names or ("requirements.lock",)]
    return dict(re.findall(r"^([\w.-]+)==(\S+)", "".join(texts), re.MULTILINE))


def test_environment_yml_has_the_pins_of_the_lock() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pins,) = (entry["pip"] for entry in dependencies if isinstance(entry, dict))
    assert dict(pin.split("==") for pin in pins) == locked()


# The packages of conda-forge that stand for Debian's in environment.yml.
CONDA_FORGE = {
    "ca-certificates": "python",
    "cmake": "cmake",
    "g++": "gxx_linux-64",
    "graphviz": "graphviz",
    "libboost-filesystem-dev": "libboost-python-devel",
    "libboost-python-dev": "libboost-python-devel",
    "libboost-system-dev": "libboost-python-devel",
    "libboost-thread-dev": "libboost-python-devel",
    "libgflags-dev": "gflags",
    "libgoogle-glog-dev": "glog",
    "libhdf5-dev": "hdf5",
    "liblmdb-dev": "lmdb",
    "libopenblas-dev": "openblas",
    "libopencv-dev": "libopencv",
    "libprotobuf-dev": "libprotobuf",
    "make": "make",
    "protobuf-compiler": "libprotobuf",
    "python3-dev": "python",
    "python3-venv": "python",
}


def test_environment_yml_lists_what_is_installed_on_debian() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = {re.split("[=<>]", entry)[0] for entry in dependencies if isinstance(entry, str)}
    wanted = (ROOT / "tools/debian-packages.txt").read_text().splitlines()
    assert listed == {"pip", *(CONDA_FORGE[package] for package in wanted if not package.startswith("#"))}


def test_installed_packages_are_the_locked_ones() -> None:
    expected = locked("requirements.lock", "requirements-tests.lock")
    assert {name: importlib.metadata.version(name) for name in expected} == expected


def test_the_locks_hold_every_dependency_group() -> None:
    """The build backend is in requirements.lock, Sphinx in requirements-tests.lock; others have their own locks."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert {"include-group": "docs"} in groups["tests"]
    own = groups.keys() - {"build", "docs"}
    assert {lock.name for lock in LOCKS} == {"requirements.lock", *(f"requirements-{name}.lock" for name in own)}
    places = {name: name for name in own} | {"build": "tests", "docs": "tests"}
    for name, wanted in groups.items():
        pins = locked("requirements.lock", f"requirements-{places[name]}.lock")
        entries = {re.split("[=<>~]", entry)[0].lower() for entry in wanted if isinstance(entry, str)}
        assert entries <= pins.keys()
    assert "scikit-build-core" in locked("requirements.lock")


@pytest.mark.parametrize("lock", LOCKS, ids=[lock.name for lock in LOCKS])
def test_lock_holds_pins_and_hashes_alone(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==\S+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines)
