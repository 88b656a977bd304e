"""Ask explain for the cause of a planted run, as a user would, and the baseline that needs replays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import msgspec

from harness.recording.snapshots import iterations_of
from harness.schemas.arm import Arm, RateScaled
from harness.schemas.explanation import Explanation, Kind
from tools.bench.faults.breaks import Break
from tools.bench.faults.nets import Net
from tools.bench.faults.recording import ENVIRONMENT
from tools.bench.faults.replays import replayed
from tools.bench.faults.result_file import Answer, Result, read_result, write_result
from tools.bench.faults.truth import breaks_again
from tools.bench.faults.truth_file import Truth, read_truth
from tools.bench.nets import ROOT

_CAUSES = set(get_args(Kind)) - {"none", "undecided", "machine"}
_LIMIT = 1800  # seconds


def ask(home: Path, net: Net) -> Result:
    """Explain the run in the directory `home` of a fault, unless there is a result already."""
    done = read_result(home)
    if done is not None:
        return done
    truth, run = read_truth(home), home / "run"
    if truth.is_control:
        middle = truth.at if truth.at is not None else 200
        result = Result(_explained(run, "--at", str(middle)), _explained(run))
    else:
        result = Result(_explained(run), divided=_divided(truth, run, net))
    shutil.rmtree(run / "experiments", ignore_errors=True)  # a hundred of them take more room than the runs
    write_result(home, result)
    return result


def _explained(run: Path, *options: str) -> Answer:
    command = [sys.executable, "harness/explain.py", str(run), "--workers", "1", "--json", *options]
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False, timeout=_LIMIT
    )
    seconds = time.perf_counter() - started
    try:
        found = msgspec.json.decode(done.stdout, type=Explanation)
    except msgspec.DecodeError:
        return Answer(done.returncode, "", seconds=seconds, error=done.stderr[-2000:])
    verdict = found.verdict
    return Answer(
        code=done.returncode,
        kind=verdict.kind,
        conditions=tuple(condition.kind for condition in verdict.conditions),
        records=tuple(record.key for record in verdict.records),
        layers=verdict.layers,
        iteration=verdict.iteration,
        identical=None if found.control is None else found.control.identical,
        seconds=seconds,
        iterations=found.cost.iterations,
        arms=sum(arm.runs for arm in found.arms),
        healing=tuple(arm.kind for arm in found.arms if arm.kind in _CAUSES and 2 * arm.heals > arm.runs),
        sentence=verdict.sentence,
    )


def _divided(truth: Truth, run: Path, net: Net) -> bool:
    """Whether the run heals that goes back to its last snapshot before the break, with a tenth of the learning rate."""
    assert truth.broke is not None
    assert truth.healthy is not None
    assert truth.broken is not None
    before = truth.broke if truth.at is None else min(truth.at, truth.broke)
    start = max((iteration for iteration in iterations_of(run / "snapshots") if iteration <= before), default=0)
    (result,) = replayed([Arm(start, net.horizon, (RateScaled(0.1, start),))], start, run).values()
    return not breaks_again(result, Break(truth.broke, truth.healthy, truth.broken), net.chance)
