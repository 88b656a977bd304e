"""Make the run directory that a capsule holds: what it takes to repeat a stretch of a run, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from google.protobuf import text_format

from harness.caffe_files.drawing_layers import drawing_layers
from harness.caffe_files.layer_types import IMAGES, WINDOWS, is_input_without_position
from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, net_phase
from harness.capsules.packing.cut_recording import write_cut
from harness.capsules.packing.data_sets import CutData, DataSet, cut_data
from harness.capsules.packing.start_state import write_state
from harness.diagnosis.first_change import acts_in_tests
from harness.errors import BadInput
from harness.recording import Recording
from harness.recording.result_files import read_explanation, write_explanation
from harness.replay.replaying import working_directory
from harness.schemas.explanation import Explanation
from harness.schemas.onset import Onset
from harness.schemas.run_info import Ended, RunInfo
from harness.schemas.window import Window
from harness.supervisor.options import Options
from harness.supervisor.plan import make_plan
from harness.supervisor.resume import Start
from harness.supervisor.training_spec import TrainingSpec, recorded_training_spec

_PREFIX = "capsule"


@dataclass(frozen=True)
class Stretch:
    """The iterations of a run that a capsule repeats.

    Attributes:
        run: the run directory.
        info: its run.json.
        window: the iterations.
        onset: the first iteration whose update does the damage; None where nothing breaks.
    """

    run: Path
    info: RunInfo
    window: Window
    onset: Onset | None


def check_packable(run: Path, info: RunInfo) -> None:
    """Check that what a run read, and the random numbers that it drew, can be cut down to some iterations.

    Raises:
        BadInput: they cannot.
    """
    if info.mode != "CPU":
        raise BadInput(
            "a capsule repeats a run bit for bit, which was never tried on a GPU, and its random state there cannot be "
            "stored",
            file=run / "run.json",
            field="mode",
            value=info.mode,
            remedy="Pack a run on the CPU (--cpu)",
        )
    spec = recorded_training_spec(run / "run.json", info)
    for layer in _kept_layers(spec):
        if is_input_without_position(layer):
            raise BadInput(
                f"where layer {layer.name} ({layer.type}) stood in its data is not known, nor what it read",
                file=run / "run.json",
                field="net",
                remedy="Give its data as an LMDB, a list of images or HDF5 files",
            )


def _kept_tests(spec: TrainingSpec) -> tuple[NetFile, ...]:
    """Return the test nets, if a test pass can act on the bits of training; else none."""
    return spec.tests if any(acts_in_tests(net.param) for net in spec.tests) else ()


def _kept_layers(spec: TrainingSpec) -> list[pb.LayerParameter]:
    return [layer for net in (spec.train, *_kept_tests(spec)) for layer in net.layers]


def write_minimal_run(stretch: Stretch, start: Start, out: Path) -> tuple[DataSet, ...]:
    """Write the minimal run directory of `stretch` into the empty directory `out`; run.json has it as its `directory`.

    Args:
        start: the state before its first iteration, from files.

    Returns:
        The data sets in it.

    Raises:
        BadInput: data are gone or have changed, or cannot be cut.
        RecordingError: the recording cannot be read, or has not all of these iterations.
        RecordingFailed: the disk is full.
    """
    run, info, window = stretch.run, stretch.info, stretch.window
    spec = recorded_training_spec(run / "run.json", info)
    options = Options(until=window.stop, black_box_mib=0, on_alarm="continue", snapshot_every=0)
    with working_directory(info):
        plan = make_plan(spec, start, options)
        point = plan.info.point
        _check_random_numbers(stretch, spec, plan.info)
        nets = [without_files_written(net.param) for net in (spec.train, *_kept_tests(spec))]
        data = cut_data(nets, point, spec.solver, window.stop, out)
    minimal = _run_info(stretch, spec, data, plan.info.step, out)
    write_cut(run, minimal, out)
    write_state(start, minimal, _digest(run, window.start), out)
    explanation = read_explanation(run)
    if explanation is not None:
        write_explanation(out, _without_commands(explanation))
    return data.sets


def _without_commands(explanation: Explanation) -> Explanation:
    """Return an explanation without the commands that repeat arms: these name the run, whose arms are not packed."""
    arms = tuple(msgspec.structs.replace(arm, command="") for arm in explanation.arms)
    return msgspec.structs.replace(explanation, arms=arms)


def _check_random_numbers(stretch: Stretch, spec: TrainingSpec, now: RunInfo) -> None:
    """Check that the state of all generators is known."""
    nets = (spec.train, *_kept_tests(spec))
    unknown = [place.layer for place in now.point.places if place.net < len(nets) and not place.known]
    draws = any(drawing_layers(net.param, net_phase(number)) for number, net in enumerate(nets))
    if unknown or (draws and now.point.generator.words is None):
        what = f"of layer {unknown[0]}" if unknown else "of Caffe's generator"
        raise BadInput(
            f"the state {what} before iteration {stretch.window.start:,} is not known",
            file=stretch.run,
            field="point",
            remedy="Give --at a later iteration, so that packing begins with a snapshot",
        )


def without_files_written(net: pb.NetParameter) -> pb.NetParameter:
    """Copy a net so that it writes no file and names none that it does not read.

    HDF5Output has no gradient (hdf5_output_layer.cpp), and one of zeros is what Silence has.
    """
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    for layer in copy.layer:
        if layer.type == "HDF5Output":
            layer.type = "Silence"
        layer.ClearField("hdf5_output_param")
        for kind, field in (
            ("Data", "data_param"),
            ("ImageData", "image_data_param"),
            ("WindowData", "window_data_param"),
            ("HDF5Data", "hdf5_data_param"),
            ("InfogainLoss", "infogain_loss_param"),
        ):
            if layer.type != kind:
                layer.ClearField(field)  # type: ignore[arg-type]
            elif layer.HasField(field) and kind in (*IMAGES, *WINDOWS):  # type: ignore[arg-type]
                getattr(layer, field).ClearField("mean_file")  # of nets before 2014, which Caffe does not read here
        if layer.type not in (*IMAGES, *WINDOWS) and layer.HasField("transform_param"):
            layer.transform_param.ClearField("mean_file")
    return copy


def _run_info(stretch: Stretch, spec: TrainingSpec, data: CutData, step: int, out: Path) -> RunInfo:
    """Return the run.json of a capsule."""
    info, window = stretch.info, stretch.window
    return msgspec.structs.replace(
        info,
        solver=text_format.MessageToString(_solver(spec.solver, keeps_tests=len(data.nets) > 1)),
        net=_text(data.nets[0]),
        test_nets=tuple(map(_text, data.nets[1:])),
        caffe={name: value for name, value in info.caffe.items() if name != "path"},
        data=dict(data.data),
        point=data.point,
        directory=str(out),
        weights=(),
        copied=(),
        resume=None,
        parent=None,
        goes_on_from=None,
        native_start=None,
        replayed=None,
        verified=None,
        display=None,
        not_exact=(),
        exact_if=(),
        skip_records=(),
        windows=(),
        step=step,
        first=window.start,
        until=window.stop,
        ended=_ended(stretch),
    )


def _text(net: pb.NetParameter) -> str:
    return text_format.MessageToString(net)


def _solver(solver: pb.SolverParameter, *, keeps_tests: bool) -> pb.SolverParameter:
    """Copy the solver without names of files, and without test nets where they are left out."""
    copy = pb.SolverParameter()
    copy.CopyFrom(solver)
    names = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param", "weights")
    tests = () if keeps_tests else ("test_iter", "test_interval", "test_state", "test_initialization")
    for field in (*names, *tests):
        copy.ClearField(field)
    copy.snapshot_prefix = _PREFIX
    return copy


def _ended(stretch: Stretch) -> Ended:
    until = stretch.window.stop
    final = _final_digest(stretch.run, stretch.info, until)
    return Ended(
        code=0,
        how=f"The part of a run up to iteration {until - 1:,}, in a capsule",
        onset=stretch.onset,
        iteration=until if final is not None else None,
        weight_digest=final,
    )


def _final_digest(run: Path, info: RunInfo, until: int) -> str | None:
    """Return the digest of the weights before iteration `until`, as far as the run has recorded it."""
    with Recording(run) as recording:
        row = int(np.searchsorted(recording.iterations, until))
        if row < len(recording.iterations):
            return f"{int(recording.series('digest', slice(row, row + 1))[0]):016x}"
    ended = info.ended
    return ended.weight_digest if ended is not None and ended.iteration == until else None


def _digest(run: Path, iteration: int) -> int:
    with Recording(run) as recording:
        row = int(np.searchsorted(recording.iterations, iteration))
        return int(recording.series("digest", slice(row, row + 1))[0])
