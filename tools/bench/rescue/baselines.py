"""Two simple ways to get past a break: a tenth of the learning rate, and any change that happens to help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from harness.budget import Budget
from harness.caffe_files.solver import display_interval
from harness.diagnosis.recorded.diagnose import diagnose
from harness.diagnosis.rescue.candidates import candidates_of
from harness.diagnosis.rescue.choosing import Finalist, goes_on_as_healthy
from harness.diagnosis.rescue.evidence import placed
from harness.diagnosis.rescue.trend import level_of
from harness.diagnosis.rescue.trials import restarts_end, try_all
from harness.experiments import Arms, local
from harness.explaining.investigating import drive
from harness.explaining.question import question_of
from harness.explaining.replays import Replays
from harness.recording import Recording
from harness.recording.result_files import read_explanation
from harness.recording.snapshots import iterations_of
from harness.rescuing.healthy import healthy_before
from harness.schemas.arm import Arm, RateScaled
from harness.schemas.listener import NoListener
from harness.supervisor.signals import Interrupts
from tools.bench.faults.breaks import is_healthy
from tools.bench.faults.nets import Net
from tools.bench.faults.recording import recorded_losses
from tools.bench.faults.replays import replayed
from tools.bench.faults.truth_file import read_truth
from tools.bench.rescue.asking import level_of as level_at_end
from tools.bench.rescue.grid import grid_of
from tools.bench.rescue.result_file import BASELINES, Alone, Baselines, write_result

_DIVISIONS = 5
_LOOK = 8  # iterations at the end of a restart whose median tells that it is to be stopped


def compare(home: Path, net: Net) -> Baselines:
    """Try the baselines on the run in the directory `home` of a fault, which broke."""
    truth, run = read_truth(home), home / "run"
    assert truth.broke is not None
    before = truth.broke if truth.at is None else min(truth.at, truth.broke)
    start = max((iteration for iteration in iterations_of(run / "snapshots") if iteration <= before), default=0)
    divided = next(_divided(run, net, start), None)
    divisions, level = (None, None) if divided is None else divided
    explanation = read_explanation(run)
    explained = 0 if explanation is None else explanation.cost.iterations
    result = Baselines(divisions, level, tuple(_alone(run)), explained)
    write_result(home / BASELINES, result)
    return result


def _divided(run: Path, net: Net, start: int) -> Iterator[tuple[int, float | None]]:
    """Train to the end from `start` with a tenth of the rate, then with a tenth of that, and so on, at most five times.

    Yields the number of divisions with which training ends healthy, and its level at the end.
    """
    recorded = recorded_losses(run)[:start]
    for divisions in range(1, _DIVISIONS + 1):
        arm = Arm(start, net.iterations - start, (RateScaled(0.1**divisions, start),))
        (result,) = replayed([arm], start, run).values()
        losses = np.append(recorded, np.array(result.loss))
        if is_healthy(losses, net.chance, net.iterations):
            yield divisions, level_at_end(losses)


def _alone(run: Path) -> Iterator[Alone]:
    """Test each change that may help at the first break as `rescue` does: in arms, and those that heal for longer.

    What explain has found tells from where on, and which records are left out.
    """
    with Recording(run) as recording:
        found = read_explanation(run)
        question = question_of(recording, diagnose(recording), None, Budget())
        tested = recording.test_nets > 0
    if question is None or found is None or found.verdict.kind == "none":
        return
    case = placed(question.case, found)
    derived = [replace(one, shown=0) for one in candidates_of(case, found)]  # random search begins without replays
    known = {one.changes for one in derived}
    candidates = [*derived, *(one for one in grid_of(case) if one.changes not in known)]
    healthy, display = healthy_before(run, case, found, None), display_interval(case.solver)
    with Arms(run, case.first, local(1), NoListener(), Interrupts("stop")) as arms:
        replays = Replays(arms, 0, 1, Budget(), Interrupts("stop"), lambda result: None)
        outcomes = drive(try_all(case, candidates), replays, lambda wanted: None)
        past = [one.candidate for one in outcomes if one.runs and one.gets_past]
        until = restarts_end(case, derived, tested)
        longer = {one.name: Arm(case.start, until - case.start, one.changes) for one in past}
        replays.replay(longer.values())
    for number, one in enumerate(outcomes):
        name, is_derived = one.candidate.name, number < len(derived)
        trained, gets_past, is_good = 0, False, False
        if name in longer:
            loss = replays.found[longer[name].key].loss
            end = Finalist(one.candidate, case.until, loss[case.until - case.start :])
            gets_past = level_of(end.loss, display) <= case.levels.limit
            is_good = gets_past and goes_on_as_healthy(end, case.levels, healthy, display)
            trained = _trained(loss, until - case.start, case.levels.limit)
        tries = None if one.seen is None else gets_past
        yield Alone(name, one.iterations + trained, tries, one.candidate.kind, is_good, is_derived)


def _trained(loss: Sequence[float], count: int, limit: float) -> int:
    """Return how many iterations a restart of `count` trains, which is stopped half-way where its loss is high."""
    last = loss[: count // 2][-_LOOK:]
    is_poor = len(loss) >= count // 2 and not float(np.median(last)) <= limit
    return count // 2 if is_poor else len(loss)
