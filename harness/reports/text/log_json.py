"""Write the diagnosis of a log as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TextIO

from harness.diagnosis.approach import Approach
from harness.diagnosis.logged.course import Overfitting
from harness.diagnosis.logged.findings import Deviations, HeadFinding, RecordRange, Schedule
from harness.diagnosis.logged.tracks import TOTAL
from harness.output import visible_json
from harness.reports.log_result import LogResult


def write_json(runs: Sequence[LogResult], out: TextIO) -> None:
    """Write one object: that of the last run, with those of all runs in `runs`."""
    objects = [_run(result) for result in runs]
    ascii_only = not (out.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(objects[-1] | {"runs": objects}, allow_nan=False, indent=2, ensure_ascii=ascii_only)
    out.write(f"{visible_json(text)}\n")


def _run(result: LogResult) -> dict[str, Any]:
    found, log, suggestions = result.findings, result.run, result.suggestions
    jump, onset, last_good, nans = found.jump, found.onset, found.last_good, found.nans
    return {
        "log": result.name,
        "run": result.number,
        "iterations": None if result.extent is None else list(result.extent),
        "lines": [log.first_line, log.last_line],
        "started": log.started,
        "last": log.last,
        "displays": found.coverage.displays,
        "verdict": found.verdict,
        "strength": found.strength,
        "never_learned": found.why == "never learned" and found.verdict == "uniform-softmax",
        "jump_iteration": None if jump is None else jump.iteration,
        "onset": None if onset is None else {"estimate": onset.estimate, "low": onset.low, "high": onset.high},
        "before_jump": None if jump is None or jump.approach is None else _approach(jump.approach),
        "heads": [_head(head) for head in found.heads if head.name != TOTAL],
        "suggested_watch": None if jump is None else str(jump.watch),
        "last_good_snapshot": None if last_good is None else {"iteration": last_good[0], "file": last_good[1]},
        "loss": {name: _number(getattr(found.trend, name)) for name in ("start", "best", "end")},
        "schedule": None if found.schedule is None else _schedule(found.schedule),
        "data": None if jump is None or jump.records is None else _records(jump.records),
        **_deviations(found.deviations),
        "period": None if found.leaps is None else found.leaps.period,
        "nans": None if nans is None else {"first": nans.first, "count": nans.count, "lasting": nans.lasting},
        "overfitting": None if found.overfitting is None else _overfitting(found.overfitting),
        "resumed_from": found.lifecycle.resumed_from,
        "resumed_at": found.lifecycle.resumed_at,
        "weights_from": list(log.weights_from),
        "other_solvers": log.other_solvers,
        "rank": log.rank or None,
        "outputs_left_out": log.outputs_left_out,
        "finished": found.lifecycle.finished,
        "fatal": found.lifecycle.fatal,
        "findings": [*result.sentences, *(f"{s.purpose}: {s.command}" for s in suggestions[-1:])],
        "commands": [{"purpose": s.purpose, "command": s.command} for s in suggestions],
    }


def _head(head: HeadFinding) -> dict[str, Any]:
    return {
        "name": head.name,
        "weight": _number(head.weight),
        "classes": head.classes,
        "about": head.approximate,
        "classes_from": head.source,
        "state": head.state,
        "loss": _number(head.loss),
    }


def _approach(found: Approach) -> dict[str, Any]:
    return {
        "displays": found.levels * found.width,
        "low": _number(found.low),
        "high": _number(found.high),
        "turns": found.turns,
        "rise": _number(found.rise),
        "jump_displays": found.took,
        "course": found.course,
    }


def _schedule(schedule: Schedule) -> dict[str, Any]:
    return {
        "agrees_with_solver": schedule.agrees,
        "policy": schedule.policy,
        "base_lr": _number(schedule.base_lr),
        "power": _number(schedule.power),
        "gamma": _number(schedule.gamma),
        "max_iter": schedule.max_iter,
        "rises": [{"iteration": i, "from": _number(a), "to": _number(b)} for i, a, b in schedule.rises],
    }


def _records(records: RecordRange) -> dict[str, Any]:
    return {"epoch": records.epoch, "first_record": records.first, "last_record": records.last}


def _overfitting(found: Overfitting) -> dict[str, Any]:
    return {
        "output": found.name,
        "best": {"iteration": found.best[0], "value": _number(found.best[1])},
        "last": {"iteration": found.last[0], "value": _number(found.last[1])},
        "training": {"at_best": _number(found.training[0]), "at_end": _number(found.training[1])},
    }


def _deviations(found: Deviations) -> dict[str, Any]:
    return {
        "spikes": [
            {"first": s.first, "last": s.last, "value": _number(s.value), "usual": _number(s.baseline)}
            for s in found.spikes
        ],
        "excursions": [
            {"first": e.first, "last": e.last, "level": _number(e.level), "usual": _number(e.baseline)}
            for e in found.excursions
        ],
    }


def _number(value: float | None) -> float | None:
    """Replace what JSON cannot represent with null."""
    return None if value is None or not math.isfinite(value) else float(value)
