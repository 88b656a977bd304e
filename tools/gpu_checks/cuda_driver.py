"""Look for a GPU through NVIDIA's driver, before anything is built.

    python3 -m tools.gpu_checks.cuda_driver [NUMBER]

exits with 2 if GPU NUMBER (default: 0) cannot be used. Only the standard library is imported, and neither Caffe nor
CuPy is needed.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

LIBRARY = "libcuda.so.1"
_REMEDY = "give --cpu to try all checks that need no GPU"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR (cuda.h)


class NoGpu(Exception):
    """The GPU cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Card:
    """A GPU as its driver describes it; `cuda` is the newest CUDA that the driver supports."""

    name: str
    compute_capability: str
    memory_gib: float
    cuda: str


def find_card(number: int, library: str = LIBRARY) -> Card:
    """Describe GPU `number`.

    Raises:
        NoGpu: there is no driver, or no such GPU.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        raise NoGpu(
            f"no GPU can be used: NVIDIA's driver ({library}) is not installed here. Install version 580 or newer (a "
            f"container has to be started with --gpus all), or {_REMEDY}"
        ) from None
    code = driver.cuInit(0)
    if code:
        raise NoGpu(
            f"no GPU can be used: the driver answers with {_name(driver, code)}. See what nvidia-smi says, or {_REMEDY}"
        )
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    if not 0 <= number < count.value:
        there = ", ".join(map(str, range(count.value))) or "none"
        raise NoGpu(f"--device {number}: there is no such GPU. Give one of those of this machine: {there}")
    device, version, memory, name = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(100)
    driver.cuDeviceGet(ctypes.byref(device), number)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDriverGetVersion(ctypes.byref(version))
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Card(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{_attribute(driver, device, _MAJOR)}.{_attribute(driver, device, _MINOR)}",
        memory_gib=round(memory.value / 2**30, 1),
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, number: int) -> int:
    value = ctypes.c_int()
    driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value


def _name(driver: ctypes.CDLL, code: int) -> str:
    text = ctypes.c_char_p()
    driver.cuGetErrorName(code, ctypes.byref(text))
    return text.value.decode() if text.value else f"error {code}"


def main() -> int:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    try:
        find_card(int(sys.argv[1]) if sys.argv[1:] else 0)
    except NoGpu as error:
        print(f"check_gpu: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
