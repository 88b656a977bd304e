"""Observation of each iteration of a real solver.

before(t)          data is W_t, and the solver's history is that before the update of t
on_start           the test passes of this iteration are over
after_forward      data layers have filled their tops; only where that is gone when gradients are ready
on_gradients_ready diff is the raw gradient, and all activations still hold their values
after(t)           diff is the update that Caffe has just subtracted
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.caffe_files.lr_policy import learning_rate, next_step
from harness.caffe_files.messages import pb
from harness.caffe_files.net_roles import net_roles
from harness.prefetch.record_keys import RecordKeys
from harness.recording.black_box import BlackBox
from harness.recording.ring import Kind, MessagePayload, Part, Ring
from harness.schemas.captures import ALL_CAPTURES
from harness.schemas.events import Note, OtherLabels, OtherShape
from harness.schemas.layout import SLAB, Array, Layout, all_finite, inputs_finite, runs
from harness.schemas.window import clip
from harness.worker.black_box import BlackBoxFiller
from harness.worker.layer_state import State
from harness.worker.pass_sums import PassLosses, TestPass
from harness.worker.payload import Payload
from harness.worker.probes.blobs import (
    ActivationProbe,
    LossProbe,
    OutputProbe,
    ParamProbe,
    losses_beside_outputs,
    source_layers,
)
from harness.worker.probes.capture import InputCapture, param_arrays
from harness.worker.probes.inputs import InputProbe
from harness.worker.probes.lasting_inputs import inputs_last
from harness.worker.probes.memory import Memory
from harness.worker.pycaffe import Blob, Floats, Solver


class Channel(Protocol):
    """The receiver of messages."""

    ring: Ring

    def put(
        self, kind: Kind, payload: MessagePayload, *, iteration: int = 0, index: int = 0, start: int = 0
    ) -> None: ...

    def send(self, note: Note) -> None: ...


@dataclass(frozen=True)
class _Transfer:
    """Arrays of a group that travel in one message, or one array that is too large for a message, in slabs.

    `index` is the number of the first array in the layout; `first` and `stop` are positions in the group; `slabs` are
    (start, stop) along the first axis.
    """

    index: int
    first: int
    stop: int
    slabs: list[tuple[int, int]]


class Observer:
    """Observes `solver`, puts window arrays, activations and test passes on `channel`, and fills `box`.

    Args:
        solver: the solver that will be stepped.
        net: the message of its train net.
        payload: windows, capture, and where the run starts and ends.
        channel: where messages go.
        param: the solver's message.
        memory: access to the solver's blobs.
        box: the black box.
        history: gives the blobs of the solver's history, given the shapes of its params; called if it is captured.
        layers: gives the state that layers keep outside their params; None where it cannot be read.

    Attributes:
        layout: shapes and names of everything that is recorded.
        params: probe of the learnable blobs.
        loss: probe of the train net's loss.
    """

    def __init__(
        self,
        solver: Solver,
        net: pb.NetParameter,
        payload: Payload,
        channel: Channel,
        param: pb.SolverParameter,
        memory: Memory,
        box: BlackBox,
        history: Callable[[Sequence[tuple[int, ...]]], Sequence[Blob]],
        layers: Callable[[], State | None],
    ) -> None:
        self._solver, self._channel, self._param, self._memory = solver, channel, param, memory
        self._display, self._iter_size = param.display, param.iter_size
        self._step = payload.resume.step if payload.resume else 0
        self._changes_in_steps = param.lr_policy in ("fixed", "step", "multistep")
        self._rate: float | None = None  # of the last iteration
        self._iteration = solver.iter
        self._nonfinite = self._bad_input = False  # since some iteration
        self.params = ParamProbe(solver.net, net, memory, payload.info.digest_kind)
        self._activations = ActivationProbe(solver.net, memory)
        self._outputs = OutputProbe(
            solver.net, memory, losses_beside_outputs(solver.net, net, [head.name for head in payload.heads])
        )
        self.loss = LossProbe(solver.net, self._outputs, memory)
        self._tests = [TestPass(test_net, memory) for test_net in solver.test_nets]

        windows = clip(payload.windows, solver.iter, payload.until)
        capture = payload.capture if windows else ()
        self._input_stats = InputProbe(solver.net, memory)
        keeps_inputs = "input" in payload.capture and (windows or box.capacity)
        self._inputs = InputCapture(solver.net, param.iter_size, memory) if keeps_inputs else None
        self._keys = RecordKeys.read(Path(payload.record_keys), payload.label_blob) if payload.record_keys else None
        keeps_history = "history" in payload.capture and (windows or box.capacity)
        blobs = history([p.shape for p in self.params.params]) if keeps_history else ()
        self._history = memory.arrays(blobs, "data")
        self._layers = layers
        self._states = {name: state.shape for name, state in ((layers() if windows else None) or {}).items()}
        kept = payload.capture if box.capacity else ()
        iterations = range(solver.iter, payload.until)
        self._box = BlackBoxFiller(box, self.params, self._history, self._inputs, kept, iterations)
        self._pass_losses = PassLosses(solver.net, self.loss) if param.iter_size > 1 else None
        scalars = {output.name for output in self._outputs.outputs if output.size == 1}
        self.layout = Layout(
            params=self.params.params,
            outputs=self._outputs.outputs,
            test_outputs=tuple(test.probe.outputs for test in self._tests),
            heads=tuple(head for head in payload.heads if head.name in scalars),
            activations=self._activations.activations,
            relus=payload.info.relus,
            windows=windows,
            arrays=self._window_arrays(capture),
            inputs=self._input_stats.inputs,
            roles=net_roles(net),
            kept=self._box.arrays,
        )
        largest = min(SLAB, channel.ring.max_payload)
        self._transfers = {group: self._plan_transfers(group, largest) for group in (*ALL_CAPTURES, "key", "state")}
        self._frame = np.zeros((), self.layout.frame_dtype)
        self._stats = self._frame["stat"]
        # not after each layer, if possible: of a net with 74 layers, the calls alone took 0.1 ms
        self._lasting = tuple(source_layers(solver.net)) if param.iter_size == 1 and inputs_last(solver.net) else ()
        if not self._lasting:
            solver.net.after_forward(self._after_forward)
        self._displayed = self._started = time.perf_counter()
        self._seconds = 0.0
        solver.add_callback(self._on_start, self._on_gradients_ready)

    def _window_arrays(self, capture: tuple[str, ...]) -> tuple[Array, ...]:
        arrays = param_arrays(self.params, capture, len(self._history))
        if self._inputs and "input" in capture:
            arrays += self._inputs.arrays()
        if self._keys:
            arrays += (self._keys.array(),)
        return (*arrays, *(Array("state", name, None, shape) for name, shape in self._states.items()))

    def _plan_transfers(self, group: str, largest: int) -> list[_Transfer]:
        """Plan the messages of `group`, each of at most `largest` bytes."""
        arrays = [array for array in self.layout.arrays if array.group == group]
        index = next((i for i, array in enumerate(self.layout.arrays) if array.group == group), 0)
        return [
            _Transfer(
                index + first, first, stop, arrays[first].slabs(largest) if arrays[first].nbytes > largest else []
            )
            for first, stop in runs(arrays, largest)
        ]

    def before(self, iteration: int) -> None:
        """Observe W_t, before the solver is stepped."""
        self._iteration = iteration
        in_window = self.layout.in_window(iteration)
        self._frame["iteration"] = iteration
        self._stats[:2], digest = self.params.measure_weights()
        self._frame["digest"] = digest
        self._input_stats.begin()
        if in_window:
            self._send("weight", self.params.data)
            self._send("history", self._history)
            self._send_states()
        else:
            self._box.begin(iteration, digest)
        if self._inputs:
            self._inputs.begin(in_window or self._box.active, self._box.inputs)

    def _on_start(self) -> None:
        self.send_tests(self._iteration)
        self._memory.synchronize()
        self._started = time.perf_counter()

    def _after_forward(self, layer: int) -> None:
        self._input_stats.observe(layer)
        if self._inputs:
            self._inputs.observe(layer)

    def _on_gradients_ready(self) -> None:
        self._memory.synchronize()
        now = time.perf_counter()
        self._seconds = now - self._started
        for layer in self._lasting:
            self._after_forward(layer)
        iteration, frame = self._iteration, self._frame
        frame["lr"] = self._learning_rate(iteration)
        outputs = self._outputs.values()
        frame["output"] = outputs
        frame["loss"] = self.loss(outputs) if self._pass_losses is None else self._pass_losses.mean(self._iter_size)
        self._stats[2:5] = self.params.diff_stats()
        frame["input"] = self._input_stats.values
        displayed = self._display != 0 and iteration % self._display == 0  # as Solver::Step, also where it is negative
        first_nonfinite = not self._nonfinite and not all_finite(frame)
        self._nonfinite = self._nonfinite or first_nonfinite
        first_bad_input = not self._bad_input and not inputs_finite(frame)
        self._bad_input = self._bad_input or first_bad_input
        frame["lapse"] = now - self._displayed if displayed else 0
        if displayed:
            self._displayed = now
        in_window = self.layout.in_window(iteration)
        # which activation was the first that is not finite? does an input that is not do anything?
        if displayed or in_window or first_nonfinite or first_bad_input:
            self._channel.put(Kind.ACTIVATION, self._activations.stats(), iteration=iteration)
        if in_window:
            self._send("gradient", self.params.diff)
            self._send_inputs(iteration)
        self._box.keep("gradient")
        self._started = time.perf_counter()

    def _learning_rate(self, iteration: int) -> float:
        step = next_step(self._param, iteration, self._step)
        if self._rate is None or step != self._step or not self._changes_in_steps:
            self._rate = learning_rate(self._param, iteration, step)
        self._step = step
        return self._rate

    def after(self, iteration: int) -> npt.NDArray[np.void]:
        """Observe the update, after the solver was stepped.

        Returns:
            The frame of the iteration, complete but for the smoothed loss. The next call overwrites it.
        """
        self._memory.synchronize()
        self._frame["seconds"] = self._seconds + time.perf_counter() - self._started
        self._stats[5] = self.params.diff_stats()[0]
        if self.layout.in_window(iteration):
            self._send("update", self.params.diff)
        self._box.keep("update")
        self._box.complete(iteration, float(self._frame["seconds"]))
        if self._inputs:
            self._inputs.begin(False)  # Caffe's forward pass after the last iteration belongs to none
        return self._frame

    def send_tests(self, iteration: int) -> None:
        """Put the test passes that Caffe has made since the last call on the channel."""
        for net, test in enumerate(self._tests):
            if test.forwards:
                self._channel.put(Kind.TEST, test.take_mean(), iteration=iteration, index=net)

    def _send(self, group: str, values: Sequence[Part]) -> None:
        for transfer in self._transfers[group]:
            first, stop = transfer.first, transfer.stop
            if not transfer.slabs:
                self._channel.put(Kind.SLAB, values[first:stop], iteration=self._iteration, index=transfer.index)
            for start, end in transfer.slabs:
                part = values[first][start:end]
                self._channel.put(Kind.SLAB, [part], iteration=self._iteration, index=transfer.index, start=start)

    def _send_states(self) -> None:
        """Send the state of layers; of one that has changed its shape since the start, zeros."""
        if self._states:
            now = self._layers() or {}
            self._send("state", [_fitting(now.get(name), shape) for name, shape in self._states.items()])

    def _send_inputs(self, iteration: int) -> None:
        if self._inputs is None or not self._transfers["input"]:
            return
        self._send("input", self._inputs.frames())
        for name in self._inputs.changed:
            self._channel.send(OtherShape(iteration, name))
        if self._keys is not None:
            keys, agree = self._keys.keys(iteration, self._inputs.values)
            if not agree:
                self._channel.send(OtherLabels(iteration))
            self._channel.put(Kind.SLAB, keys, iteration=iteration, index=self._transfers["key"][0].index)


def _fitting(state: Floats | None, shape: tuple[int, ...]) -> Floats:
    return state if state is not None and state.shape == shape else np.zeros(shape, np.float32)
