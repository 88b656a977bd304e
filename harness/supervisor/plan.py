"""From what the user typed to a run that can start: everything is checked here, before Caffe sees any of it."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf import text_format

import harness
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import heads, relus
from harness.caffe_files.solver import net_text, solver_type
from harness.errors import BadInput
from harness.processes import cores
from harness.schemas.data_position import Point
from harness.schemas.layout import CAPTURES, Head
from harness.schemas.stream import Stream
from harness.schemas.window import Window, clip, merge, parse_watch
from harness.supervisor import device, exactness
from harness.supervisor import validate as checks
from harness.supervisor.record_keys import WindowKeys, window_keys
from harness.supervisor.resume import Start, other_data, point_of, streams_of
from harness.supervisor.training_spec import Problem

_LARGEST_SEED = (1 << 32) - 1  # Caffe::set_random_seed takes an unsigned int
_LIBRARIES = ("numpy", "h5py", "protobuf", "lmdb", "xxhash")


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line, but for what is trained and from where; None is "not given"."""

    watch: tuple[str, ...] = ()
    out: Path | None = None
    cpu: bool = False
    gpu: int | None = None
    until: int | None = None
    seed: int | None = None
    capture: str = ",".join(CAPTURES)
    snapshot_every: int | None = None
    keep_snapshots: int | None = None
    ring_mib: int = 128
    data: str = "exact"
    on_alarm: str = "continue"
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A run that can start. `facts` is what run.json will say; `remarks` is what the user should hear first.

    `replay`: data and random numbers are brought to `point`, by `streams` in the place of its Data layers. Otherwise
    Caffe's own layers begin at their first record, which is right for a run that starts at iteration 0.
    """

    out: Path
    title: str
    problem: Problem
    solver: Any  # SolverParameter: the effective one, but for its snapshot_prefix
    gpu: int | None
    blas_threads: int
    start: Start
    until: int
    point: Point
    replay: bool
    streams: tuple[Stream, ...]
    windows: tuple[Window, ...]
    capture: tuple[str, ...]
    heads: tuple[Head, ...]
    keys: WindowKeys | None
    snapshot_name: str
    keep_snapshots: int | None
    on_alarm: str  # continue or stop
    ring_bytes: int
    facts: dict[str, Any]
    remarks: tuple[str, ...]

    @property
    def first(self) -> int:
        return self.start.iteration


def make_plan(
    problem: Problem,
    start: Start,
    options: Options,
    parent: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:
    """Check everything that the run needs. `parent` is what run.json says of the run that this one goes on from.

    Raises:
        BadInput: something cannot be used. Nothing was started.
    """
    solver, first, about = problem.solver, start.iteration, start.about
    windows = merge(parse_watch(text) for text in options.watch)
    capture = _capture(options.capture)
    _check_range("--seed", options.seed, 0, _LARGEST_SEED)
    _check_range("--snapshot-every", options.snapshot_every, 0, (1 << 31) - 1)
    _check_range("--keep-snapshots", options.keep_snapshots, 1, (1 << 31) - 1)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # of which a ring is a part only
    _check_range("--ring-mib", options.ring_mib, 1, memory >> 21)
    problem.check()
    _check_history(problem, start)
    until = _until(options, solver, first)
    gpu = _device(options, solver)
    if gpu is None:
        card = None
        for net in problem.nets:
            device.check_prefetching(net)
    else:
        card = device.check_gpu(gpu, problem.path if options.gpu is None else None)
    records = checks.read_sources(problem.nets, progress)
    for net in problem.nets:
        checks.check_labels(net, records)

    seed, drawn = _seed(options, solver, about)
    exact = options.data == "exact"
    point = point_of(problem, start, seed, records, exact)
    replay = exact and (first > 0 or start.skip is not None)
    threads = _blas_threads(about if exact else None)
    reached = clip(windows, first, until)

    effective = pb.SolverParameter()
    effective.CopyFrom(solver)
    effective.random_seed = seed
    effective.solver_mode = pb.SolverParameter.CPU if gpu is None else pb.SolverParameter.GPU
    if gpu is not None:
        effective.device_id = gpu
    effective.ClearField("weights")
    if options.snapshot_every is not None:
        effective.snapshot = options.snapshot_every
    prefix = Path(solver.snapshot_prefix)
    facts: dict[str, Any] = {
        "command": list(options.command),
        "directory": str(Path.cwd()),
        "harness": harness.__version__,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": platform.node(),
        "solver_file": str(problem.path),
        "solver": text_format.MessageToString(effective),
        "net": net_text(problem.train),
        "test_nets": [net_text(net) for net in problem.tests],
        "heads": [{"name": h.name, "weight": h.weight, "classes": h.classes} for h in heads(problem.train)],
        "relus": list(relus(problem.train.layers)),
        "mode": "CPU" if gpu is None else f"GPU {gpu}",
        "gpu": card,
        "random_seed": seed,
        "random_seed_drawn": drawn,
        "blas_threads": threads,
        "caffe": device.caffe_build(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
        "data": {s: {"fingerprint": r.fingerprint, "records": len(r)} for s, r in records.items()},
        "weights": list(start.weights),
        "resume": str(start.state.path) if start.state else None,
        "parent": parent,
        "goes_on_from": _goes_on_from(start, parent),
        "point": point.to_json(),
        "step": start.step,
        "first": first,
        "until": until,
        "windows": [str(w) for w in windows],
        "capture": list(capture),
        "on_alarm": options.on_alarm,
    }
    facts["not_exact"] = _not_exact(problem, start, point, facts) if exact and (replay or start.about) else []
    return Plan(
        out=options.out or Path("runs") / f"{problem.path.stem}-{time.strftime('%Y%m%d-%H%M%S')}",
        title=f"{problem.train.param.name or problem.train.source} · {problem.path}",
        problem=problem,
        solver=effective,
        gpu=gpu,
        blas_threads=threads,
        start=start,
        until=until,
        point=point,
        replay=replay,
        streams=streams_of(problem, point, records) if replay else (),
        windows=windows,
        capture=capture,
        heads=heads(problem.train),
        keys=window_keys(problem, records, reached, point) if "input" in capture else None,
        snapshot_name=problem.path.stem if prefix.is_dir() or not prefix.name else prefix.name,
        keep_snapshots=options.keep_snapshots,
        on_alarm=options.on_alarm,
        ring_bytes=options.ring_mib << 20,
        facts=facts,
        remarks=tuple(_remarks(facts, windows, exact)),
    )


def _goes_on_from(start: Start, parent: Mapping[str, Any] | None) -> str | None:
    """The run that recorded the iterations before the first one: the parent, or the one that a snapshot lies in."""
    if parent is not None:
        return str(Path(parent["run"]).absolute())
    if start.state is None or start.about is None:
        return None
    run = start.state.path.absolute().parents[1]
    return str(run) if (run / "recording.h5").is_file() else None


def _not_exact(problem: Problem, start: Start, point: Point, facts: Mapping[str, Any]) -> list[str]:
    reasons = exactness.layers_without_place([net.param for net in problem.nets])
    if start.about is not None:
        reasons += other_data(point, start.about)
        reasons += exactness.differences(start.about, facts)
    elif start.iteration and problem.solver.random_seed < 0:
        reasons.append("the solver has no random_seed: the images come in order, but crops, mirrors and dropout differ")
    return reasons


def _remarks(facts: Mapping[str, Any], windows: tuple[Window, ...], exact: bool) -> Iterator[str]:
    first, until = facts["first"], facts["until"]
    if facts["random_seed_drawn"]:
        yield f"The solver has no random_seed: {facts['random_seed']} was drawn, and is written down in run.json"
    if first and not exact:
        yield (
            f"Resuming at iteration {first} as Caffe does: weights and momentum are restored, the position in the "
            "data and the random state are not (BVLC/caffe#1059), so this is not what an uninterrupted run would do"
        )
    elif first and not facts["not_exact"]:
        yield f"Resuming at iteration {first} exactly: weights, momentum, position in the data and random state"
    for reason in facts["not_exact"]:
        yield f"Not exact: {reason}"
    for window in windows:
        if not clip((window,), first, until):
            yield f"Window {window} lies outside this run's iterations {first}:{until} and will stay empty"
        elif clip((window,), first, until) != (window,):
            yield f"Window {window} reaches beyond this run's iterations {first}:{until} and is cut to them"


def _check_range(field: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise BadInput(f"must be at least {low}", field=field, value=value, remedy=f"Give a number up to {high}")


def _check_history(problem: Problem, start: Start) -> None:
    """Can this type of solver go on with the snapshot's history? Caffe only counts its blobs (BVLC/caffe#5581)."""
    if start.about is None or start.state is None or start.scale == 0:
        return
    then, now = (
        solver_type(parse_text(start.about["solver"], pb.SolverParameter, start.state.path)),
        problem.solver_type,
    )
    if then != now and {then, now} != {"SGD", "Nesterov"}:  # these two keep the same momentum
        raise BadInput(
            f"the snapshot holds the history of a {then} solver, which means something else to {now}",
            file=problem.path,
            field="type",
            value=now,
            remedy=f"Set type to {then}, or forget the history: restart.py … --history reset",
        )


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


def _seed(options: Options, solver: Any, about: Mapping[str, Any] | None) -> tuple[int, bool]:
    """The random seed, and whether it was drawn here. A snapshot of ours knows the seed of its run."""
    if options.seed is not None:
        return options.seed, False
    if solver.random_seed >= 0:
        return int(solver.random_seed), False
    if about is not None and options.data == "exact":
        return int(about["random_seed"]), False
    return secrets.randbelow(1 << 31), True


def _blas_threads(about: Mapping[str, Any] | None) -> int:
    """Another number of threads gives other bits, so it is pinned: as it was when the snapshot was made that the run
    goes on from, else as the user's environment says, else all cores."""
    if about is not None:
        return int(about["blas_threads"])
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdigit() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    return cores()
