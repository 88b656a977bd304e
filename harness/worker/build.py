"""Build the native solver that a run steps, and bring it to the position where the run starts."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import caffe
import numpy as np
from google.protobuf import text_format

from harness.caffe_files.caffemodel import HISTORIES, check_fit, check_history, read_caffemodel, read_solverstate
from harness.caffe_files.messages import pb
from harness.caffe_files.net import same_layer
from harness.caffe_files.solverstate import copy_solverstate, write_window_state
from harness.errors import BadInput, RecordingError
from harness.recording import Recording
from harness.schemas.data_position import GeneratorState, TrainingPosition
from harness.schemas.events import Note, NotExact, Replayed, Replaying, WeightsCopied
from harness.schemas.run_info import CopiedWeights, Replay
from harness.schemas.stream import RowsStream, Stream
from harness.worker import rng
from harness.worker.fast_forward import advance, draw_seeds, replay_initialization, without_files, write_solver
from harness.worker.layer_state import State, load_state, write_state
from harness.worker.payload import Payload, Resume
from harness.worker.probes.blobs import ParamProbe
from harness.worker.probes.memory import HostMemory
from harness.worker.pycaffe import Floats, Net, Solver
from harness.worker.seekable_nets import replace_data_layers
from harness.worker.seekable_rows import restore_random
from harness.worker.weights import copy_between, copy_by_name, copy_by_number, has_other_encoding, names_are_ambiguous

Send = Callable[[Note], None]


def nets_of(payload: Payload) -> list[pb.NetParameter]:
    """Parse the NetParameters of the train net and of the test nets, with the user's own layers."""
    return _parsed(payload.nets)


def _parsed(texts: Sequence[str]) -> list[pb.NetParameter]:
    return [text_format.Parse(text, pb.NetParameter()) for text in texts]


def build(
    payload: Payload, param: pb.SolverParameter, nets: Sequence[pb.NetParameter], send: Send
) -> tuple[Solver, TrainingPosition]:
    """Build the native solver, with the user's weights or state in it. Returns it and its position.

    `send` receives what was copied, and how long the random numbers took.

    Raises:
        BadInput: weights or state do not fit.
    """
    set_device(payload)
    point = _with_seeds(payload, param, nets, _parsed(payload.native)) if payload.replay else payload.point
    with tempfile.TemporaryDirectory() as name:
        file = _solver_file(Path(name), payload, param, nets, point)
        return start(file, payload, param, nets, point, send), point


def set_device(payload: Payload) -> None:
    """Have Caffe compute where `payload` says."""
    if payload.gpu is None:
        caffe.set_mode_cpu()
    else:
        caffe.set_device(payload.gpu)
        caffe.set_mode_gpu()


def start(
    file: Path,
    payload: Payload,
    param: pb.SolverParameter,
    nets: Sequence[pb.NetParameter],
    point: TrainingPosition,
    send: Send,
) -> Solver:
    """Build the solver of `file`, and bring it to where `payload` starts, but for its data.

    Args:
        file: a solver, in a directory that may be written; of its nets, data layers may be other ones than of `nets`.
        nets: the messages of the nets that it has: the train net and, unless they are left out, the test nets.
        point: the position at the start; only its generator counts here.

    Raises:
        BadInput: weights or state do not fit.
    """
    directory = file.parent
    solver: Solver = getattr(caffe, f"{payload.solver_type}Solver")(str(file))
    if payload.replay and not payload.as_written and payload.resume is None:
        _copy_fillers(solver, param, nets, directory)
    for model in payload.weights:
        copying = check_fit(read_caffemodel(Path(model)), _shapes(solver.net), Path(model))
        caffe.log(f"Finetuning from {model}")
        for net in (solver.net, *solver.test_nets):
            copy_by_name(net, Path(model))
        copied = CopiedWeights(model, tuple(copying.copied), tuple(copying.skipped), tuple(copying.new))
        send(WeightsCopied(copied))
    if payload.resume and payload.resume.window:
        _restore_window(solver, payload, payload.resume, nets[0], directory)
    elif payload.resume:
        _restore(solver, payload, payload.resume, nets[0], directory)
    if payload.replay:
        _replay(solver, param, nets, _parsed(payload.native), point, send)
    state = _layer_state(payload.resume) if payload.resume else None
    if state is not None:
        for reason in write_state(state, (solver.net, *solver.test_nets), nets):
            send(NotExact(reason))
    return solver


