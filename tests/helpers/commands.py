"""The commands of the harness and `caffe train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.paths import BIN, ROOT
from tests.helpers.preloaded import harness_command
from tests.helpers.processes import PATIENCE, Finished, command

RUN = ROOT / "harness/run.py"
RESTART = ROOT / "harness/restart.py"


@dataclass(frozen=True)
class Trained:
    """A run of the harness that has ended: its directory, and what it printed."""

    run: Path
    code: int
    stdout: str
    stderr: str


def train(
    solver: Path,
    run: Path,
    *options: object,
    code: int | None = 0,
    cwd: Path = ROOT,
    timeout: float = PATIENCE,
    env: Mapping[str, str] | None = None,
) -> Trained:
    """Run `python harness/run.py --solver SOLVER --out RUN OPTIONS`, which must exit with `code` (None: with any)."""
    done = harness_command("run", "--solver", solver, "--out", run, *options, cwd=cwd, timeout=timeout, env=env)
    assert code is None or done.code == code, done.stderr[-3000:]
    return Trained(run, done.code, done.stdout, done.stderr)


def restart(run: Path | str, *options: object, code: int | None = 0, cwd: Path = ROOT) -> Finished:
    """Run `python harness/restart.py RUN OPTIONS`, which must exit with `code` (None: with any)."""
    done = harness_command("restart", run, *options, cwd=cwd)
    assert code is None or done.code == code, done.stderr[-3000:]
    return done


def rewind(run: Path, *options: object, code: int | None = 0) -> Finished:
    """Run `python harness/rewind.py RUN OPTIONS`, which must exit with `code` (None: with any)."""
    done = harness_command("rewind", run, *options)
    assert code is None or done.code == code, done.stderr[-3000:]
    return done


def caffe_train(solver: Path, *options: object, cwd: Path = ROOT) -> str:
    """Run a plain `caffe train`, which must succeed, and return its log."""
    done = command(BIN / "caffe", "train", f"--solver={solver}", *options, cwd=cwd)
    assert done.code == 0, done.stderr[-2000:]
    return done.stderr
