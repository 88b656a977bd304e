"""Commands of the harness in processes that have imported it already.

A short training takes less time than the imports of the command that starts it. So a command is run in a process that
multiprocessing's fork server forks: the server has imported the commands once, and what their processes run, for which
see forked.py. Apart from that, the process is one of its own, as that of `python harness/run.py`. The tests of the
commands themselves start them as a user does.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.dispatch import start
from tests.helpers.paths import ROOT
from tests.helpers.processes import PATIENCE, Finished

_COMMANDS = ("run", "restart", "explain", "rescue", "sweep", "compare", "rewind", "report", "readlog", "capsule")
_IMPORTED_LATER = ("harness.training_command", "harness.supervisor.restart_plan")
_FORKED = "tests.helpers.forked"
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([_FORKED, __name__, *(f"harness.{name}" for name in _COMMANDS), *_IMPORTED_LATER])


def harness_command(
    name: str, *arguments: object, cwd: Path = ROOT, timeout: float = PATIENCE, env: Mapping[str, str] | None = None
) -> Finished:
    """Run `python harness/NAME.py ARGUMENTS` to its end. `env` is added to this process's environment.

    Variables that Python itself reads as it starts (PYTHONWARNINGS, for one) have no effect.
    """
    given = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as home:
        output = Path(home, "stdout"), Path(home, "stderr")
        process = _PROCESSES.Process(target=_run, args=(name, given, cwd, os.environ | (env or {}), output))
        process.start()
        try:
            process.join(timeout)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired([name, *given], timeout)
        finally:
            process.kill()  # nothing, if it has ended
            process.join()
        stdout, stderr = (path.read_text(errors="replace") if path.exists() else "" for path in output)
        return Finished(process.exitcode, stdout, stderr)


def _run(name: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], output: tuple[Path, Path]) -> None:
    for descriptor, path in enumerate(output, start=1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [str(ROOT / f"harness/{name}.py"), *arguments]
    from tests.helpers.forked import ForkedPopen  # the fork server has imported it, with Caffe

    subprocess.Popen = ForkedPopen  # type: ignore[misc]
    sys.exit(start(name, arguments))
