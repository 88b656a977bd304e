"""Plan a run: check everything that the user gave before Caffe sees any of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import google.protobuf
import h5py
import lmdb
import msgspec
import numpy as np
import xxhash
from google.protobuf import text_format

import harness
from harness.caffe_files.messages import pb
from harness.caffe_files.net import heads, relus
from harness.caffe_files.paths import is_directory
from harness.caffe_files.solver import net_text
from harness.caffe_files.sources import Sources
from harness.diagnosis.exactness import exactness
from harness.reports.text.exactness import at_the_start
from harness.schemas.data_position import TrainingPosition
from harness.schemas.run_info import NEW_DIGESTS, DataSource, Gpu, Parent, RunInfo, SnapshotInfo
from harness.schemas.window import Window, clip, merge, parse_watch
from harness.supervisor import device
from harness.supervisor.excluded_records import excluded_keys, excluded_numbers
from harness.supervisor.options import Options, blas_threads_of, gpu_of, seed_of, until_of
from harness.supervisor.process_limits import check_names, check_ring_size
from harness.supervisor.record_keys import WindowKeys, window_keys
from harness.supervisor.resume import Start, check_snapshot
from harness.supervisor.starting_point import starting_point
from harness.supervisor.streams import rows_of, streams_of
from harness.supervisor.training_spec import TrainingSpec
from harness.supervisor.validation.history import check_history
from harness.supervisor.validation.labels import check_labels
from harness.supervisor.validation.rates import check_rates
from harness.supervisor.validation.records import check_records
from harness.supervisor.validation.training import read_sources
from harness.supervisor.validation.transforms import check_transforms
from harness.worker.payload import Payload, Resume

_VERSIONS = {  # not those of importlib.metadata, which parses the metadata of each package as an email
    "python": platform.python_version(),
    "numpy": np.__version__,
    "h5py": h5py.__version__,
    "protobuf": google.protobuf.__version__,
    "lmdb": lmdb.__version__,
    "xxhash": xxhash.VERSION,
}


@dataclass(frozen=True)
class Plan:
    """A run that can start.

    Attributes:
        spec: the training, from which errors take the names of files.
        solver: the effective SolverParameter, as in `info`.
        payload: what the worker is started with.
        keys: the records that will be read; None if no inputs are kept, or if they are not known.
        remarks: what the user should read first.
    """

    options: Options
    spec: TrainingSpec
    out: Path
    title: str
    solver: pb.SolverParameter
    payload: Payload
    keys: WindowKeys | None
    remarks: tuple[str, ...]

    @property
    def info(self) -> RunInfo:
        """The contents of run.json."""
        return self.payload.info

    @property
    def first(self) -> int:
        """The first iteration of the run."""
        return self.info.first

    @property
    def until(self) -> int:
        """The iteration before which the run ends."""
        return self.info.until


@dataclass(frozen=True)
class _Resolved:
    """The values that the options, the solver and the start resolve to; `warnings` are what the user should know."""

    until: int
    gpu: int | None
    card: Gpu | None
    sources: Sources
    seed: int
    seed_drawn: bool
    blas_threads: int
    point: TrainingPosition
    windows: tuple[Window, ...]
    capture: tuple[str, ...]
    replay: bool
    warnings: tuple[str, ...]


def make_plan(
    spec: TrainingSpec,
    start: Start,
    options: Options,
    parent: Parent | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Plan:
    """Plan the training of `spec` from `start`.

    Args:
        parent: the run that this one is a restart of.
        progress: receives how many of how many labels were read.

    Raises:
        BadInput: something cannot be used. Nothing was started.
    """
    resolved = _resolve(spec, start, options, progress)
    solver = _effective_solver(spec, options, resolved)
    info = _record(spec, start, options, parent, resolved, solver)
    out = options.out or Path("runs") / f"{spec.path.stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    reached = clip(resolved.windows, start.iteration, resolved.until)
    keys = None
    if "input" in resolved.capture and (reached or options.black_box_mib):
        keys = window_keys(spec, resolved.sources.images, resolved.point)
        keys = keys if keys is not None and (reached or keys.are_few) else None
    streams = streams_of(spec, resolved.point, resolved.sources) if resolved.replay else ()
    rows = rows_of(spec, resolved.point, resolved.sources) if resolved.replay else ()
    resumed = start.setup or info
    prefix = Path(spec.solver.snapshot_prefix)
    snapshot_name = spec.path.stem if is_directory(prefix) or not prefix.name else prefix.name
    check_names(out, snapshot_name, resolved.until)
    payload = Payload(
        run=str(out.resolve()),
        info=info,
        solver_type=spec.solver_type,
        snapshot_name=snapshot_name,
        native=(resumed.net, *resumed.test_nets),
        as_written=spec.as_written and not streams and not rows,
        gpu=resolved.gpu,
        windows=resolved.windows,
        resume=resume_of(start, resolved.replay) if start.is_reached else None,
        replay=resolved.replay,
        streams=streams,
        rows=rows,
        blas=resumed.blas if resolved.replay or not start.is_reached else None,
        record_keys=str(out.resolve() / ".window_keys.npz") if keys is not None and reached else None,
        label_blob=keys.label_blob if keys is not None else None,
    )
    return Plan(
        options=options,
        spec=spec,
        out=out,
        title=f"{spec.train.param.name or spec.train.source} · {spec.path}",
        solver=solver,
        payload=payload,
        keys=keys,
        remarks=(*_remarks(info, resolved.windows), *resolved.warnings),
    )


def _resolve(spec: TrainingSpec, start: Start, options: Options, progress: Callable[[int, int], None]) -> _Resolved:
    """Check everything that the run needs, and decide what the user left open."""
    windows = merge(parse_watch(text) for text in options.watch)
    capture = options.captures
    options.check_ranges()
    check_ring_size(options.ring_mib)
    spec.check()
    check_snapshot(start)
    until = until_of(options, spec.solver, start.iteration)
    warnings = [*check_history(spec, start)]
    warnings += check_rates(spec.solver, spec.path, start.iteration, until, start.step)
    gpu = gpu_of(options, spec.solver)
    if gpu is None:
        card = None
        for net in spec.nets:
            device.check_prefetching(net)
    else:
        card = device.check_gpu(gpu, spec.path if options.gpu is None else None)
    sources = read_sources(spec.nets, progress)
    warnings += [warning for records in sources.images.values() for warning in records.warnings]
    seed, drawn = seed_of(options, spec.solver, start.setup)
    begins = starting_point(spec, start, options, seed, sources, until)
    for number, net in enumerate(spec.nets):
        excluded = excluded_numbers(begins.point, number)
        warnings += check_transforms(net, sources, excluded)
        warnings += check_labels(net, sources, excluded)
    check_records(spec.nets, begins.point, sources)
    return _Resolved(
        until=until,
        gpu=gpu,
        card=card,
        sources=sources,
        seed=seed,
        seed_drawn=drawn,
        blas_threads=blas_threads_of(start.setup if options.exact else None),
        point=begins.point,
        windows=windows,
        capture=capture,
        replay=begins.replay,
        warnings=tuple(dict.fromkeys([*warnings, *begins.remarks])),
    )


def _effective_solver(spec: TrainingSpec, options: Options, resolved: _Resolved) -> pb.SolverParameter:
    """Return the solver as it will be trained with, apart from its snapshot_prefix, which the worker sets."""
    solver = pb.SolverParameter()
    solver.CopyFrom(spec.solver)
    solver.random_seed = resolved.seed
    solver.solver_mode = pb.SolverParameter.CPU if resolved.gpu is None else pb.SolverParameter.GPU
    if resolved.gpu is not None:
        solver.device_id = resolved.gpu
    solver.ClearField("weights")
    if options.snapshot_every is not None:
        solver.snapshot = options.snapshot_every
    return solver


def _record(
    spec: TrainingSpec,
    start: Start,
    options: Options,
    parent: Parent | None,
    resolved: _Resolved,
    solver: pb.SolverParameter,
) -> RunInfo:
    """Write down what run.json will say."""
    info = RunInfo(
        command=options.command,
        directory=str(Path.cwd()),
        harness=harness.__version__,
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        machine=platform.node(),
        solver_file=str(spec.path),
        solver=text_format.MessageToString(solver),
        net=net_text(spec.train),
        test_nets=tuple(net_text(net) for net in spec.tests),
        heads=heads(spec.train),
        relus=tuple(relus(spec.train.layers)),
        mode="CPU" if resolved.gpu is None else f"GPU {resolved.gpu}",
        gpu=resolved.card,
        random_seed=resolved.seed,
        random_seed_drawn=resolved.seed_drawn,
        blas_threads=resolved.blas_threads,
        caffe=device.caffe_build(),
        versions=_VERSIONS,
        data={name: DataSource(s.fingerprint, len(s)) for name, s in resolved.sources.all.items()},
        weights=start.weights,
        resume=str(start.state.path) if start.state else None,
        parent=parent,
        skip_records=excluded_keys(resolved.point, resolved.sources),
        native_start=start.native_start,
        goes_on_from=_goes_on_from(start, parent),
        point=resolved.point,
        digest_kind=NEW_DIGESTS if start.setup is None else start.setup.digest_kind,
        step=start.step,
        first=start.iteration,
        until=resolved.until,
        windows=tuple(str(window) for window in resolved.windows),
        capture=resolved.capture,
        on_alarm=options.on_alarm,
        not_exact=(),
    )
    knows_state = start.layer_state is not None or start.window_layers
    found = exactness(info, start.setup, knows_state, as_caffe=not options.exact)
    return msgspec.structs.replace(info, not_exact=found.reasons, exact_if=found.conditions)


def resume_of(start: Start, exact: bool) -> Resume:
    """Return what a worker is told to continue with at `start`; `exact`: with the state of layers."""
    state = start.state
    snapshot = start.setup if state and isinstance(start.setup, SnapshotInfo) else None
    layers = start.layer_state if exact else None
    return Resume(
        iteration=start.iteration,
        step=start.step,
        state=str(state.path) if state else None,
        model=str(state.learned_net.resolve()) if state else None,
        digest=snapshot.weight_digest if snapshot else None,
        layers=str(layers.resolve()) if layers else None,
        window=str(start.window) if start.window else None,
        window_layers=start.window_layers and exact,
        scale=start.scale,
        as_is=state is not None and not state.moved and start.scale is None,
    )


def _goes_on_from(start: Start, parent: Parent | None) -> str | None:
    """Return the run that recorded the iterations before the first one: the parent, or that of the snapshot."""
    if parent is not None:
        return str(Path(parent.run).absolute())
    if start.state is None or start.setup is None:
        return None
    run = start.state.path.absolute().parents[1]
    return str(run) if (run / "recording.h5").is_file() else None


def _remarks(info: RunInfo, windows: tuple[Window, ...]) -> Iterator[str]:
    first, until = info.first, info.until
    if info.random_seed_drawn:
        yield f"The solver has no random_seed: {info.random_seed} was drawn, and is recorded in run.json"
    if not info.heads:
        yield "The train net has no loss: its weights get no gradients"
    yield from at_the_start(info)
    for window in windows:
        if not clip((window,), first, until):
            yield f"Window {window} lies outside this run's iterations {first}:{until} and will stay empty"
        elif clip((window,), first, until) != (window,):
            yield f"Window {window} reaches beyond this run's iterations {first}:{until} and is cut to them"
