"""Two simple ways to get past a break: a tenth of the learning rate, and any candidate that happens to help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from harness.budget import Budget
from harness.diagnosis.cause.case import Case
from harness.diagnosis.recorded.diagnose import diagnose
from harness.diagnosis.rescue.candidates import candidates_of
from harness.diagnosis.rescue.evidence import placed
from harness.diagnosis.rescue.trials import can_be_tried
from harness.explaining.question import question_of
from harness.recording import Recording
from harness.recording.explanation import read_explanation
from harness.recording.snapshots import iterations_of
from harness.schemas.arm import Arm, RateScaled
from harness.schemas.rescue import Candidate
from tools.bench.faults.breaks import Break, is_healthy
from tools.bench.faults.nets import Net
from tools.bench.faults.recording import recorded_losses
from tools.bench.faults.replays import replayed
from tools.bench.faults.truth import breaks_again
from tools.bench.faults.truth_file import read_truth
from tools.bench.rescue.asking import level_of
from tools.bench.rescue.result_file import BASELINES, Alone, Baselines, write_result

_DIVISIONS = 5


def compare(home: Path, net: Net) -> Baselines:
    """Try the baselines on the run in the directory `home` of a fault, which broke."""
    truth, run = read_truth(home), home / "run"
    assert truth.broke is not None
    assert truth.healthy is not None
    assert truth.broken is not None
    broke = Break(truth.broke, truth.healthy, truth.broken)
    before = truth.broke if truth.at is None else min(truth.at, truth.broke)
    start = max((iteration for iteration in iterations_of(run / "snapshots") if iteration <= before), default=0)
    divided = next(_divided(run, net, start), None)
    divisions, level = (None, None) if divided is None else divided
    result = Baselines(divisions, level, tuple(_alone(run, net, broke)))
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
            yield divisions, level_of(losses)


def _alone(run: Path, net: Net, broke: Break) -> Iterator[Alone]:
    """Replay each candidate of the first break once, judged by its losses alone."""
    found = _candidates(run)
    if found is None:
        return
    case, candidates = found
    arms = {one.name: _arm(case, one) for one in candidates if can_be_tried(one)}
    results = replayed(list(arms.values()), case.first, run) if arms else {}
    for one in candidates:
        if one.name not in arms:
            yield Alone(one.name, 0, None)
            continue
        result = results[arms[one.name].key]
        yield Alone(one.name, len(result.loss), not breaks_again(result, broke, net.chance))


def _arm(case: Case, candidate: Candidate) -> Arm:
    stops = [change.stop for change in candidate.changes if isinstance(change, RateScaled) and change.stop is not None]
    until = max([case.until, *(stop + case.after for stop in stops)])
    return Arm(case.start, until - case.start, candidate.changes)


def _candidates(run: Path) -> tuple[Case, Sequence[Candidate]] | None:
    """Return the candidates that rescue has for a run that is explained; None if it sees no break."""
    with Recording(run) as recording:
        found = read_explanation(run)
        question = question_of(recording, diagnose(recording), None, Budget())
    if question is None or found is None or found.verdict.kind == "none":
        return None
    case = placed(question.case, found)
    return case, candidates_of(case, found)
