"""From what the user typed to a run that can start: everything is checked here, before Caffe sees any of it."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format

import harness
from harness.recording.errors import BadInput
from harness.recording.layout import CAPTURES, Head
from harness.recording.window import Window, clip, merge, parse_watch
from harness.solver import checks
from harness.solver.lmdbfile import Records
from harness.solver.messages import pb, read_text
from harness.solver.netfile import NetFile, heads, test_nets, train_net
from harness.solver.weights import read_caffemodel, read_solverstate

_OLD_TYPES = {0: "SGD", 1: "Nesterov", 2: "AdaGrad", 3: "RMSProp", 4: "AdaDelta", 5: "Adam"}
_LARGEST_SEED = (1 << 32) - 1  # Caffe::set_random_seed takes an unsigned int
_LIBRARIES = ("numpy", "h5py", "protobuf", "lmdb", "xxhash")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line; None is "not given"."""

    solver: Path
    watch: tuple[str, ...] = ()
    weights: str | None = None
    resume: Path | None = None
    out: Path | None = None
    cpu: bool = False
    gpu: int | None = None
    until: int | None = None
    seed: int | None = None
    capture: str = ",".join(CAPTURES)
    snapshot_every: int | None = None
    ring_mib: int = 128
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowKeys:
    """The records that the windows will see: `iteration` (W,), `key` and `label` (W, batch × iter_size)."""

    iteration: np.ndarray[Any, Any]
    key: np.ndarray[Any, Any]
    label: np.ndarray[Any, Any]
    label_blob: str | None


@dataclass(frozen=True)
class Plan:
    """A run that can start. `facts` is what run.json will say; `remarks` is what the user should hear first."""

    out: Path
    title: str
    solver: Any  # SolverParameter: the effective one, but for its snapshot_prefix
    solver_type: str
    gpu: int | None
    blas_threads: int
    first: int
    until: int
    windows: tuple[Window, ...]
    capture: tuple[str, ...]
    weights: tuple[str, ...]
    resume: str | None
    heads: tuple[Head, ...]
    keys: WindowKeys | None
    snapshot_name: str
    ring_bytes: int
    facts: dict[str, Any]
    remarks: tuple[str, ...]


def make_plan(options: Options, progress: Callable[[int, int], None] = lambda done, total: None) -> Plan:
    """Check everything that `options` names.

    Raises:
        BadInput: something cannot be used. Nothing was started.
    """
    path = options.solver
    windows = merge(parse_watch(text) for text in options.watch)
    capture = _capture(options.capture)
    _check_range("--seed", options.seed, 0, _LARGEST_SEED)
    _check_range("--snapshot-every", options.snapshot_every, 0, (1 << 31) - 1)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # of which a ring is a part only
    _check_range("--ring-mib", options.ring_mib, 1, memory >> 21)
    solver = read_text(path, pb.SolverParameter, "solver")
    solver_type = _OLD_TYPES[solver.solver_type] if solver.HasField("solver_type") else solver.type
    checks.check_solver(solver, solver_type, path)
    train = train_net(solver, path)
    tests = test_nets(solver, path)
    checks.check_snapshot_names(solver, train, path)
    for net, phase in ((train, "TRAIN"), *((test, "TEST") for test in tests)):
        checks.check_layers(net, phase)
        checks.check_sources(net)
    weights, resume = _start(options, solver)
    state = read_solverstate(Path(resume)) if resume else None
    first = state.iteration if state else 0
    until = _until(options, solver, first)
    gpu = _device(options, solver)
    checks.check_device(gpu, path if options.gpu is None else None)
    records = checks.read_sources((train, *tests), progress)
    for net in (train, *tests):
        checks.check_labels(net, records)

    remarks = []
    seed, drawn = _seed(options, solver)
    if drawn:
        remarks.append(f"The solver has no random_seed: {seed} was drawn, and is written down in run.json")
    if resume:
        remarks.append(
            f"Resuming at iteration {first} as Caffe does: weights and momentum are restored, the position in the "
            "data and the random state are not (BVLC/caffe#1059), so this is not what an uninterrupted run would do"
        )
    reached = clip(windows, first, until)
    for window in windows:
        if not clip((window,), first, until):
            remarks.append(f"Window {window} lies outside this run's iterations {first}:{until} and will stay empty")
        elif clip((window,), first, until) != (window,):
            remarks.append(f"Window {window} reaches beyond this run's iterations {first}:{until} and is cut to them")

    effective = pb.SolverParameter()
    effective.CopyFrom(solver)
    effective.random_seed = seed
    effective.solver_mode = pb.SolverParameter.CPU if gpu is None else pb.SolverParameter.GPU
    effective.ClearField("weights")
    if options.snapshot_every is not None:
        effective.snapshot = options.snapshot_every
    threads = _blas_threads()
    prefix = Path(solver.snapshot_prefix)
    return Plan(
        out=options.out or Path("runs") / f"{path.stem}-{time.strftime('%Y%m%d-%H%M%S')}",
        title=f"{train.param.name or train.source} · {path}",
        solver=effective,
        solver_type=solver_type,
        gpu=gpu,
        blas_threads=threads,
        first=first,
        until=until,
        windows=windows,
        capture=capture,
        weights=weights,
        resume=resume,
        heads=heads(train),
        keys=_window_keys(train, records, reached, first, solver.iter_size) if "input" in capture else None,
        snapshot_name=path.stem if prefix.is_dir() or not prefix.name else prefix.name,
        ring_bytes=options.ring_mib << 20,
        facts={
            "command": list(options.command),
            "directory": str(Path.cwd()),
            "harness": harness.__version__,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "machine": platform.node(),
            "solver_file": str(path),
            "solver": text_format.MessageToString(effective),
            "net": text_format.MessageToString(train.param),
            "heads": [{"name": h.name, "weight": h.weight, "classes": h.classes} for h in heads(train)],
            "mode": "CPU" if gpu is None else f"GPU {gpu}",
            "random_seed": seed,
            "random_seed_drawn": drawn,
            "blas_threads": threads,
            "caffe": checks.caffe_build(),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
            "data": {s: {"fingerprint": r.fingerprint, "records": len(r)} for s, r in records.items()},
            "weights": list(weights),
            "resume": resume,
            "parent": None,
            "first": first,
            "until": until,
            "windows": [str(w) for w in windows],
            "capture": list(capture),
        },
        remarks=tuple(remarks),
    )


