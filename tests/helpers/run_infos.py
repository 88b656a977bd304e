"""Synthetic metadata of runs."""

from __future__ import annotations

from typing import Any

from harness.schemas.data_position import GeneratorState, TrainingPosition
from harness.schemas.run_info import RunInfo


def run_info(**fields: Any) -> RunInfo:
    """Return a run.json of 60 iterations on the CPU; `fields` replace or add to its fields."""
    defaults: dict[str, Any] = {
        "directory": "/",
        "harness": "0.2.0",
        "started": "2026-11-30T08:00:00+0000",
        "machine": "workstation",
        "solver_file": "solver.prototxt",
        "solver": "base_lr: 0.01\nmax_iter: 60\n",
        "net": 'name: "made up"',
        "test_nets": (),
        "heads": (),
        "relus": (),
        "mode": "CPU",
        "random_seed": 1,
        "random_seed_drawn": False,
        "blas_threads": 1,
        "caffe": {},
        "versions": {},
        "data": {},
        "weights": (),
        "resume": None,
        "parent": None,
        "goes_on_from": None,
        "point": TrainingPosition(0, 1, GeneratorState(0), ()),
        "step": 0,
        "first": 0,
        "until": 60,
        "windows": (),
        "capture": (),
        "on_alarm": "continue",
        "not_exact": (),
    }
    return RunInfo(**defaults | fields)
