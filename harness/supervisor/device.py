"""Check that Caffe can train on the device that is asked for, before anything starts: Caffe itself would abort."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec

from harness.caffe_files.messages import caffe_directory
from harness.caffe_files.net import NetFile
from harness.errors import BadInput
from harness.invocation import setup_command
from harness.processes import child_environment
from harness.schemas.run_info import Gpu

_PREFETCHING = ("Data", "ImageData", "WindowData")


def caffe_build() -> dict[str, object]:
    """Describe the Caffe that will run: its path, and its build.json if tools/setup built it."""
    directory = caffe_directory()
    build = directory / "build.json"
    return {"path": str(directory)} | (json.loads(build.read_text()) if build.is_file() else {})


def check_gpu(gpu: int, path: Path | None) -> Gpu:
    """Train on a GPU for a moment, in a process of its own. Returns what that GPU is.

    `path` is the solver file that asks for it; None if the command line does.

    Raises:
        BadInput: it cannot be used.
    """
    done = _caffe("-m", "harness.worker.gpu_selftest", str(gpu))
    card = msgspec.json.decode(done.stdout.splitlines()[0], type=Gpu) if done.stdout else None
    if done.returncode == 0 and card is not None:
        return card
    cpu = "Add --cpu to run on the CPU"
    if caffe_build().get("device") == "cuda":
        cpu = f"Run {setup_command()} (without --cuda) and add --cpu to run on the CPU"
    complaint = _complaint(done.stderr)
    if "CPU-only" in done.stderr:
        what = "this build of Caffe is CPU-only"
        remedy = f"{cpu}, or use a CUDA build of Caffe (tools/setup --cuda) where there is a GPU"
    elif "No module named 'cupy'" in done.stderr:
        what = "CuPy is not installed for this Python, and the probes need it on a GPU"
        remedy = (
            f"Run {setup_command()} --cuda (for a toolkit in CUDA_HOME: install the CuPy of its version into .venv)"
        )
    elif "FILE_NOT_FOUND" in done.stderr:  # CuPy, of _moments.ptx
        what = "the kernel that reads what a GPU holds is not compiled"
        remedy = f"Run {setup_command()} --cuda"
    elif card and "no kernel image" in done.stderr:
        what = f"this Caffe is built for other GPUs than {card.name} ({complaint})"
        remedy = f"Run {setup_command()} --cuda --cuda-arch {card.compute_capability}"
    else:
        what = f"GPU {gpu} cannot be used on this machine ({complaint})"
        remedy = f"{cpu}, or look at what nvidia-smi says"
    raise BadInput(
        what,
        file=path,
        field="solver_mode" if path else "--gpu",
        value="GPU" if path else gpu,
        remedy=remedy,
    )


def check_prefetching(net: NetFile) -> None:
    """Check for layers whose thread asks a CUDA build for the GPU, even in CPU mode; without one, Caffe aborts.

    internal_thread.cpp:26, in InternalThread::StartInternalThread; the layers are those of BasePrefetchingDataLayer.
    """
    layer = next((layer for layer in net.layers if layer.type in _PREFETCHING), None)
    if layer is not None and caffe_build().get("device") == "cuda" and not _gpu_at_hand():
        raise BadInput(
            "this Caffe is built for GPUs, where the thread of such a layer needs one even in CPU mode; none was found",
            file=f"{net.source}: layer {layer.name}",
            field="type",
            value=layer.type,
            remedy=f"Run {setup_command()} (without --cuda) for a build that needs no GPU",
        )


def _gpu_at_hand() -> bool:
    """Check that the driver answers the first call that Caffe makes (also the first in Caffe::SetDevice)."""
    return _caffe("-c", "import caffe; caffe.set_device(0)").returncode == 0


def _caffe(*program: str) -> subprocess.CompletedProcess[str]:
    """Run a Python that imports caffe as the worker does: -P ignores one in the current directory."""
    command = [sys.executable, "-P", *program]
    return subprocess.run(command, env=child_environment(blas_threads=1), capture_output=True, text=True, check=False)


def _complaint(stderr: str) -> str:
    """Return the message of a failed CHECK of Caffe's, or the last line of a traceback."""
    failed = re.search(r"Check failed: .*\)\s+(.*)", stderr)
    return failed[1].strip() if failed else (stderr.strip().splitlines() or ["it died"])[-1]