def _layer_state(resume: Resume) -> State | None:
    """Read the state that layers keep outside their params; None if it is not known."""
    if resume.layers:
        return load_state(Path(resume.layers))
    if resume.window and resume.window_layers:
        with Recording(resume.window) as recording, _damage_is_bad_input():
            return recording.layer_state(resume.iteration)
    return None


@contextmanager
def _damage_is_bad_input() -> Iterator[None]:
    """Refuse a window whose checksums show that it is damaged."""
    try:
        yield
    except RecordingError as error:
        raise BadInput(str(error), remedy="Or restart from a snapshot, or from another iteration") from None


def _solver_file(
    directory: Path,
    payload: Payload,
    param: pb.SolverParameter,
    nets: Sequence[pb.NetParameter],
    point: TrainingPosition,
) -> Path:
    if payload.as_written:
        path = directory / "solver.prototxt"
        path.write_text(text_format.MessageToString(param))
        return path
    streams: list[dict[int, Stream | RowsStream]] = [{} for _ in nets]  # without one, a layer stays Caffe's own
    places = {(place.net, place.index): place for place in point.places}
    for stream in payload.streams:
        place = places[stream.net, stream.index]
        streams[stream.net][stream.index] = stream.seeded(place.seed, place.list_seed, place.skipped or 0)
    for rows in payload.rows:
        streams[rows.position.net][rows.position.index] = rows
    restore_random(point.rand)
    inside = [replace_data_layers(net, streams[n]) for n, net in enumerate(nets)]
    return write_solver(directory, param, inside)


def _with_seeds(
    payload: Payload, param: pb.SolverParameter, nets: Sequence[pb.NetParameter], native: Sequence[pb.NetParameter]
) -> TrainingPosition:
    places = []
    replaced = {(stream.net, stream.index) for stream in payload.streams}
    for place in payload.point.places:
        if not place.known and (place.net, place.index) in replaced:
            assert place.index is not None
            layer = same_layer(native[place.net], nets[place.net], place.index)
            place = draw_seeds(param, native, place, layer)
        places.append(place)
    return replace(payload.point, places=tuple(places))


def _copy_fillers(solver: Solver, param: pb.SolverParameter, nets: Sequence[pb.NetParameter], directory: Path) -> None:
    """Copy the weights that the native nets begin with: Caffe's own data layers draw their seeds before the fillers."""
    native: Solver = caffe.get_solver(str(write_solver(directory, param, [without_files(net) for net in nets])))
    copy_between(native.net, solver.net)


def _restore(solver: Solver, payload: Payload, resume: Resume, net: pb.NetParameter, directory: Path) -> None:
    assert resume.state is not None
    assert resume.model is not None
    path, model = Path(resume.state), Path(resume.model)
    by_number = names_are_ambiguous(solver.net)
    if not by_number and any(len(layer.blobs) for layer in solver.net.layers):
        check_fit(read_caffemodel(model), _shapes(solver.net), model)
    caffe_cannot = by_number or has_other_encoding(model)
    probe = ParamProbe(solver.net, net, HostMemory(), payload.info.digest_kind)
    check_history(read_solverstate(path), payload.solver_type, [p.shape for p in probe.params])
    caffe.log(f"Resuming from {path}")
    if caffe_cannot:
        state = copy_solverstate(path, _without_weights(directory), directory / path.name, resume.scale)
    else:
        state = path if resume.as_is else copy_solverstate(path, model, directory / path.name, resume.scale)
    solver.restore(str(state))
    if by_number:
        copy_by_number(solver.net, model)
    elif caffe_cannot or model.name.endswith(".h5"):
        copy_by_name(solver.net, model)
    if resume.digest is not None and f"{probe.digest():016x}" != resume.digest:
        raise BadInput(
            f"these are not the weights of iteration {resume.iteration} that the JSON beside it describes",
            file=model,
            field="weight_digest",
            value=resume.digest,
            remedy="Put the snapshot's own caffemodel back, restart from another snapshot, or move the JSON away to go "
            "on with these weights, as from a snapshot of Caffe's own",
        )


