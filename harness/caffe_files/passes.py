"""Forward passes of a solver: when it tests, and in which order its nets take batches (Solver::Step, solver.cpp)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.caffe_files.messages import pb


def schedule(solver: pb.SolverParameter, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the passes of iterations `first` … `last`-1 in their order (Solver::Step).

    Each item is the number of a net, 0 for the train net and k for test net k-1, and how many batches it takes.
    """
    trained = first
    for iteration in _multiples(solver.test_interval, first, last):
        if tests_at(solver, iteration):
            if iteration > trained:
                yield 0, (iteration - trained) * solver.iter_size
            yield from enumerate((max(n, 0) for n in solver.test_iter), 1)
            trained = iteration
    if last > trained:
        yield 0, (last - trained) * solver.iter_size


def tests_at(solver: pb.SolverParameter, iteration: int) -> bool:
    """Check whether Caffe tests before `iteration` (Solver::Step)."""
    due = solver.test_interval > 0 and iteration % solver.test_interval == 0
    return bool(due and (iteration > 0 or solver.test_initialization))


def _multiples(interval: int, first: int, last: int) -> range:
    return range(-(-first // interval) * interval, last, interval) if interval > 0 else range(0)
