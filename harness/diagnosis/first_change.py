"""Find the first iteration at which what was changed in a run can act on its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.caffe_files.lr_policy import learning_rate, next_step
from harness.caffe_files.messages import parse_text, pb
from harness.schemas.run_info import RunInfo
from harness.schemas.window import parse_watch

Files = tuple[Path, Path]

_PLANNED = Path("run.json"), Path("run.json")  # of runs that are only planned
_RATE = {"base_lr", "lr_policy", "gamma", "power", "stepsize", "stepvalue", "max_iter"}
# Test passes act on training only where `acts_in_tests`.
_TESTS = {"test_iter", "test_interval", "test_initialization"}
# The nets are compared as they were built; the weights that a training began with are a field of run.json.
_NO_EFFECT = {
    *("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param", "train_state", "test_state"),
    *("display", "average_loss", "debug_info", "test_compute_loss", "weights", "solver_mode", "device_id"),
    *("snapshot", "snapshot_prefix", "snapshot_diff", "snapshot_format", "snapshot_after_train"),
}
# Fields of a layer that neither the initial weights nor the draws at set-up depend on.
_NOT_INITIAL = {"param", "loss_weight", "propagate_down", "dropout_param"}


def unchanged_through(then: RunInfo, now: RunInfo, files: Files = _PLANNED) -> int | None:
    """Return the last t whose weights W_t are the same in both runs if `now` repeats `then`; None: nothing was changed.

    The weights at the start of `now`, W_first, are those of `then`, unless initialization itself was changed at
    iteration 0: then the result is `now.first` - 1. How the runs compute (threads, build, device) is not a change:
    whether it matters is what a comparison of their digests shows. `files` are the run.json that they are from.

    Raises:
        BadInput: a prototxt of one of them cannot be parsed.
    """
    return min(_limits(then, now, files), default=None)


def continues_as_caffe(info: RunInfo) -> bool:
    """Tell whether a run began with data and random numbers as in Caffe's own resume (`--data caffe`)."""
    generator = info.point.generator
    return info.first > 0 and generator.words is None and generator.at == info.first


def _limits(then: RunInfo, now: RunInfo, files: Files) -> Iterator[int]:
    first = now.first
    runs = list(zip((then, now), files, strict=True))
    solvers = [parse_text(info.solver, pb.SolverParameter, file) for info, file in runs]
    nets = [[_net(text, n, then, now, file) for n, text in enumerate((i.net, *i.test_nets))] for i, file in runs]
    fields = set(_differing(*solvers))
    passes_act = any(acts_in_tests(net) for (_, *tests) in nets for net in tests)
    tests_act = first == 0 or passes_act  # what building them draws comes before the first iteration
    if first == 0 and ("random_seed" in fields or then.weights != now.weights or _initial(nets[0][0], nets[1][0])):
        yield first - 1
    if fields - _RATE - _TESTS or nets[0][0] != nets[1][0] or (passes_act and fields & _TESTS):
        yield first
    if tests_act and nets[0][1:] != nets[1][1:]:
        yield first
    if fields & _RATE and (fields & _RATE != {"max_iter"} or solvers[0].lr_policy == "poly"):
        yield from _first_other_rate(now, *solvers)
    as_then = now.first == then.first and continues_as_caffe(then)  # a replay of such a run, from its start
    if (continues_as_caffe(now) and not as_then) or _other_data(then, now) or _left_out(then) != _left_out(now):
        yield first
    if now.parent is not None and now.parent.history != "keep":
        yield first
    if now.parent is not None and now.parent.skip is not None:
        yield parse_watch(now.parent.skip, "--skip").start


def _net(text: str, number: int, then: RunInfo, now: RunInfo, file: Path) -> pb.NetParameter:
    """Parse net `number` without the paths of data that both runs recognize by its fingerprint."""
    net = parse_text(text, pb.NetParameter, file)
    known = [{(p.net, p.layer, p.fingerprint) for p in info.point.places} for info in (then, now)]
    same = {layer for place, layer, _ in known[0] & known[1] if place == number}
    for layer in net.layer:
        if layer.name in same:
            for _, message in layer.ListFields():
                if hasattr(message, "source"):
                    message.ClearField("source")
    return net


def _differing(one: pb.SolverParameter, two: pb.SolverParameter) -> Iterator[str]:
    for field in pb.SolverParameter.DESCRIPTOR.fields:
        if field.name not in _NO_EFFECT and getattr(one, field.name) != getattr(two, field.name):
            yield field.name


def _initial(one: pb.NetParameter, two: pb.NetParameter) -> bool:
    """Check whether the initial weights of two nets can differ."""
    return _without(one, _NOT_INITIAL) != _without(two, _NOT_INITIAL)


def _without(net: pb.NetParameter, fields: set[str]) -> pb.NetParameter:
    copy = pb.NetParameter()
    copy.CopyFrom(net)
    for layer in copy.layer:
        for name in fields:
            if name == "param":  # names of shared params decide who fills them
                for param in layer.param:
                    param.ClearField("lr_mult")
                    param.ClearField("decay_mult")
                while layer.param and not layer.param[-1].ListFields():
                    del layer.param[-1]
            else:
                layer.ClearField(name)  # type: ignore[arg-type]
    return copy


def acts_in_tests(net: pb.NetParameter) -> bool:
    """Check whether a test pass of `net` can act on training: by a draw, a shared running average, or Python code.

    All HDF5Data layers of a process that shuffle draw from one generator, that of the C library.
    """
    return any(
        layer.type in ("Python", "DummyData")
        or (layer.type == "HDF5Data" and layer.hdf5_data_param.shuffle)
        or (layer.phase == pb.TRAIN and layer.HasField("phase"))
        or (layer.type == "BatchNorm" and _writes_averages(layer.batch_norm_param))
        for layer in net.layer
    )


def _writes_averages(batch_norm: pb.BatchNormParameter) -> bool:
    """Check whether a test pass updates the running averages: where told so (batch_norm_layer.cpp, LayerSetUp)."""
    return batch_norm.HasField("use_global_stats") and not batch_norm.use_global_stats


def _first_other_rate(now: RunInfo, old: pb.SolverParameter, new: pb.SolverParameter) -> Iterator[int]:
    steps = [now.step, now.step]
    for t in range(now.first, now.until):
        steps = [next_step(solver, t, step) for solver, step in zip((old, new), steps, strict=True)]
        one, two = (learning_rate(solver, t, step) for solver, step in zip((old, new), steps, strict=True))
        if one != two and not (math.isnan(one) and math.isnan(two)):
            yield t
            return


def _other_data(then: RunInfo, now: RunInfo) -> bool:
    """Check whether a layer of the train net reads other data."""
    one, two = (_train_data(info) for info in (then, now))
    return one != two


def _left_out(info: RunInfo) -> Sequence[tuple[str, object]]:
    """Return the records that are left out of each layer of the train net."""
    return sorted((place.layer, place.excluded) for place in info.point.inputs if place.net == 0 and place.excluded)


def _train_data(info: RunInfo) -> Sequence[tuple[str, str]]:
    return sorted((place.layer, place.fingerprint) for place in info.point.inputs if place.net == 0)
