"""The state of a run before an iteration, as replay workers get it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.solver import solver_type
from harness.diagnosis.first_change import acts_in_tests
from harness.errors import RecordingError
from harness.exit_codes import Exit
from harness.recording.run_directory import read_info
from harness.replay import Replay, nearest, replay
from harness.replay.replaying import working_directory
from harness.replay.starts import start_of
from harness.schemas.listener import RunListener
from harness.schemas.run_info import RunInfo
from harness.supervisor.plan import resume_of
from harness.supervisor.resume import Start, from_run
from harness.supervisor.signals import Interrupts
from harness.worker.payload import Payload


def state_before(iteration: int, run: Path, directory: Path, listener: RunListener, interrupts: Interrupts) -> Payload:
    """Find the state of a run before `iteration`; if the run kept none, an exact replay goes there first.

    Args:
        run: the run directory.
        directory: empty, for a run directory with that state, which must stay as long as the payload is used.
        listener: follows the replay.
        interrupts: may end it.

    Raises:
        BadInput: there is nothing to replay from, or data are gone that it takes.
        RecordingError: the replay did not get there, or a recording cannot be read.
    """
    run = run.resolve()
    info = read_info(run)
    with working_directory(info):
        begin = nearest(run, info, iteration).iteration
        if begin < iteration:
            request = Replay(run, begin, iteration, capture=("weight",), snapshot=True, stop_at_difference=False)
            done = replay(request, directory, listener, interrupts)
            if done.outcome.code != Exit.DONE:
                raise RecordingError(f"{run} could not be replayed to iteration {iteration:,}: {done.outcome.sentence}")
            start = from_run(done.directory, read_info(done.directory), iteration)
        else:
            start = start_of(run, info, iteration)
        return _payload(run, info, start)


def _payload(run: Path, info: RunInfo, start: Start) -> Payload:
    setup = start.setup
    assert setup is not None  # of a run it is known
    point = replace(setup.point, iteration=start.iteration)
    return Payload(
        run=str(run),
        info=msgspec.structs.replace(info, point=point, step=start.step, first=start.iteration, weights=start.weights),
        solver_type=solver_type(parse_text(info.solver, pb.SolverParameter, run / "run.json")),
        snapshot_name="checkpoint",
        native=(setup.net, *setup.test_nets),
        as_written=False,
        gpu=int(info.mode.removeprefix("GPU ")) if info.mode.startswith("GPU ") else None,
        windows=(),
        resume=resume_of(start, exact=True) if start.is_reached else None,
        replay=True,
        streams=(),
        rows=(),
        blas=info.blas,
        record_keys=None,
        label_blob=None,
    )


def why_not_exact(run: Path, info: RunInfo) -> Iterator[str]:
    """Yield a sentence for each test net of a run whose passes act on training: replays of arms make none."""
    for number, text in enumerate(info.test_nets):
        net = parse_text(text, pb.NetParameter, run / "run.json")
        rows = [n for n, layer in enumerate(net.layer) if layer.type == "HDF5Data"]
        for n in reversed(rows):  # they could only act on the order of rows, which is known here
            del net.layer[n]
        if acts_in_tests(net):
            yield f"The passes of test net #{number} act on training, and replays make none."