def _check_range(field: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise BadInput(f"must be at least {low}", field=field, value=value, remedy=f"Give a number up to {high}")


def _capture(text: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for kind in kinds:
        if kind not in CAPTURES:
            raise BadInput(
                f"{kind!r} cannot be captured",
                field="--capture",
                value=text,
                remedy=f"A comma-separated list of {', '.join(CAPTURES)}",
            )
    return kinds


def _start(options: Options, solver: Any) -> tuple[tuple[str, ...], str | None]:
    """The caffemodels to start from, and the solverstate to resume from."""
    if options.resume is not None:
        if options.weights is not None:
            raise BadInput(
                "cannot be given together with --weights",
                field="--resume",
                value=options.resume,
                remedy="A solverstate brings its own weights; leave --weights out",
            )
        return (), str(options.resume)
    given = [options.weights] if options.weights is not None else list(solver.weights)
    names = tuple(name.strip() for part in given for name in part.split(","))
    for name in names:
        read_caffemodel(Path(name))
    return names, None


def _until(options: Options, solver: Any, first: int) -> int:
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
    return until


def _device(options: Options, solver: Any) -> int | None:
    """The GPU to use, or None for the CPU, as `caffe train` decides: GPU mode must be asked for."""
    if options.cpu and options.gpu is not None:
        raise BadInput("cannot be given together with --cpu", field="--gpu", value=options.gpu, remedy="Give one")
    if options.cpu:
        return None
    if options.gpu is not None:
        return options.gpu
    asks = solver.HasField("solver_mode") and solver.solver_mode == pb.SolverParameter.GPU
    return int(solver.device_id) if asks else None


def _seed(options: Options, solver: Any) -> tuple[int, bool]:
    """The random seed, and whether it was drawn here."""
    if options.seed is not None:
        return options.seed, False
    if solver.random_seed >= 0:
        return int(solver.random_seed), False
    return secrets.randbelow(1 << 31), True


def _blas_threads() -> int:
    """Another number of threads gives other bits, so it is pinned: as the user's environment says, or all cores."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdigit() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    return len(os.sched_getaffinity(0))


def _window_keys(
    net: NetFile, records: Mapping[str, Records], windows: tuple[Window, ...], first: int, iter_size: int
) -> WindowKeys | None:
    """What the first Data layer will read: records in the order of their keys from the first one, wrapping around."""
    layers = checks.data_layers(net)
    if not layers or not windows:
        return None
    layer = layers[0]
    data = records[layer.data_param.source]
    iterations = np.concatenate([np.arange(w.start, w.stop) for w in windows])
    images = layer.data_param.batch_size * iter_size
    order = ((iterations - first)[:, None] * images + np.arange(images)) % len(data)
    label = layer.top[1] if len(layer.top) > 1 else None
    return WindowKeys(iterations, data.keys[order], data.labels[order], label)
