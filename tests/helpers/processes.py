"""Commands that are run to their end."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.paths import ROOT


@dataclass(frozen=True)
class Finished:
    """A command that has come to its end."""

    code: int
    stdout: str
    stderr: str


def command(*arguments: object, cwd: Path = ROOT, timeout: float = 300, **environment: str) -> Finished:
    """Run a command to its end."""
    done = subprocess.run(
        [str(a) for a in arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=dict(os.environ) | environment,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
