"""Forward passes of a solver: when it tests, and how many batches its nets take (Solver::Step, solver.cpp)."""

from __future__ import annotations

from harness.caffe_files.messages import pb


def passes_between(solver: pb.SolverParameter, first: int, last: int) -> tuple[int, ...]:
    """Count the batches that the train net and each test net take in iterations `first` … `last`-1 (Solver::Step)."""
    tests = sum(tests_at(solver, t) for t in _multiples(solver.test_interval, first, last))
    return ((last - first) * solver.iter_size, *(tests * max(n, 0) for n in solver.test_iter))


def tests_at(solver: pb.SolverParameter, iteration: int) -> bool:
    """Check whether Caffe tests before `iteration` (Solver::Step)."""
    due = solver.test_interval > 0 and iteration % solver.test_interval == 0
    return bool(due and (iteration > 0 or solver.test_initialization))


def _multiples(interval: int, first: int, last: int) -> range:
    return range(-(-first // interval) * interval, last, interval) if interval > 0 else range(0)
