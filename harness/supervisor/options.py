"""Options of a run from the command line, and the values that they resolve to."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.processes import blas_threads
from harness.schemas.captures import ALL_CAPTURES, CAPTURES
from harness.schemas.layout import Alarm
from harness.schemas.run_info import TrainingSetup

_LARGEST_SEED = (1 << 32) - 1  # Caffe::set_random_seed takes an unsigned int
_LARGEST_INT = (1 << 31) - 1


@dataclass(frozen=True)
class Options:
    """Options of a run, apart from what is trained and from where; None is "not given"."""

    watch: tuple[str, ...] = ()
    out: Path | None = None
    cpu: bool = False
    gpu: int | None = None
    until: int | None = None
    seed: int | None = None
    capture: str = ",".join(CAPTURES)
    snapshot_every: int | None = None
    keep_snapshots: int | None = None
    ring_mib: int = 128
    black_box_mib: int = 256
    data: str = "exact"
    on_alarm: str = "non_finite"
    on_difference: str = "continue"
    skip_records: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """A resumed run continues exactly where the old one was, not at the first record as Caffe does."""
        return self.data == "exact"

    @property
    def stops_at_any(self) -> bool:
        """The run stops at any divergence that a rule finds."""
        return self.on_alarm in ("stop", "rescue")

    def stops_at(self, divergence: Alarm) -> bool:
        """Check whether the run stops where an alarm found a divergence."""
        return self.stops_at_any or self.on_alarm == divergence.rule

    @property
    def captures(self) -> tuple[str, ...]:
        """The kinds of arrays that a window keeps. With the history come the weights: one needs both to restart.

        Raises:
            BadInput: an unknown kind.
        """
        kinds = [part.strip() for part in self.capture.split(",")]
        for kind in kinds:
            if kind not in ALL_CAPTURES:
                raise BadInput(
                    f"{kind!r} cannot be captured",
                    field="--capture",
                    value=self.capture,
                    remedy=f"A comma-separated list of {', '.join(ALL_CAPTURES)}",
                )
        return tuple(dict.fromkeys([*(["weight"] if "history" in kinds else []), *kinds]))

    def check_ranges(self) -> None:
        """Check that every number lies in its range.

        Raises:
            BadInput: one does not.
        """
        _check_range("--seed", self.seed, 0, _LARGEST_SEED)
        _check_range("--snapshot-every", self.snapshot_every, 0, _LARGEST_INT)
        _check_range("--keep-snapshots", self.keep_snapshots, 1, _LARGEST_INT)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        _check_range("--ring-mib", self.ring_mib, 1, memory >> 21)  # at most half of the memory
        _check_range("--black-box-mib", self.black_box_mib, 0, memory >> 21)


def _check_range(field: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise BadInput(f"must be at least {low}", field=field, value=value, remedy=f"Give a number up to {high}")


def until_of(options: Options, solver: pb.SolverParameter, first: int) -> int:
    """Return the iteration before which the run ends; it starts at iteration `first`.

    Raises:
        BadInput: it lies before the start, or after the solver's max_iter.
    """
    until = solver.max_iter if options.until is None else options.until
    if until > solver.max_iter:
        raise BadInput(
            f"the solver ends at max_iter {solver.max_iter}",
            field="--until",
            value=until,
            remedy="Raise max_iter in the solver file (a poly learning rate depends on it)",
        )
    if until <= first:
        raise BadInput(
            "not a number of iterations" if until < 1 else f"the run starts at iteration {first}, nothing is left",
            field="max_iter" if options.until is None else "--until",
            value=until,
            remedy="Give a later iteration" if first else "Give at least 1",
        )
    return int(until)


def gpu_of(options: Options, solver: pb.SolverParameter) -> int | None:
    """Return the GPU to use, or None for the CPU. As for `caffe train`, GPU mode must be asked for.

    Raises:
        BadInput: both --cpu and --gpu are given.
    """
    if options.cpu and options.gpu is not None:
        raise BadInput("cannot be given together with --cpu", field="--gpu", value=options.gpu, remedy="Give one")
    if options.cpu:
        return None
    if options.gpu is not None:
        return options.gpu
    asks = solver.HasField("solver_mode") and solver.solver_mode == pb.SolverParameter.GPU
    return int(solver.device_id) if asks else None


def seed_of(options: Options, solver: pb.SolverParameter, resumed: TrainingSetup | None) -> tuple[int, bool]:
    """Return the random seed, and whether it was drawn here. A `resumed` training keeps its seed."""
    if options.seed is not None:
        return options.seed, False
    if solver.random_seed >= 0:
        return int(solver.random_seed) & _LARGEST_SEED, False  # as Caffe converts it (Solver::Init, solver.cpp)
    if resumed is not None and options.exact:
        return resumed.random_seed, False
    return secrets.randbelow(1 << 31), True


def blas_threads_of(resumed: TrainingSetup | None) -> int:
    """Return the number of BLAS threads, which is pinned because another number gives other bits.

    It is that of the `resumed` training, else what the user's environment says, else all cores.
    """
    return blas_threads() if resumed is None else resumed.blas_threads
