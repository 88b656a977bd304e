"""What can be checked of the images without building them; tools/check_docker builds and tries them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.paths import ROOT

DOCKERFILES = sorted((ROOT / "docker").glob("*/Dockerfile"))
SERVICES = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]


def joined(dockerfile: Path) -> list[str]:
    """Its instructions, one a line, without comments."""
    text = re.sub(r"^#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_the_layer_that_caches_caffe_has_all_that_its_build_needs(dockerfile: Path, tmp_path: Path) -> None:
    """And builds what a checkout builds: the key is the same."""
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
    program = [sys.executable, "-m", "tools.caffe_build.build_caffe", "--key"]
    keys = [
        subprocess.run(program, cwd=tree, capture_output=True, text=True, check=True).stdout
        for tree in (tmp_path, ROOT)
    ]
    assert keys[0] == keys[1]
    locks = {path.name for path in tmp_path.glob("requirements*.lock")}
    assert locks == {"requirements.lock", *(["requirements-cuda.lock"] if "--cuda" in options else [])}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_run_as_a_user_and_are_the_harness(dockerfile: Path) -> None:
    lines = joined(dockerfile)
    last = lines[max(n for n, line in enumerate(lines) if line.startswith("FROM")) :]
    assert last[-2].endswith('"/opt/caffe-harness/harness/run.py"]')
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER 1000"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_built_from_what_is_there(name: str) -> None:
    build = SERVICES[name]["build"]
    dockerfile = ROOT / "docker" / build["context"] / build["dockerfile"]
    stages = re.findall(r"^FROM .* AS (\S+)$", dockerfile.read_text(), re.MULTILINE)
    assert build.get("target", "run") in stages
    assert stages[-1] == "run"
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), "reachable from outside"
