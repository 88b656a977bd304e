"""Write requirements.lock from the dependencies in pyproject.toml, the same pins into environment.yml, and a
requirements-GROUP.lock with what each dependency group adds.

    python -m tools.lock [OPTION…]

Options are uv's: without one, pins that still fit are kept; `--upgrade` takes the newest versions.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.9"
GROUPS = ("cuda", "notebooks", "tests")
_OPTIONS = (
    *("--quiet", "--no-config", "--python-version", "3.11", "--python-platform", "linux"),
    *("--only-binary", ":all:", "--generate-hashes", "--custom-compile-command", "python -m tools.lock"),
)
# PyPI only, whatever index this machine is configured for: the locks contain no names of machines.
_INDEXES = ("UV_INDEX", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    with tempfile.TemporaryDirectory() as scratch:
        venv.create(scratch, with_pip=True)
        subprocess.run([f"{scratch}/bin/pip", "install", "--quiet", UV], check=True)
        write_locks(Path(scratch) / "bin/uv", sys.argv[1:])
    environment = ROOT / "environment.yml"
    environment.write_text(with_pins(environment.read_text(), pins(ROOT / "requirements.lock")))


def write_locks(uv: Path, options: Sequence[str]) -> None:
    """Resolve pyproject.toml. The locks agree with each other, because they are installed together."""
    _compile(uv, options, "requirements.lock", "--group", "build")
    first = [f"--no-emit-package={pin.partition('==')[0]}" for pin in pins(ROOT / "requirements.lock")]
    constraints = ["--constraint=requirements.lock"]
    for group in GROUPS:
        lock = f"requirements-{group}.lock"
        _compile(uv, options, lock, "--group", group, *constraints, *first)
        constraints.append(f"--constraint={lock}")


def pins(lock: Path) -> list[str]:
    """Return the pins of a lock file, as `name==version`."""
    return re.findall(r"^([\w.-]+==[^ ]+)", lock.read_text(), re.MULTILINE)


def with_pins(environment: str, pinned: Sequence[str]) -> str:
    """Return the text of environment.yml with `pinned` as its packages for pip, which are its last entry."""
    before = environment[: environment.index("  - pip:\n")]
    return "".join([before, "  - pip:\n", *(f"      - {pin}\n" for pin in pinned)])


def _compile(uv: Path, options: Sequence[str], lock: str, *more: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in _INDEXES}
    command = [str(uv), "pip", "compile", *_OPTIONS, *options, *more, "pyproject.toml", "--output-file", lock]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)


if __name__ == "__main__":
    main()
