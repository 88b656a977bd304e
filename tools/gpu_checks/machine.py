"""The versions that results depend on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

import harness
from harness.processes import cores
from harness.supervisor.device import caffe_build
from tools.bench.nets import ROOT
from tools.gpu_checks.cuda_driver import Card

Facts = tuple[tuple[str, str], ...]


def describe(card: Card | None) -> Facts:
    """Describe the GPU, if there is one, the software and the machine, as names and values."""
    gpu = () if card is None else (("GPU", _card(card)), ("driver", f"{_driver()}, for CUDA up to {card.cuda}"))
    return (*gpu, *_software(), ("machine", _machine()))


def _card(card: Card) -> str:
    return f"{card.name}, compute capability {card.compute_capability}, {card.memory_gib} GiB"


def _driver() -> str:
    """Return the version of NVIDIA's kernel driver: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159 …"."""
    try:
        said = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        said = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", said)
    return found[0] if found else "unknown version"


def _software() -> Facts:
    build = caffe_build()
    commit = _said("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12") or "unknown commit"
    names = ("numpy", "h5py", "protobuf", "xxhash")
    versions = ", ".join(f"{name} {_version(name)}" for name in names)
    return (
        ("harness", f"{harness.__version__}, {commit}"),
        ("Caffe", f"{build.get('version', 'unknown version')}, built for {build.get('device', 'an unknown device')}"),
        *(_cuda_build(build) if build.get("device") == "cuda" else ()),
        ("CuPy", next((v for v in map(_version, ("cupy-cuda13x", "cupy-cuda12x", "cupy")) if v), "none")),
        ("Python", f"{platform.python_version()}, {versions}"),
    )


def _cuda_build(build: dict[str, object]) -> Facts:
    toolkit, options = build.get("toolkit"), build.get("cmake_options")
    nvcc = toolkit.get("nvcc", "unknown") if isinstance(toolkit, dict) else "unknown"
    given = options if isinstance(options, list) else []
    values = dict(str(option).removeprefix("-D").partition("=")[::2] for option in given)
    cudnn = {"OFF": "not used", "ON": "used"}.get(values.get("USE_CUDNN", ""), "unknown")
    return (
        ("CUDA", f"{nvcc}; machine code for {values.get('CUDA_ARCH_BIN', 'unknown GPUs')}"),
        ("cuDNN", cudnn),
    )


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor}, {cores()} cores, {memory:.0f} GiB, Linux {platform.release()}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _said(*command: str) -> str:
    """Return what a program prints; nothing if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
