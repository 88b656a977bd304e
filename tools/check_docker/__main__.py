"""Build the CPU image and try it as docs/containers.md describes: the demo's first 100 iterations from a mounted
directory and a report of them, an interrupt in the middle of a run, the stop of a demo.

An engine is used if one answers: docker or podman; else buildah (as root) on a base that debootstrap makes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.check_docker.checks import CHECKS, Unexpected, check_cpu
from tools.check_docker.engines import Place, command_of, find_engine, say

_IMAGES = """
images to build and check as well:
  notebooks   JupyterLab: it refuses a visitor without the token, and shows a notebook to one who has it
  gpu         for GPUs, without one: Caffe loads, trains on the CPU, and refuses what needs a GPU
  tests       tools/test inside

CHECK_DOCKER_ENGINE=docker, podman or buildah selects one. BASE=IMAGE builds on another Debian 12, which the engine has
or can pull.
"""
_OTHER_USER = 4321  # instead of root: users do not start containers as root


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.check_docker",
        description=__doc__,
        epilog=_IMAGES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=", ".join(CHECKS))
    images: list[str] = parser.parse_args(arguments).images
    for image in images:
        if image not in CHECKS:
            parser.error(f"there is no image {image}; there are {', '.join(CHECKS)}")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            engine = find_engine(_place(Path(scratch)), os.environ.get("CHECK_DOCKER_ENGINE"), os.environ.get("BASE"))
            check_cpu(engine)
            for image in images:
                CHECKS[image](engine)
    except subprocess.CalledProcessError as error:
        say(f"failed with exit code {error.returncode}: {command_of(error)}")
        return 1
    except Unexpected as error:
        say(f"failed: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    say("all well")
    return 0


def _place(scratch: Path) -> Place:
    scratch.chmod(0o755)
    work = scratch / "work"
    work.mkdir()
    if os.geteuid():
        return Place(work, f"{os.getuid()}:{os.getgid()}")
    os.chown(work, _OTHER_USER, _OTHER_USER)
    return Place(work, f"{_OTHER_USER}:{_OTHER_USER}")


if __name__ == "__main__":
    sys.exit(main())
