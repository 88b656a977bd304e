"""Reasons why a resumed training does not repeat the uninterrupted one bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

from harness.caffe_files.messages import pb
from harness.schemas.run_info import Gpu, TrainingSetup

# Layers whose position in data or random numbers cannot be set from outside.
_OWN_PLACE = {
    "HDF5Data": "starts again from its first row",
    "MemoryData": "has only what its program puts into it",
    "Python": "may keep a state of its own",
    "WindowData": "draws its windows anew",
}


def layers_without_place(nets: Sequence[pb.NetParameter]) -> list[str]:
    """Say for each layer of `nets` (NetParameters) that cannot be positioned why it will not repeat."""
    found = {
        f"layer {layer.name} ({layer.type}) {_OWN_PLACE[layer.type]}": None
        for net in nets
        for layer in net.layer
        if layer.type in _OWN_PLACE
    }
    return list(found)


def differences(then: TrainingSetup, now: TrainingSetup) -> list[str]:
    """List how `now` computes otherwise than `then`, which a snapshot was made with."""
    found = []
    if then.random_seed != now.random_seed:
        found.append(f"seed {now.random_seed} instead of {then.random_seed}: other crops, mirrors and dropout")
    if then.blas_threads != now.blas_threads:
        found.append(f"{now.blas_threads} BLAS threads instead of {then.blas_threads}")
    if _without_path(then) != _without_path(now):
        found.append("another build of Caffe")
    if then.mode != now.mode:
        found.append(f"{now.mode} instead of {then.mode}")
    elif now.mode != "CPU":
        found.append(
            "a GPU: its random numbers can only be drawn again, and whether its sums repeat their bits was never tried"
        )
        if then.gpu != now.gpu:
            found.append(f"{_card(now.gpu)} instead of {_card(then.gpu)}")
    return found


def _without_path(setup: TrainingSetup) -> dict[str, object]:
    return {name: value for name, value in setup.caffe.items() if name != "path"}


def _card(gpu: Gpu | None) -> str:
    return f"{gpu.name} (driver {gpu.driver}, CuPy {gpu.cupy})" if gpu else "another GPU"
