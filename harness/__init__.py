"""Record, diagnose and restart training runs of BVLC Caffe.

The names in `__all__` are the public API, together with the functions of `harness.reports.figures`. They are imported
when they are first used, so that `import harness` itself loads nothing.

Example:
    >>> import harness
    >>> run = harness.open_run("runs/demo")
    >>> print(run.onset)
    >>> run.layer("conv1/7x7_s2").gradient_l2
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.api.layer import Layer
    from harness.api.lineage import Lineage
    from harness.api.logs import read_log
    from harness.api.run import Run
    from harness.api.runs import diagnose, exactness, explanation, open_lineage, open_run, predict, restarts, suggest
    from harness.diagnosis.recorded.diagnose import Diagnosis
    from harness.errors import BadInput, RecordingError
    from harness.recording.reader import Recording
    from harness.reports.log_result import LogResult
    from harness.schemas.explanation import Explanation
    from harness.schemas.rewind import Rewind
    from harness.schemas.window import Window

__version__ = "0.2.0"

__all__ = [
    "BadInput",
    "Diagnosis",
    "Explanation",
    "Layer",
    "Lineage",
    "LogResult",
    "Recording",
    "RecordingError",
    "Rewind",
    "Run",
    "Window",
    "diagnose",
    "exactness",
    "explanation",
    "open_lineage",
    "open_run",
    "predict",
    "read_log",
    "restarts",
    "suggest",
]

_MODULES = {
    "BadInput": "harness.errors",
    "Diagnosis": "harness.diagnosis.recorded.diagnose",
    "Explanation": "harness.schemas.explanation",
    "Layer": "harness.api.layer",
    "Lineage": "harness.api.lineage",
    "LogResult": "harness.reports.log_result",
    "Recording": "harness.recording.reader",
    "RecordingError": "harness.errors",
    "Rewind": "harness.schemas.rewind",
    "Run": "harness.api.run",
    "Window": "harness.schemas.window",
    "diagnose": "harness.api.runs",
    "exactness": "harness.api.runs",
    "explanation": "harness.api.runs",
    "open_lineage": "harness.api.runs",
    "open_run": "harness.api.runs",
    "predict": "harness.api.runs",
    "read_log": "harness.api.logs",
    "restarts": "harness.api.runs",
    "suggest": "harness.api.runs",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
