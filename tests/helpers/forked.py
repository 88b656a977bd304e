"""Processes of the harness that are forked from the process that starts them, instead of importing all that it has.

Half of the time of a short training is the import of Caffe in its worker. This module is for the fork server of
preloaded.py: importing it loads Caffe and the modules that the harness runs with `python -P -m`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from harness.blas_kernels import CORETYPE
from harness.worker.blas import loaded_blas
from tests.helpers.paths import ROOT

_MODULES = (
    "harness.worker.main",  # first: it imports Caffe as every worker does
    "harness.worker.arms.main",
    "harness.worker.predict",
    "harness.prefetch.main",
    "harness.studies.leg_process",
)
_STARTED_WITH = dict(os.environ)  # before cv2 changes it
for _module in _MODULES:
    importlib.import_module(_module)

_READ_AT_THE_START = ("PYTHON", "LD_", "MALLOC_", "GLIBC_", "OPENBLAS_", "OMP_", "GLOG_", "HDF5_")
_BLAS = loaded_blas()


class ForkedPopen(subprocess.Popen):  # type: ignore[type-arg]
    """Popen that forks where the new process would be the same: `python -P -m` of a module that is imported here.

    It executes what it is given where that differs: this process has threads, or open HDF5 files, whose descriptors
    would be closed; or the environment has other variables that Python or a library reads as it starts.
    """

    def _execute_child(  # type: ignore[no-untyped-def]
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
        restore_signals, gid, gids, uid, umask, start_new_session, *others,
    ) -> None:  # fmt: skip
        if not _is_the_same(args, env):
            super()._execute_child(  # type: ignore[misc]
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
                p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
                restore_signals, gid, gids, uid, umask, start_new_session, *others,
            )  # fmt: skip
            return
        self.pid = os.fork()
        if self.pid == 0:
            _run(list(map(os.fspath, args)), env, cwd, start_new_session, (p2cread, c2pwrite, errwrite), pass_fds)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _is_the_same(command: Sequence[Any], env: Mapping[str, str] | None) -> bool:
    known = list(command[:3]) == [sys.executable, "-P", "-m"] and command[3] in _MODULES
    has_threads = len(list(Path("/proc/self/task").iterdir())) > 1
    has_open_files = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) > 0
    return known and env is not None and _loaded(env) == _HERE and not has_threads and not has_open_files


def _loaded(env: Mapping[str, str]) -> dict[str, str]:
    """Return what Python and the libraries read as a process starts with `env`."""
    read = {name: value for name, value in env.items() if name.startswith(_READ_AT_THE_START)}
    paths = read.pop("PYTHONPATH", "").split(os.pathsep)
    core = read.pop(CORETYPE, _DEFAULT_CORE)
    return read | {"paths": os.pathsep.join(path for path in paths if path and path != str(ROOT)), "core": core or ""}


_DEFAULT_CORE = None if CORETYPE in _STARTED_WITH else _BLAS.core
_HERE = _loaded(_STARTED_WITH)


def _run(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str | None,
    start_new_session: bool,
    standard: Sequence[int],
    kept: Sequence[int],
) -> None:
    """Run `python -P -m MODULE ARGUMENTS` in this process, which has just been forked, and end it."""
    code: object = 1
    try:
        atexit._clear()
        if start_new_session:
            os.setsid()
        for descriptor, source in enumerate(standard):
            if source != -1:
                os.dup2(source, descriptor)
        _close_all_but({0, 1, 2, *kept})
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if cwd is not None:
            os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
        sys.argv = ["-m", *command[4:]]
        del sys.modules[command[3]]  # it is executed anew, as __main__
        runpy.run_module(command[3], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)  # nothing else of the process that was copied may run here


def _close_all_but(kept: set[int]) -> None:
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor not in kept:
            with contextlib.suppress(OSError):  # that of the listing
                os.close(descriptor)
    for descriptor in kept:
        os.set_inheritable(descriptor, True)
