"""Fill the black box: inputs at every iteration, and what params have of it if that costs next to nothing.

On a GPU, params are not kept: to copy them to the host would take longer than an iteration may.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.recording.black_box import MOST_SLOTS, BlackBox
from harness.recording.ring import Part
from harness.schemas.captures import PARAM_CAPTURES
from harness.schemas.layout import Array
from harness.worker.probes.blobs import ParamProbe
from harness.worker.probes.capture import InputCapture, param_arrays

_SHARE = 0.005  # of an iteration, that copying weights, gradients and updates may take: what Caffe then no longer finds
# in the caches costs as much again
_LEAST = 32  # iterations for which there must be room with them
_REACH = 2.0  # seconds for which there must be, if there is not for MOST_SLOTS iterations: an alarm comes that late
_MEASURED = 8  # iterations after which it is decided


class BlackBoxFiller:
    """Copies what Caffe computes into `box`, one iteration after the other.

    Args:
        history: of the solver; empty if it is not captured.
        capture: what may be kept, some of ALL_CAPTURES.
        iterations: those of the run.

    Attributes:
        arrays: what it may keep of an iteration, in the order of ALL_CAPTURES; empty if it keeps nothing.
        active: whether an iteration is being kept.
    """

    def __init__(
        self,
        box: BlackBox,
        params: ParamProbe,
        history: Sequence[Part],
        inputs: InputCapture | None,
        capture: Sequence[str],
        iterations: range,
    ) -> None:
        self._box = box
        self._iterations = iterations
        self._kinds = [kind for kind in (*PARAM_CAPTURES, "history") if kind in capture]
        sources = {"weight": params.data, "gradient": params.diff, "update": params.diff, "history": history}
        self._copies = {kind: _Copy(sources[kind]) for kind in self._kinds}
        self._inputs = inputs
        input_arrays = inputs.arrays() if inputs is not None else ()
        self._input_bytes = sum(array.nbytes for array in input_arrays)
        self._param_bytes = sum(copy.nbytes for copy in self._copies.values())
        self.arrays: tuple[Array, ...] = (*param_arrays(params, capture, len(history)), *input_arrays)
        self._spent = 0.0  # seconds of this iteration, with copies of params
        self._measured: list[tuple[float, float]] = []  # those of the first iterations, and what Caffe took
        self._slot: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._digest = 0
        self.active = False
        on_host = all(isinstance(part, np.ndarray) for part in (*params.data, *history))
        with_params = on_host and box.room(self._param_bytes + self._input_bytes) >= _LEAST and self._param_bytes > 0
        box.lay_out(self._input_bytes + with_params * self._param_bytes, with_params, iterations)
        if not box.slots:
            self.arrays = ()

    def _part(self, slot: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.uint8]:
        """Return the part of a slot that holds the arrays of `kind`, or the inputs."""
        kinds = self._kinds if self._box.has_params else []
        start = 0
        for other in kinds:
            size = self._copies[other].nbytes
            if other == kind:
                return slot[start : start + size]
            start += size
        return slot[start:]

    def begin(self, iteration: int, digest: int) -> None:
        """Start an iteration that is to be kept, before Caffe makes it; `digest` is that of its weights."""
        if not self.arrays:
            return
        self.active, self._digest, self._spent = True, digest, 0.0
        self._slot = self._box.begin(iteration)
        self.keep("weight")
        self.keep("history")

    @property
    def inputs(self) -> npt.NDArray[np.float32] | None:
        """The memory for the inputs of the iteration, for InputCapture; None if it is not kept."""
        return self._part(self._slot, "input").view(np.float32) if self.active and self._inputs is not None else None

    def keep(self, kind: str) -> None:
        """Copy what the params have of `kind` in this iteration, at the time at which Caffe has it."""
        if self.active and self._box.has_params and kind in self._copies:
            started = time.perf_counter()
            self._copies[kind].into(self._part(self._slot, kind))
            self._spent += time.perf_counter() - started

    def complete(self, iteration: int, seconds: float) -> None:
        """End an iteration; Caffe took `seconds` for it. One whose inputs changed their shape does not count."""
        if not self.active:
            return
        self.active = False
        if self._inputs is None or not self._inputs.changed:
            self._box.complete(iteration, self._digest)
        if self._box.has_params and len(self._measured) < _MEASURED:
            self._measured.append((self._spent, seconds))
            if len(self._measured) == _MEASURED and not self._can_afford_params():
                self._leave_params_out()

    def _can_afford_params(self) -> bool:
        """Check that keeping params takes a small share of an iteration, and that they last."""
        spent, seconds = (float(median) for median in np.median(self._measured, axis=0))
        slots = self._box.slots
        return spent <= _SHARE * seconds and (slots == MOST_SLOTS or slots * seconds >= _REACH)

    def _leave_params_out(self) -> None:
        """Keep inputs only from now on, with those that were kept before."""
        kept = [found for found in map(self._box.read, self._box.iterations) if found is not None]
        self._box.lay_out(self._input_bytes, False, self._iterations[_MEASURED:])
        if not self._box.slots:
            self.arrays = ()
            return
        for old in kept:
            self._box.begin(old.iteration)[:] = np.frombuffer(old.arrays, np.uint8)[self._param_bytes :]
            self._box.complete(old.iteration, old.digest)


class _Copy:
    """Copies the same arrays again and again, with one call."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.nbytes = sum(part.nbytes for part in parts)
        self._flat = [part.reshape(-1) for part in parts if isinstance(part, np.ndarray)]  # views: Caffe's memory stays

    def into(self, target: npt.NDArray[np.uint8]) -> None:
        """Fill `target`, which has `nbytes` bytes."""
        np.concatenate(self._flat, out=target.view(np.float32))