def _without_weights(directory: Path) -> Path:
    """Write a caffemodel without any layer, for a solverstate that is to leave the weights of the net as they are."""
    model = directory / "empty.caffemodel"
    model.write_bytes(b"")
    return model


def _restore_window(solver: Solver, payload: Payload, resume: Resume, net: pb.NetParameter, directory: Path) -> None:
    """Restore an iteration whose weights and history are in a window."""
    assert resume.window is not None
    probe = ParamProbe(solver.net, net, HostMemory(), payload.info.digest_kind)
    shapes = [(p.layer, p.index, p.shape) for p in probe.params]
    with Recording(resume.window) as recording:
        if [(p.layer, p.index, p.shape) for p in recording.params] != shapes:
            raise BadInput("its param blobs are not this net's", file=resume.window, remedy="Give the run of this net")
        with _damage_is_bad_input():
            weights = [recording.weight(resume.iteration, p.layer, p.index) for p in probe.params]
            history = _history(recording, resume, payload.solver_type)
    for array, (layer, index, shape) in zip([*weights, *history], itertools.cycle(shapes)):
        if array.shape != shape:
            raise BadInput(
                f"an array of shape {array.shape} for a param of shape {shape}",
                file=resume.window,
                field=f"window at iteration {resume.iteration}",
                value=f"{layer}/{index}",
                remedy="The recording is damaged: restart from a snapshot, or from another iteration",
            )
    for blob, values in zip(probe.blobs, weights, strict=True):
        blob.data[...] = values
    model = _without_weights(directory)
    state = directory / "window.solverstate"
    write_window_state(history, resume.iteration, resume.step, model, state)
    if resume.scale is not None:
        copy_solverstate(state, model, state, resume.scale)
    caffe.log(f"Resuming from iteration {resume.iteration} of {resume.window}")
    solver.restore(str(state))


def _history(recording: Recording, resume: Resume, kind: str) -> list[Floats]:
    """Read the history with which a solver of type `kind` continues, in its order; zeros where it is to be reset."""
    slots, params = range(HISTORIES[kind]), recording.params
    if resume.scale == 0:
        return [np.zeros(p.shape, np.float32) for _ in slots for p in params]
    if "history" in recording.window_arrays(resume.iteration):
        return [recording.history(resume.iteration, p.layer, p.index, slot) for slot in slots for p in params]
    return [recording.update(resume.iteration - 1, p.layer, p.index) for p in params]  # of SGD


def _replay(
    solver: Solver,
    param: pb.SolverParameter,
    nets: Sequence[pb.NetParameter],
    native: Sequence[pb.NetParameter],
    point: TrainingPosition,
    send: Send,
) -> None:
    """Bring the main generator to its position."""
    started = time.perf_counter()
    at = point.generator
    on_cpu = param.solver_mode == pb.SolverParameter.CPU  # on a GPU, layers draw from another generator
    if at.words is not None and on_cpu and rng.is_accessible():
        rng.write_state(at.words, at.position)
    else:
        at = at if at.words is None else GeneratorState(0)
        replay_initialization(param, native)
    advance(solver, param, nets, at.at, point.iteration, lambda done: send(Replaying(done)))
    send(Replayed(Replay(at.at, point.iteration - at.at, time.perf_counter() - started)))


def _shapes(net: Net) -> dict[str, tuple[tuple[int, ...], ...]]:
    return {
        name: tuple(tuple(blob.shape) for blob in layer.blobs)
        for name, layer in zip(net._layer_names, net.layers, strict=True)
    }
