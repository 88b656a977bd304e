"""What is seen of one iteration of a real solver, and when.

before(t)          data is W_t
on_start           test passes of this iteration are over
after_forward      data layers have filled their tops
on_gradients_ready diff is the raw gradient, and all activations still stand
after(t)           diff is the update that Caffe has just subtracted
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.caffe_files.lr_policy import learning_rate, next_step
from harness.caffe_files.net import relus
from harness.recording.ring import Kind, Part, Payload, Ring
from harness.schemas.layout import CAPTURES, SLAB, Array, Layout, all_finite, runs
from harness.schemas.window import clip
from harness.worker.payload import Job
from harness.worker.probes.blobs import ActivationProbe, LossProbe, OutputProbe, ParamProbe
from harness.worker.probes.capture import InputCapture, RecordKeys, param_arrays
from harness.worker.probes.memory import Memory


class Channel(Protocol):
    """Where messages go."""

    ring: Ring

    def put(self, kind: Kind, payload: Payload, **where: Any) -> None: ...

    def note(self, what: str, **facts: Any) -> None: ...


class Observer:
    """Watches `solver`, and puts window arrays, activations and test passes on `channel`.

    `net` is the NetParameter of its train net, `param` its SolverParameter; its blobs lie in `memory`.
    """

    def __init__(self, solver: Any, net: Any, job: Job, channel: Channel, param: Any, memory: Memory) -> None:
        self._solver, self._channel, self._param, self._memory = solver, channel, param, memory
        self._display, self._iter_size = param.display, param.iter_size
        self._step = job.resume.step if job.resume else 0
        self._first = solver.iter
        self._iteration = solver.iter
        self._broken = False
        self.params = ParamProbe(solver.net, net, memory)
        self._activations = ActivationProbe(solver.net, memory)
        self._outputs = OutputProbe(solver.net, memory)
        self.loss = LossProbe(solver.net, self._outputs, memory)
        self._tests = [_TestPass(test_net, memory) for test_net in solver.test_nets]

        windows = clip(job.windows, solver.iter, job.until)
        capture = job.capture if windows else ()
        self._inputs = InputCapture(solver.net, param.iter_size, memory) if "input" in capture else None
        self._keys = RecordKeys(job.window_keys, job.label_blob) if self._inputs and job.window_keys else None
        self._pass_losses = _PassLosses(solver.net, self.loss) if param.iter_size > 1 else None
        self.layout = Layout(
            params=self.params.params,
            outputs=self._outputs.outputs,
            test_outputs=tuple(test.probe.outputs for test in self._tests),
            heads=job.heads,
            activations=self._activations.activations,
            relus=relus(net.layer),
            windows=windows,
            arrays=self._window_arrays(capture),
        )
        self._sending = {
            group: self._messages(group, min(SLAB, channel.ring.max_payload)) for group in (*CAPTURES, "key")
        }
        self._frame = np.zeros((), self.layout.frame_dtype)
        self._displayed = self._started = time.perf_counter()
        self._seconds = 0.0
        solver.add_callback(self._on_start, self._on_gradients_ready)

    def _window_arrays(self, capture: tuple[str, ...]) -> tuple[Array, ...]:
        arrays = param_arrays(self.params, capture)
        if self._inputs:
            arrays += self._inputs.arrays()
        if self._keys:
            arrays += (self._keys.array(),)
        return arrays

    def _messages(self, group: str, largest: int) -> list[tuple[int, int, int, list[tuple[int, int]]]]:
        """How the arrays of `group` travel: index of the first one, which they are, slabs of one that is too large."""
        arrays = [array for array in self.layout.arrays if array.group == group]
        index = next((i for i, array in enumerate(self.layout.arrays) if array.group == group), 0)
        return [
            (index + first, first, stop, arrays[first].slabs(largest) if arrays[first].nbytes > largest else [])
            for first, stop in runs(arrays, largest)
        ]

    @property
    def passes(self) -> tuple[int, ...]:
        """Batches that the train net and each test net have taken since the start."""
        return ((self._solver.iter - self._first) * self._iter_size, *(test.passes for test in self._tests))

    def before(self, iteration: int) -> None:
        """Iteration t is about to be made; data is W_t."""
        self._iteration = iteration
        in_window = self.layout.in_window(iteration)
        self._frame["iteration"] = iteration
        self._frame["stat"][:2] = self.params.weight_stats()
        self._frame["digest"] = self.params.digest()
        if self._inputs:
            self._inputs.begin(in_window)
        if in_window:
            self._send("weight", self.params.data)

    def _on_start(self) -> None:
        self.send_tests(self._iteration)
        self._memory.synchronize()
        self._started = time.perf_counter()

    def _on_gradients_ready(self) -> None:
        self._memory.synchronize()
        now = time.perf_counter()
        self._seconds = now - self._started
        iteration, frame = self._iteration, self._frame
        self._step = next_step(self._param, iteration, self._step)
        frame["lr"] = learning_rate(self._param, iteration, self._step)
        outputs = self._outputs.values()
        frame["output"] = outputs
        frame["loss"] = self.loss(outputs) if self._pass_losses is None else self._pass_losses.mean(self._iter_size)
        frame["stat"][2:5] = self.params.diff_stats()
        displayed = self._display > 0 and iteration % self._display == 0
        broke = not self._broken and not all_finite(frame)
        self._broken = self._broken or broke
        frame["lapse"] = now - self._displayed if displayed else 0
        if displayed:
            self._displayed = now
        in_window = self.layout.in_window(iteration)
        if displayed or in_window or broke:  # which activation was the first that is not finite?
            self._channel.put(Kind.ACTIVATION, self._activations.stats(), iteration=iteration)
        if in_window:
            self._send("gradient", self.params.diff)
            if self._inputs:
                self._send("input", self._inputs.frames())
                for name in self._inputs.changed:
                    self._channel.note("input changed", iteration=iteration, blob=name)
            if self._inputs and self._keys:
                self._send_keys(iteration, self._inputs.values)
        self._started = time.perf_counter()

    def after(self, iteration: int) -> npt.NDArray[np.void]:
        """Iteration t is made; diff is its update. The frame is complete but for the smoothed loss."""
        self._memory.synchronize()
        self._frame["seconds"] = self._seconds + time.perf_counter() - self._started
        self._frame["stat"][5] = self.params.diff_stats()[0]
        if self.layout.in_window(iteration):
            self._send("update", self.params.diff)
        if self._inputs:
            self._inputs.begin(False)  # the forward pass that Caffe makes after the last iteration is none of these
        return self._frame

    def send_tests(self, iteration: int) -> None:
        """Put the test passes that Caffe has made since the last call on the channel."""
        for net, test in enumerate(self._tests):
            if test.forwards:
                self._channel.put(Kind.TEST, test.take_mean(), iteration=iteration, index=net)

    def _send(self, group: str, values: Sequence[Part]) -> None:
        for index, first, stop, slabs in self._sending[group]:
            if not slabs:
                self._channel.put(Kind.SLAB, values[first:stop], iteration=self._iteration, index=index)
            for start, end in slabs:
                part = values[first][start:end]
                self._channel.put(Kind.SLAB, [part], iteration=self._iteration, index=index, start=start)

    def _send_keys(self, iteration: int, inputs: dict[str, npt.NDArray[np.float32]]) -> None:
        assert self._keys is not None
        keys, agree = self._keys.keys(iteration, inputs)
        if not agree:
            self._channel.note("keys differ", iteration=iteration)
        self._channel.put(Kind.SLAB, keys, iteration=iteration, index=self._sending["key"][0][0])


class _TestPass:
    """Adds up the outputs of one test net over the forwards of a test pass, as Solver::Test does in float32."""

    def __init__(self, net: Any, memory: Memory) -> None:
        self.probe = OutputProbe(net, memory)
        self.forwards = 0
        self.passes = 0
        self._last = len(net.layers) - 1
        self._sum = np.zeros(0, np.float32)
        net.after_forward(self._after_layer)

    def _after_layer(self, layer: int) -> None:
        if layer == self._last:
            values = self.probe.values()
            self._sum = self._sum + values if self.forwards else values
            self.forwards += 1
            self.passes += 1

    def take_mean(self) -> npt.NDArray[np.float32]:
        mean = self._sum / np.float32(self.forwards)
        self.forwards = 0
        return mean


class _PassLosses:
    """The losses of the `iter_size` forward passes of one iteration."""

    def __init__(self, net: Any, loss: LossProbe) -> None:
        self._loss = loss
        self._sum = np.float32(0)
        self._last = len(net.layers) - 1
        net.after_forward(self._after_layer)

    def _after_layer(self, layer: int) -> None:
        if layer == self._last:
            self._sum += self._loss()

    def mean(self, passes: int) -> np.float32:
        """Their sum over `passes`, as Solver::Step has it; the next iteration starts from 0."""
        mean, self._sum = self._sum / np.float32(passes), np.float32(0)
        return mean
