"""The CUDA toolkit that Caffe is compiled with: NVIDIA's packages of requirements-cuda.lock, or the one in CUDA_HOME.

Without cuDNN: Caffe 1.0 calls functions that cuDNN 8 dropped (cudnnGetConvolutionForwardAlgorithm and others), and the
last cuDNN that has them supports no CUDA version that works with this compiler.
"""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

from tools.caffe_build.caffe_source import CannotBuild

PACKAGES = Path("nvidia/cu13")  # in site-packages; all of NVIDIA's packages for CUDA 13 put their files there
OLDEST = 75  # Turing, the oldest that CUDA 13 compiles for


def root() -> Path:
    """Return the directory that contains bin/nvcc and include/.

    Raises:
        CannotBuild: there is no bin/nvcc.
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
    """Return the directory of the shared libraries: absolute for CUDA_HOME, else relative to site-packages."""
    if not os.environ.get("CUDA_HOME"):
        return PACKAGES / "lib"
    return root() / ("lib64" if (root() / "lib64").is_dir() else "lib")


def lay_out(directory: Path) -> Path:
    """Return the toolkit in the layout that CMake's FindCUDA expects: itself, or, for NVIDIA's packages, which have
    another layout, links in `directory`."""
    top = root()
    if (top / "lib64").is_dir():
        return top
    (directory / "lib64").mkdir(parents=True)
    for name in ("bin", "include", "nvvm"):
        (directory / name).symlink_to(top / name)
    for library in (top / "lib").glob("lib*"):
        # CMake looks for libcublas.so; the linker for libcublasLt.so.13, which libcublas needs
        for name in {library.name, re.sub(r"\.so\..*", ".so", library.name)}:
            if not (top / "lib" / name).exists() or name == library.name:  # else it has its own turn
                (directory / "lib64" / name).symlink_to(library)
    return directory


def describe() -> dict[str, str]:
    """Describe the toolkit: the version that nvcc prints and, unless it is the pinned one, its directory."""
    nvcc = root() / "bin/nvcc"
    try:
        said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"{nvcc} cannot be run: {error}") from error
    home = {"CUDA_HOME": str(root())} if os.environ.get("CUDA_HOME") else {}
    return {"nvcc": said.strip().splitlines()[-1]} | home


def architectures(given: str | None) -> tuple[str, ...]:
    """Return the compute capabilities to compile for, in ascending order ("75" is 7.5).

    They are those `given`, else those of the GPUs of this machine, else only the oldest: the driver of a newer GPU
    translates its code when Caffe first runs there.

    Raises:
        CannotBuild: one of them is too old for the pinned toolkit.
    """
    found = re.split(r"[\s,]+", given.strip()) if given else _of_gpus()
    numbers = sorted({int(name.replace(".", "")) for name in found})
    if numbers[0] < OLDEST and not os.environ.get("CUDA_HOME"):
        raise CannotBuild(
            f"compute capability {numbers[0] / 10}: CUDA 13 supports {OLDEST / 10} and newer; "
            "set CUDA_HOME to an older toolkit"
        )
    return tuple(str(number) for number in numbers)


def _of_gpus() -> list[str]:
    try:
        command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        said = ""
    return re.findall(r"^\d+\.\d$", said, re.MULTILINE) or [str(OLDEST)]  # an old driver prints "[N/A]"
