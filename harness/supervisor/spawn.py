"""Start the solver process with its job, and see to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

from harness.processes import child_environment
from harness.recording.ring import Ring
from harness.recording.snapshots import prefix
from harness.supervisor.plan import Plan
from harness.supervisor.resume import Start
from harness.worker.payload import Job, Resume

# What of run.json is repeated beside every snapshot.
_SNAPSHOT_FACTS = ("random_seed", "blas_threads", "caffe", "data", "mode", "gpu", "solver", "net", "test_nets")


@contextmanager
def solver_process(plan: Plan, facts: Mapping[str, Any], ring: Ring, lock: int) -> Iterator[subprocess.Popen[bytes]]:
    """A solver process at work on `plan`; its output is a pipe. It is gone when the block is left.

    It inherits the `ring`, the run directory's `lock`, and a lifeline: a pipe whose other end closes with this process.
    """
    lifeline, held = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.worker.main"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(ring.fd, lifeline, lock),
        env=child_environment(plan.blas_threads),
        start_new_session=True,  # the terminal's Ctrl-C is for the harness process, which passes it on
    )
    os.close(lifeline)
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead already
            process.stdin.write(job_of(plan, facts, ring.fd, lifeline, lock).to_json().encode())
            process.stdin.close()
        yield process
    finally:
        process.kill()
        process.wait()
        os.close(held)


def job_of(plan: Plan, facts: Mapping[str, Any], ring: int, lifeline: int, lock: int) -> Job:
    """What the solver process of `plan` is to do; the last three are file descriptors that it inherits."""
    out = plan.out.resolve()
    solver = type(plan.solver)()
    solver.CopyFrom(plan.solver)
    solver.snapshot_prefix = prefix(out, plan.snapshot_name)
    Path(solver.snapshot_prefix).parent.mkdir(parents=True, exist_ok=True)
    keys = None
    if plan.keys is not None:
        keys = str(out / ".window_keys.npz")
        np.savez(keys, iteration=plan.keys.iteration, key=plan.keys.key, label=plan.keys.label)
    start = plan.start
    about = start.about or facts
    return Job(
        run=str(out),
        solver=text_format.MessageToString(solver),
        solver_type=plan.problem.solver_type,
        nets=(facts["net"], *facts["test_nets"]),
        native=(about["net"], *about["test_nets"]),
        as_written=plan.problem.as_written and not plan.streams,
        gpu=plan.gpu,
        until=plan.until,
        windows=plan.windows,
        capture=plan.capture,
        weights=start.weights,
        resume=_resume(start, plan.replay) if start.iteration else None,
        point=plan.point,
        replay=plan.replay,
        streams=plan.streams,
        blas=about.get("blas") if plan.replay else None,
        heads=plan.heads,
        window_keys=keys,
        label_blob=plan.keys.label_blob if plan.keys else None,
        facts={name: facts[name] for name in _SNAPSHOT_FACTS},
        ring=ring,
        lifeline=lifeline,
        lock=lock,
    )


def _resume(start: Start, exact: bool) -> Resume:
    state = start.state
    digest = start.about.get("weight_digest") if start.about and state and exact else None
    return Resume(
        iteration=start.iteration,
        step=start.step,
        state=str(state.path) if state else None,
        model=str(state.learned_net.resolve()) if state else None,
        digest=digest,
        window=str(start.window) if start.window else None,
        scale=start.scale,
        as_is=state is not None and not state.moved and start.scale is None,
    )
