"""The CUDA toolkit that Caffe is compiled with: NVIDIA's packages of requirements-cuda.lock, or the one in CUDA_HOME.

Without cuDNN: Caffe 1.0 calls functions that cuDNN 8 dropped (cudnnGetConvolutionForwardAlgorithm and others), and the
last cuDNN that has them knows no CUDA that this compiler could be used with.
"""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

from tools.caffe_build.caffe_source import CannotBuild

PACKAGES = Path("nvidia/cu13")  # in site-packages, where all of NVIDIA's packages for CUDA 13 put their files
OLDEST = 75  # Turing: the oldest that CUDA 13 compiles for


def root() -> Path:
    """Where bin/nvcc and include/ lie.

    Raises:
        CannotBuild: nothing is there.
    """
    home = os.environ.get("CUDA_HOME")
    found = Path(home).absolute() if home else Path(sysconfig.get_path("platlib")) / PACKAGES
    if not (found / "bin/nvcc").is_file():
        raise CannotBuild(
            f"CUDA_HOME={home}: no bin/nvcc there; give the top of a CUDA toolkit, or unset it for the pinned one"
            if home
            else f"{found}/bin/nvcc is missing; tools/setup --cuda installs it"
        )
    return found


def libraries() -> Path:
    """Where its shared libraries lie: absolute for CUDA_HOME, else relative to site-packages."""
    if not os.environ.get("CUDA_HOME"):
        return PACKAGES / "lib"
    return root() / ("lib64" if (root() / "lib64").is_dir() else "lib")


def lay_out(directory: Path) -> Path:
    """The toolkit as CMake's FindCUDA wants it: itself, or links in `directory` where it has another layout, as
    NVIDIA's packages have."""
    top = root()
    if (top / "lib64").is_dir():
        return top
    (directory / "lib64").mkdir(parents=True)
    for name in ("bin", "include", "nvvm"):
        (directory / name).symlink_to(top / name)
    for library in (top / "lib").glob("lib*"):
        # CMake looks for libcublas.so; the linker for libcublasLt.so.13, which that needs
        for name in {library.name, re.sub(r"\.so\..*", ".so", library.name)}:
            if not (top / "lib" / name).exists() or name == library.name:  # or it comes by itself
                (directory / "lib64" / name).symlink_to(library)
    return directory


def facts() -> dict[str, str]:
    """Which toolkit it is: what its nvcc says of itself and, if it is not the pinned one, where it lies."""
    nvcc = root() / "bin/nvcc"
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"{nvcc} cannot be run: {error}") from error
    home = {"CUDA_HOME": str(root())} if os.environ.get("CUDA_HOME") else {}
    return {"nvcc": said.strip().splitlines()[-1]} | home


def architectures(given: str | None) -> tuple[str, ...]:
    """Compute capabilities to compile for, in ascending order ("75" is 7.5): those `given`, else of the GPUs here.

    Without a GPU, the oldest alone: the driver of a newer one translates it when Caffe first runs there.

    Raises:
        CannotBuild: one is too old for the pinned toolkit.
    """
    found = re.split(r"[\s,]+", given.strip()) if given else _of_gpus_here()
    numbers = sorted({int(name.replace(".", "")) for name in found})
    if numbers[0] < OLDEST and not os.environ.get("CUDA_HOME"):
        raise CannotBuild(
            f"compute capability {numbers[0] / 10}: CUDA 13 begins at {OLDEST / 10}; name an older toolkit in CUDA_HOME"
        )
    return tuple(str(number) for number in numbers)


def _of_gpus_here() -> list[str]:
    try:
        command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        said = ""
    return re.findall(r"^\d+\.\d$", said, re.MULTILINE) or [str(OLDEST)]  # "[N/A]" of a driver that does not know
