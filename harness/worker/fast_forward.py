"""Advance Caffe's random numbers to the state that an uninterrupted training would have.

A layer that draws in its forward pass draws the same number of outputs every time, whatever it computes with them, as
long as its input keeps its shape. So the nets are built once more as Caffe built them (which repeats the draws of the
fillers), and then only the drawing layers run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import caffe
from google.protobuf import text_format

from harness.caffe_files.drawing_layers import drawing_layers
from harness.caffe_files.messages import pb
from harness.caffe_files.net import net_phase
from harness.caffe_files.passes import tests_at
from harness.caffe_files.solver import with_net_files
from harness.schemas.data_position import StreamPosition
from harness.worker import rng
from harness.worker.layer_numbers import layer_numbers
from harness.worker.pycaffe import Net, Solver


def advance(
    solver: Solver,
    param: pb.SolverParameter,
    nets: Sequence[pb.NetParameter],
    first: int,
    last: int,
    progress: Callable[[int], None],
) -> None:
    """Draw what the iterations `first` … `last`-1 draw, in their order.

    Args:
        solver: the native solver that will continue; its blobs are overwritten, its params are not.
        param: its message.
        nets: the messages of its train net and test nets.
        first, last: range of iterations.
        progress: called with the iteration, once every 1000.
    """
    built = zip((solver.net, *solver.test_nets), nets, strict=True)
    train, *tests = (_drawing_forwards(net, text, net_phase(i)) for i, (net, text) in enumerate(built))
    if not train and not any(tests):
        return
    for iteration in range(first, last):
        if any(tests) and tests_at(param, iteration):
            for test, forwards in zip(tests, param.test_iter, strict=True):
                _run(test, forwards)
        _run(train, param.iter_size)
        if iteration % 1000 == 0:
            progress(iteration)


_Forwards = list[tuple[Callable[[int, int], float], int]]  # a net's `_forward`, and the number of a layer


def _drawing_forwards(net: Net, text: pb.NetParameter, phase: str) -> _Forwards:
    numbers = layer_numbers(net, text)
    return [(net._forward, numbers[position]) for position in drawing_layers(text, phase)]


def _run(forwards: _Forwards, times: int) -> None:
    for _ in range(times):
        for forward, number in forwards:
            forward(number, number)


def replay_initialization(param: pb.SolverParameter, nets: Sequence[pb.NetParameter]) -> None:
    """Seed the main generator, and draw what building the solver's nets draws."""
    with tempfile.TemporaryDirectory() as directory:
        caffe.get_solver(str(write_solver(Path(directory), param, [without_files(net) for net in nets])))


def without_files(net: pb.NetParameter) -> pb.NetParameter:
    """Copy a net without its HDF5Output layers, which open their file when they are built: a second time fails."""
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    del copy.layer[:]
    copy.layer.extend(layer for layer in net.layer if layer.type != "HDF5Output")
    return copy


def draw_seeds(
    param: pb.SolverParameter, nets: Sequence[pb.NetParameter], place: StreamPosition, layer: int
) -> StreamPosition:
    """Complete `place` with the seeds that its layer, number `layer` of its net, draws when Caffe builds the nets.

    Those are the outputs after the ones that all layers before it draw. So the nets are built up to that layer, and the
    next outputs are drawn.
    """
    before = [pb.NetParameter() for _ in nets[: place.net + 1]]
    for copy, net in zip(before, nets, strict=False):
        copy.CopyFrom(net)
    del before[-1].layer[layer:]
    if place.net == 0 and not before[0].layer:
        caffe.set_random_seed(param.random_seed)
    else:
        replay_initialization(param, before)
    return place.seeded(rng.draw)


def write_solver(directory: Path, param: pb.SolverParameter, nets: Sequence[pb.NetParameter]) -> Path:
    """Write a solver prototxt for `nets` into `directory`, each net in its own file; omit tests without a net."""
    files = []
    for number, net in enumerate(nets):
        files.append(directory / f"{'test' if number else 'train'}_{number}.prototxt")
        files[-1].write_text(text_format.MessageToString(net))
    solver = with_net_files(param, str(files[0]), [str(file) for file in files[1:]])
    del solver.test_iter[len(nets) - 1 :]
    del solver.test_state[len(nets) - 1 :]
    path = directory / "solver.prototxt"
    path.write_text(text_format.MessageToString(solver))
    return path
