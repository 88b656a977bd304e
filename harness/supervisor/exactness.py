"""What keeps a resumed training from being the uninterrupted one, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Layers that hold a place in data or random numbers of their own, which nothing outside them can set.
_OWN_PLACE = {
    "HDF5Data": "starts again from its first row",
    "MemoryData": "has only what its program puts into it",
    "Python": "may keep a state of its own",
    "WindowData": "draws its windows anew",
}


def layers_without_place(nets: Sequence[Any]) -> list[str]:
    """Why each layer of `nets` (NetParameters) that cannot be sought will not repeat."""
    found = {
        f"layer {layer.name} ({layer.type}) {_OWN_PLACE[layer.type]}": None
        for net in nets
        for layer in net.layer
        if layer.type in _OWN_PLACE
    }
    return list(found)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How this machine computes otherwise than the one that made a snapshot: `then` is its JSON, `now` run.json."""
    found = []
    if then["random_seed"] != now["random_seed"]:
        found.append(f"seed {now['random_seed']} instead of {then['random_seed']}: other crops, mirrors and dropout")
    if then["blas_threads"] != now["blas_threads"]:
        found.append(f"{now['blas_threads']} BLAS threads instead of {then['blas_threads']}")
    builds = [about.get("caffe", {}) for about in (then, now)]
    names = [{k: v for k, v in build.items() if k != "path"} for build in builds]
    if names[0] != names[1]:
        found.append("another build of Caffe")
    if then.get("mode", now["mode"]) != now["mode"]:
        found.append(f"{now['mode']} instead of {then['mode']}")
    elif now["mode"] != "CPU":
        found.append(
            "a GPU: its random numbers can only be drawn again, and whether its sums repeat their bits was never tried"
        )
        if then.get("gpu") != now.get("gpu"):
            found.append(f"{_card(now)} instead of {_card(then)}")
    return found


def _card(about: Mapping[str, Any]) -> str:
    gpu = about.get("gpu") or {}
    return f"{gpu.get('name', 'another GPU')} (driver {gpu.get('driver', '?')}, CuPy {gpu.get('cupy', '?')})"
