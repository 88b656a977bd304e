"""Replay arms, one after the other, in one process of Caffe."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from google.protobuf import text_format

import harness
from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.schemas.arm import Arm, ArmResult
from harness.schemas.arm_task import Progress, Task
from harness.schemas.events import Note, NotExact
from harness.schemas.feed import Feed, LayerFeed
from harness.worker import rng
from harness.worker.arms.arm_solver import ArmFiles, write_arm_solver
from harness.worker.arms.checkpoint import Checkpoint, Misfit, take
from harness.worker.arms.checkpoints import Checkpoints
from harness.worker.arms.rates import step_at
from harness.worker.arms.reporter import Reporter
from harness.worker.arms.running import Abandoned, Running, Training
from harness.worker.arms.stored_batches import FEEDER, StoreReader
from harness.worker.blas import loaded_blas, other_kernels
from harness.worker.build import set_device, start
from harness.worker.fast_forward import without_files
from harness.worker.payload import Payload
from harness.worker.probes.blobs import ParamProbe
from harness.worker.probes.gpu import Cuda, GpuMemory
from harness.worker.probes.memory import HostMemory


class Replayer:
    """Replays arms of the run that `payload` describes.

    Args:
        payload: with the state of the run before the first iteration from which arms may start.
        feed: a batch of each data layer, with whose shape the net is built.
        store: where batches lie.
        directory: for files of this process.
        is_wanted: tells whether anybody waits for the result of an arm; asked before each iteration.
        tell: is told how far an arm is, a few times a second.

    Attributes:
        digest: of the weights of the first checkpoint.
        not_exact: sentences on what may keep a replay from the recorded bits.

    Raises:
        BadInput: the state of the run does not fit.
    """

    def __init__(
        self,
        payload: Payload,
        feed: Feed,
        store: StoreReader,
        directory: Path,
        is_wanted: Callable[[], bool],
        tell: Callable[[Progress], None],
    ) -> None:
        # which seeds it, so it comes before the nets are built
        self._reads_generator = payload.gpu is None and rng.is_accessible()
        set_device(payload)
        fed = tuple(layer.index for layer in feed)
        self._directory, self._prefix = directory, directory / "checkpoint"
        self._training = Training(
            kind=payload.solver_type,
            solver=text_format.Parse(payload.info.solver, pb.SolverParameter()),
            net=text_format.Parse(payload.info.net, pb.NetParameter()),
            until=payload.info.until,
            heads=tuple(head.name for head in payload.heads),
            fed=fed,
            store=store,
            files=ArmFiles(directory / "arm", fed, self._prefix),
            memory=HostMemory() if payload.gpu is None else GpuMemory(Cuda(payload.gpu)),
            on_cpu=payload.gpu is None,
            is_wanted=is_wanted,
            digests=payload.info.digest_kind,
        )
        self._tell = tell
        self.not_exact: list[str] = []
        if payload.blas is not None and (reason := other_kernels(payload.blas, loaded_blas())):
            self.not_exact.append(reason)
        first, self.digest = self._first_checkpoint(payload, feed)
        self._checkpoints = Checkpoints(first)

    def replay(self, task: Task) -> ArmResult:
        """Replay an arm. Its result depends on nothing that was replayed before.

        Raises:
            Abandoned: nobody waits for the result any more.
        """
        arm = task.arm
        try:
            running = Running(arm, task.feed, self._checkpoint(arm.start, task.lead), self._training)
            started = time.perf_counter()
            result = running.run(Reporter(arm, self._tell))
        except (BadInput, Misfit) as error:
            return ArmResult(arm=arm, ended="refused", why=str(error), harness=harness.__version__)
        except Abandoned:
            raise
        except Exception as error:  # of a Python layer of the user
            why = f"{type(error).__name__}: {error}"
            return ArmResult(arm=arm, ended="died", why=why, harness=harness.__version__)
        seconds = time.perf_counter() - started
        return msgspec.structs.replace(result, seconds=seconds, not_exact=tuple(self.not_exact))

    def _first_checkpoint(self, payload: Payload, feed: Feed) -> tuple[Checkpoint, int]:
        """Bring a solver to where `payload` starts. Returns the checkpoint there, and the digest of its weights."""
        training, net = self._training, without_files(self._training.net)
        FEEDER.set(feed, training.store)
        file = write_arm_solver(self._directory, training.solver, training.net, training.fed, self._prefix)
        solver = start(file, payload, training.solver, [net], payload.point, self._note)
        step = payload.resume.step if payload.resume else 0
        digest = ParamProbe(solver.net, net, training.memory, training.digests).digest()
        return take(solver, net, step, self._prefix, self._reads_generator), digest

    def _note(self, note: Note) -> None:
        if isinstance(note, NotExact):
            self.not_exact.append(note.reason)

    def _checkpoint(self, iteration: int, lead: Feed) -> Checkpoint:
        """Return the checkpoint before `iteration`; unless there is one, an unchanged replay goes there.

        `lead` has the batches of all passes from the first checkpoint on.
        """
        known = self._checkpoints.at(iteration)
        if known is not None:
            return known
        nearest, solver = self._checkpoints.nearest(iteration), self._training.solver
        passed = (nearest.iteration - self._checkpoints.first.iteration) * solver.iter_size
        feed = tuple(LayerFeed(layer.index, layer.batches[passed:]) for layer in lead)
        way = Arm(nearest.iteration, iteration - nearest.iteration)
        running = Running(way, feed, nearest, self._training)
        result = running.run()
        if result.ended != "completed":
            raise Misfit(f"the run itself cannot be replayed to iteration {iteration:,}: {result.why}")
        step = step_at(solver, nearest.iteration, iteration, nearest.step)
        found = take(running.solver, running.net, step, self._prefix, self._reads_generator)
        self._checkpoints.add(found)
        return found
