"""A description of what a worker computes with, in which all workers of a cluster must agree.

Workers are sent the code of this module: it also runs where the harness is another version, or missing. Therefore only
the standard library is imported here.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

HOST = "host"
_LIBRARIES = ("numpy", "h5py", "protobuf", "msgspec", "distributed")
_NONE = "none"


def describe() -> dict[str, str]:
    """Return the versions that this process computes with, and its host."""
    versions = {"harness": _harness(), "Caffe build": _caffe(), "Python": ".".join(platform.python_version_tuple()[:2])}
    return {HOST: platform.node(), **versions, **{name: _version(name) for name in _LIBRARIES}}


def differences(there: dict[str, str], here: dict[str, str]) -> Iterator[str]:
    """Yield what differs between two descriptions, as "harness 0.2.0, here 0.3.0"."""
    for name, ours in here.items():
        theirs = there.get(name, _NONE)
        if name != HOST and theirs != ours:
            yield f"{name} {theirs}, here {ours}"


def _harness() -> str:
    try:
        import harness
    except ImportError:
        return _NONE
    return str(getattr(harness, "__version__", "of an unknown version"))


def _caffe() -> str:
    """Return the key of the Caffe that would be imported, without importing it."""
    found = util.find_spec("caffe")
    if found is None or found.origin is None:
        return _NONE
    build = Path(found.origin).parent / "build.json"
    return str(json.loads(build.read_text()).get("key")) if build.is_file() else "not of tools/setup"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _NONE
