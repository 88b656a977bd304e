"""Build images and run containers with docker, podman, or, where no engine answers, buildah."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = "/opt/caffe-harness"  # the repository in the images
TRAINS_AFTER = 15  # seconds, after which a run has begun to train
_BASE = "localhost/caffe-harness-base"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def say(message: str) -> None:
    print(f"check_docker: {message}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Place:
    """The host's side of a container: the directory mounted as /work, and the `UID:GID` that commands run as."""

    work: Path
    user: str

    @property
    def options(self) -> tuple[str, ...]:
        return ("--user", self.user, "--volume", f"{self.work}:/work")


class Engine(ABC):
    """Builds and runs the images `caffe-harness:NAME`.

    `base` replaces the base image that the Dockerfiles name. Methods raise CalledProcessError when a command fails.
    """

    def __init__(self, place: Place, base: str | None) -> None:
        self.place = place
        self.base = base

    @abstractmethod
    def build(self, name: str, target: str, dockerfile: str) -> None:
        """Build the stage `target` of `dockerfile` as image `name`."""

    @abstractmethod
    def run(self, name: str, *command: str) -> str:
        """Run `command` in the repository of the image, as the user of `place`, and return its standard output."""

    @abstractmethod
    def run_entrypoint(self, name: str, *arguments: str) -> str:
        """Run the image as `docker run` does, with `arguments`, and return its standard output."""

    @abstractmethod
    def run_tests(self, name: str, *command: str) -> None:
        """Run `command` as root, with the right to mount file systems."""

    @abstractmethod
    def interrupt(self, signal: str, name: str, *command: str) -> int:
        """Run `command`, send it `signal` when it has had time to train, and return its exit code."""


class Docker(Engine):
    """docker or podman, as `program`."""

    def __init__(self, program: str, place: Place, base: str | None) -> None:
        super().__init__(place, base)
        self.program = program
        # without root, podman would give the mounted directory to another user
        self._options = ("--userns", "keep-id") if program == "podman" and os.geteuid() else ()

    def build(self, name: str, target: str, dockerfile: str) -> None:
        base = ("--build-arg", f"BASE={self.base}") if self.base else ()
        show(self.program, "build", *base, *_build_options(name, target, dockerfile))

    def run(self, name: str, *command: str) -> str:
        return call(self.program, "run", "--rm", *self._in_repository(self.place.options, name, *command))

    def run_entrypoint(self, name: str, *arguments: str) -> str:
        options = (*self._options, *self.place.options)
        return call(self.program, "run", "--rm", *options, f"caffe-harness:{name}", *arguments)

    def run_tests(self, name: str, *command: str) -> None:
        options = ("--cap-add", "CAP_SYS_ADMIN", "--security-opt", "apparmor=unconfined")
        show(self.program, "run", "--rm", *self._in_repository(options, name, *command))

    def interrupt(self, signal: str, name: str, *command: str) -> int:
        container = call(
            self.program, "run", "--detach", *self._in_repository(self.place.options, name, *command)
        ).strip()
        time.sleep(TRAINS_AFTER)
        call(self.program, "kill", "--signal", signal, container)
        code = int(call(self.program, "wait", container))
        print(call(self.program, "logs", container), file=sys.stderr)
        call(self.program, "rm", container)
        return code

    def _in_repository(self, options: Sequence[str], name: str, program: str, *arguments: str) -> list[str]:
        place = ("--workdir", HOME, "--entrypoint", program)
        return [*self._options, *options, *place, f"caffe-harness:{name}", *arguments]


class Buildah(Engine):
    """buildah as root, on a Debian that debootstrap makes: it needs neither an engine nor a registry of images."""

    def build(self, name: str, target: str, dockerfile: str) -> None:
        show(
            *("buildah", "bud", "--isolation", "chroot", "--pull-never", "--layers"),
            *("--volume", f"{_CERTIFICATES}:/tmp/host.crt:ro", "--build-arg", "PIP_CERT=/tmp/host.crt"),
            *("--build-arg", f"BASE={self.base or _make_base()}", *_build_options(name, target, dockerfile)),
        )

    def run(self, name: str, *command: str) -> str:
        return self._run(self.place.options, name, *command)

    def run_entrypoint(self, name: str, *arguments: str) -> str:
        lines = "{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}"
        entrypoint = call("buildah", "inspect", "--type", "image", "--format", lines, f"caffe-harness:{name}").split()
        return self.run(name, "sh", "-c", 'cd /work && exec "$@"', "sh", *entrypoint, *arguments)

    def run_tests(self, name: str, *command: str) -> None:
        self._run(("--cap-add", "CAP_SYS_ADMIN"), name, *command)

    def interrupt(self, signal: str, name: str, *command: str) -> int:
        try:
            self.run(name, "timeout", "--preserve-status", f"--signal={signal}", str(TRAINS_AFTER + 5), *command)
        except subprocess.CalledProcessError as error:
            return error.returncode
        return 0

    def _run(self, options: Sequence[str], name: str, *command: str) -> str:
        container = call("buildah", "from", f"caffe-harness:{name}").strip()
        try:
            return call(
                "buildah", "run", "--isolation", "chroot", *options, "--workingdir", HOME, container, "--", *command
            )
        finally:
            call("buildah", "rm", container)


def find_engine(place: Place, wanted: str | None, base: str | None) -> Engine:
    """Return the engine that is `wanted`, or docker or podman if one answers, else buildah."""
    for program in ("docker", "podman"):
        if wanted == program or (wanted is None and _answers(program)):
            return Docker(program, place, base)
    return Buildah(place, base)


def call(*command: str) -> str:
    """Run `command` in the repository and return its standard output; standard error is shown.

    Raises:
        CalledProcessError: it failed.
    """
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def show(*command: str) -> None:
    """Run `command` in the repository and show its output.

    Raises:
        CalledProcessError: it failed.
    """
    # DOCKER_BUILDKIT: docker before version 23 uses its old builder by default
    subprocess.run(command, cwd=ROOT, env=os.environ | {"DOCKER_BUILDKIT": "1"}, check=True)


def _answers(program: str) -> bool:
    if shutil.which(program) is None:
        return False
    return subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0


def _build_options(name: str, target: str, dockerfile: str) -> tuple[str, ...]:
    return ("--file", dockerfile, "--target", target, "--tag", f"caffe-harness:{name}", ".")


def _make_base() -> str:
    """Make an image of a minimal Debian 12, unless there is one, and return its name."""
    if subprocess.run(["buildah", "images", "--quiet", _BASE], capture_output=True, check=False).returncode == 0:
        return _BASE
    say("making a Debian with debootstrap")
    with tempfile.TemporaryDirectory() as tree:
        call("debootstrap", "--variant=minbase", "bookworm", tree)
        container = call("buildah", "from", "scratch").strip()
        call("buildah", "add", "--quiet", container, tree, "/")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    call("buildah", "config", "--cmd", "bash", "--env", path, container)
    call("buildah", "commit", "--quiet", container, _BASE)
    call("buildah", "rm", container)
    return _BASE


def command_of(error: subprocess.CalledProcessError) -> str:
    """Return the command that failed, as a shell would take it."""
    return error.cmd if isinstance(error.cmd, str) else shlex.join(error.cmd)
