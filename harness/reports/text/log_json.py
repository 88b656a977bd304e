"""Write the diagnosis of a log as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TextIO

from harness.diagnosis.logged.tracks import TOTAL
from harness.reports.log_result import LogResult


def write_json(runs: Sequence[LogResult], out: TextIO) -> None:
    """One object: that of the last run, with those of all runs in `runs`."""
    objects = [_object(run) for run in runs]
    ascii_only = not (out.encoding or "utf-8").lower().startswith("utf")
    json.dump(objects[-1] | {"runs": objects}, out, allow_nan=False, indent=2, ensure_ascii=ascii_only)
    out.write("\n")


def _object(run: LogResult) -> dict[str, Any]:
    found = run.findings
    jump, onset = found.jump, found.onset
    records = None if jump is None else jump.records
    schedule = found.schedule
    return {
        "log": run.name,
        "run": run.number,
        "iterations": None if run.extent is None else list(run.extent),
        "lines": [run.run.first_line, run.run.last_line],
        "started": run.run.started,
        "last": run.run.last,
        "displays": found.coverage.displays,
        "verdict": found.verdict,
        "jump_iteration": None if jump is None else jump.iteration,
        "onset": None if onset is None else {"estimate": onset.estimate, "low": onset.low, "high": onset.high},
        "heads": [
            {
                "name": h.name,
                "weight": _number(h.weight),
                "classes": h.classes,
                "about": h.approximate,
                "classes_from": h.source,
                "state": h.state,
                "loss": _number(h.loss),
            }
            for h in found.heads
            if h.name != TOTAL
        ],
        "suggested_watch": None if jump is None else str(jump.watch),
        "last_good_snapshot": None
        if found.last_good is None
        else {"iteration": found.last_good[0], "file": found.last_good[1]},
        "loss": {
            "start": _number(found.trend.start),
            "best": _number(found.trend.best),
            "end": _number(found.trend.end),
        },
        "schedule": None
        if schedule is None
        else {
            "agrees_with_solver": schedule.agrees,
            "policy": schedule.policy,
            "base_lr": _number(schedule.base_lr),
            "power": _number(schedule.power),
            "gamma": _number(schedule.gamma),
            "max_iter": schedule.max_iter,
            "rises": [{"iteration": i, "from": _number(a), "to": _number(b)} for i, a, b in schedule.rises],
        },
        "data": None
        if records is None
        else {"epoch": records.epoch, "first_record": records.first, "last_record": records.last},
        "spikes": [
            {"first": s.first, "last": s.last, "value": _number(s.value), "usual": _number(s.baseline)}
            for s in found.deviations.spikes
        ],
        "excursions": [
            {"first": e.first, "last": e.last, "level": _number(e.level), "usual": _number(e.baseline)}
            for e in found.deviations.excursions
        ],
        "nans": None
        if found.nans is None
        else {"first": found.nans.first, "count": found.nans.count, "lasting": found.nans.lasting},
        "resumed_from": found.lifecycle.resumed_from,
        "resumed_at": found.lifecycle.resumed_at,
        "weights_from": list(run.run.weights_from),
        "other_solvers": run.run.other_solvers,
        "finished": found.lifecycle.finished,
        "fatal": found.lifecycle.fatal,
        "findings": run.sentences,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
