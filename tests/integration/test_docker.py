"""Checks of the container images without building them; tools.check_docker builds and tries them."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helpers.paths import ROOT
from tests.helpers.processes import command
from tools.check_docker.engines import Buildah, Docker, Place, find_engine

DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))
SERVICES = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]


def joined(dockerfile: Path) -> list[str]:
    """The instructions of a Dockerfile, one a line, without comments."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_the_layer_that_caches_caffe_has_all_that_its_build_needs(dockerfile: Path, tmp_path: Path) -> None:
    """It builds what a checkout builds: the key is the same."""
    options = ""
    for line in joined(dockerfile):
        if line.startswith("ENV CAFFE_HARNESS_SETUP"):
            options = line
        if line.startswith("RUN tools/setup"):
            break
        if line.startswith("COPY"):
            *names, place = line.split()[1:]
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, tmp_path / place)
                else:
                    (tmp_path / place).mkdir(exist_ok=True)
                    shutil.copy(ROOT / name, tmp_path / place)
    program = (sys.executable, "-m", "tools.caffe_build.build_caffe", "--key")
    ours, theirs = command(*program, cwd=ROOT), command(*program, cwd=tmp_path)
    assert ours.code == 0, ours.stderr
    assert theirs == ours
    locks = {path.name for path in tmp_path.glob("requirements*.lock")}
    assert locks == {"requirements.lock", *(["requirements-cuda.lock"] if "--cuda" in options else [])}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_run_as_a_user_and_are_the_harness(dockerfile: Path) -> None:
    lines = joined(dockerfile)
    last = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM")) :]
    assert last[-2] == 'ENTRYPOINT ["caffe-harness", "run"]'
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER 1000"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_built_from_existing_files(name: str) -> None:
    build = SERVICES[name]["build"]
    dockerfile = ROOT / "docker" / build["context"] / build["dockerfile"]
    stages = re.findall(r"^FROM .* AS (\S+)$", dockerfile.read_text(), re.MULTILINE)
    assert build.get("target", "run") in stages
    assert stages[-1] == "run"
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), "reachable from outside"


# tools.check_docker, with programs in the places of docker and buildah


USER = "4321:4321"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts a script on the path in the place of a program, and returns the file that it writes its arguments to."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def make(program: str, script: str) -> Path:
        path, log = tmp_path / "bin" / program, tmp_path / f"{program}.log"
        path.write_text(f'#!/usr/bin/env bash\necho "$*" >>{log}\n{script}\n')
        path.chmod(0o755)
        return log

    return make


def test_docker_is_used_as_a_user_does(stand_in: Callable[..., Path], tmp_path: Path) -> None:
    log = stand_in("docker", "exit 0")
    engine = find_engine(Place(tmp_path, USER), None, "debian:mine")
    assert isinstance(engine, Docker)
    engine.build("cpu", "run", "docker/cpu/Dockerfile")
    engine.run_entrypoint("cpu", "--help")
    engine.run("cpu", "caffe-harness", "--version")
    engine.run_tests("tests", "tools/test")
    mounted = f"--user {USER} --volume {tmp_path}:/work"
    assert log.read_text().splitlines() == [
        "info",
        "build --build-arg BASE=debian:mine --file docker/cpu/Dockerfile --target run --tag caffe-harness:cpu .",
        f"run --rm {mounted} caffe-harness:cpu --help",
        f"run --rm {mounted} --workdir /opt/caffe-harness --entrypoint caffe-harness caffe-harness:cpu --version",
        "run --rm --cap-add CAP_SYS_ADMIN --security-opt apparmor=unconfined --workdir /opt/caffe-harness "
        "--entrypoint tools/test caffe-harness:tests",
    ]


def test_an_interrupted_container_has_its_exit_code(
    stand_in: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.check_docker.engines.TRAINS_AFTER", 0)
    log = stand_in("docker", "[[ $1 != run ]] || echo c0ffee; [[ $1 != wait ]] || echo 130")
    assert Docker("docker", Place(tmp_path, USER), None).interrupt("TERM", "cpu", "tools/demo", "/work/run") == 130
    assert log.read_text().splitlines()[1:] == ["kill --signal TERM c0ffee", "wait c0ffee", "logs c0ffee", "rm c0ffee"]


def test_without_an_engine_buildah_runs_the_entrypoint(stand_in: Callable[..., Path], tmp_path: Path) -> None:
    stand_in("docker", "exit 1")
    log = stand_in("buildah", "[[ $1 != inspect ]] || printf 'caffe-harness\\nrun\\n'; [[ $1 != from ]] || echo c0ffee")
    engine = find_engine(Place(tmp_path, USER), None, None)
    assert isinstance(engine, Buildah)
    engine.run_entrypoint("cpu", "--until", "100")
    *_, run, removed = log.read_text().splitlines()
    assert run == (
        f"run --isolation chroot --user {USER} --volume {tmp_path}:/work --workingdir /opt/caffe-harness c0ffee -- "
        'sh -c cd /work && exec "$@" sh caffe-harness run --until 100'
    )
    assert removed == "rm c0ffee"


def test_a_failed_command_is_named(stand_in: Callable[..., Path]) -> None:
    stand_in("docker", "[[ $1 == info ]]")
    done = command(sys.executable, "-m", "tools.check_docker", "tests")
    assert done.code == 1
    assert done.stderr.splitlines()[0] == "check_docker: failed with exit code 1: docker build --file " + (
        "docker/cpu/Dockerfile --target run --tag caffe-harness:cpu ."
    )


def test_an_unknown_image_is_named() -> None:
    done = command(sys.executable, "-m", "tools.check_docker", "fast")
    assert done.code == 2
    assert "there is no image fast; there are notebooks, gpu, tests" in done.stderr
