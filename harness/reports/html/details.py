"""Details of a run: the list of names and values at the head of a page."""

from __future__ import annotations

import numpy as np

from harness.quantities import duration
from harness.reports.html.subject import Subject
from harness.reports.text.exactness import summary
from harness.reports.text.grammar import count
from harness.schemas.run_info import RunInfo


def run_details(subject: Subject) -> list[tuple[str, str]]:
    """Collect names and values."""
    info, recording = subject.info, subject.recording
    iterations = recording.iterations
    span = f"{iterations[0]:,} to {iterations[-1]:,}" if len(iterations) else "none"
    weights = sum(param.count for param in recording.params)
    rows = [
        ("Solver", info.solver_file),
        ("Net", f"{_net_name(info)}, {len(recording.params)} param blobs, {weights:,} weights"),
        ("Iterations", f"{span} of {info.until:,}"),
        ("Training time", duration(float(np.nansum(recording.series("seconds"))))),
        ("Started", info.started),
        ("Caffe", f"{info.caffe.get('version', 'unknown')}, {info.mode}, {count(info.blas_threads, 'BLAS thread')}"),
        ("Random seed", f"{info.random_seed}{' (drawn)' if info.random_seed_drawn else ''}"),
        ("Data", "; ".join(f"{name}: {source.records:,} records" for name, source in info.data.items()) or "none"),
        ("Initial weights", ", ".join(info.weights) or info.resume or "as initialised by the net"),
        ("Windows", ", ".join(map(str, recording.windows)) or "none"),
        ("Exactness", summary(info, subject.run / "run.json")),
    ]
    if info.skip_records:
        first, *more = info.skip_records
        left_out = count(len(info.skip_records), "record")
        rows.append(("Left out of the data", f"{left_out}: {first}{f' and {len(more):,} more' if more else ''}"))
    if subject.children:
        rows.append(("Restarts", "; ".join(subject.children)))
    return rows


def _net_name(info: RunInfo) -> str:
    """The name of the net, with which its text begins if it has one."""
    first = info.net.partition("\n")[0]
    return first.removeprefix("name: ").strip('"') if first.startswith("name: ") else "unnamed"
