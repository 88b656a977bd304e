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
    onset = found.onset
    schedule = found.schedule
    return {
        "log": run.name,
        "run": run.number,
        "iterations": None if run.extent is None else list(run.extent),
        "lines": [run.run.first_line, run.run.last_line],
        "started": run.run.started,
        "last": run.run.last,
        "displays": found.displays,
        "verdict": found.verdict,
        "jump_iteration": found.jump,
        "onset": None if onset is None else {"estimate": onset.estimate, "low": onset.low, "high": onset.high},
        "heads": [
            {
                "name": h.name,
                "weight": _number(h.weight),
                "classes": h.classes,
                "about": h.about,
                "classes_from": h.source,
                "state": h.state,
                "loss": _number(h.loss),
            }
            for h in found.heads
            if h.name != TOTAL
        ],
        "suggested_watch": None if found.watch is None else "{}:{}".format(*found.watch),
        "last_good_snapshot": None
        if run.last_good is None
        else {"iteration": run.last_good[0], "file": run.last_good[1]},
        "loss": {"start": _number(found.start), "best": _number(found.best), "end": _number(found.loss)},
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
        if found.position is None
        else {
            "epoch": found.position.epoch,
            "first_record": found.position.first,
            "last_record": found.position.last,
        },
        "spikes": [
            {"first": s.first, "last": s.last, "value": _number(s.value), "usual": _number(s.usual)}
            for s in found.spikes
        ],
        "excursions": [
            {"first": e.first, "last": e.last, "level": _number(e.level), "usual": _number(e.usual)}
            for e in found.excursions
        ],
        "nans": None
        if found.nans is None
        else {"first": found.nans.first, "count": found.nans.count, "lasting": found.nans.lasting},
        "resumed_from": found.resumed_from,
        "resumed_at": found.resumed_at,
        "weights_from": list(run.run.weights_from),
        "other_solvers": run.run.other_solvers,
        "finished": found.finished,
        "fatal": found.fatal,
        "findings": run.sentences,
    }


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
