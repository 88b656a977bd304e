"""Make the page in a capsule, index.html, from the run directory that is packed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.solver import solver_type
from harness.diagnosis.conditions import chance_loss, total_chance_loss
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.reports.html.capsule_page import CapsulePage, Command, Level, Member, Records, capsule_page
from harness.reports.html.loss_curve import loss_curve
from harness.reports.text.grammar import list_names
from harness.schemas.capsule import DATA, EXPLAIN, RECORDING, RUN_INFO, SNAPSHOTS, Break, Manifest
from harness.schemas.run_info import RunInfo

_SUFFIXES = {
    ".caffemodel": "the weights at the start",
    ".solverstate": "the solver's history at the start: momentum, or what that solver keeps",
    ".json": "where the training stood in its data and random numbers",
    ".layers.npz": "what layers keep from batch to batch",
}


def index_page(directory: Path, manifest: Manifest, name: str) -> str:
    """Render the page of the capsule `name` that is to be made of the run in `directory`.

    Raises:
        BadInput, RecordingError: something in it cannot be read.
    """
    info = read_info(directory)
    with Recording(directory, may_repair=False) as recording:
        return capsule_page(_page(directory, manifest, name, info, recording))


def _page(directory: Path, manifest: Manifest, name: str, info: RunInfo, recording: Recording) -> CapsulePage:
    broke, iterations, losses = manifest.broke, recording.iterations, recording.series("loss")
    net = parse_text(info.net, pb.NetParameter, directory)
    onset = broke.onset if broke is not None else None
    weights = sum(param.count for param in recording.params)
    return CapsulePage(
        name=name,
        headline=_headline(broke, manifest, losses),
        details=(f"Evidence for that iteration: {broke.reason}.",) if broke is not None and broke.reason else (),
        breaks=broke is not None,
        net=f"{net.name or 'unnamed'}, {len(recording.params)} param blobs, {weights:,} weights",
        solver_type=solver_type(parse_text(info.solver, pb.SolverParameter, directory)),
        first=manifest.first,
        until=manifest.until,
        onset=onset,
        curve=loss_curve(iterations, losses, manifest.first, onset, total_chance_loss(info.heads)),
        levels=_levels(broke),
        commands=tuple(_commands(name, onset is not None)),
        members=tuple(_members(directory, info, len(iterations))),
        data=tuple(_records(info, net)),
        shrunk=manifest.shrunk,
        anonymous=manifest.anonymous,
        blank=manifest.blank,
        versions=tuple(_versions(info, manifest)),
        python_layers=tuple(layer.name for layer in net.layer if layer.type == "Python"),
    )


def _headline(broke: Break | None, manifest: Manifest, losses: np.ndarray) -> str:
    if broke is None:
        return f"Iterations {manifest.first:,} to {manifest.until - 1:,} of a training; no break was found in them"
    start = f"Training broke at iteration {broke.onset:,}"
    if broke.after is None or not np.isfinite(losses[-1]):
        return f"{start}: the loss is NaN or infinite at the last iteration in this file, {manifest.until - 1:,}"
    went = f"from {broke.before:.4g} to {broke.after:.4g}" if broke.before is not None else f"to {broke.after:.4g}"
    last = f"iteration {manifest.until - 1:,}, the last one in this file"
    return f"{start}: the loss went {went} and had not recovered at {last}"


def _levels(broke: Break | None) -> tuple[Level, ...]:
    if broke is None:
        return ()
    return tuple(
        Level(head.name, head.before, head.after, chance_loss(head.classes) if head.classes else None)
        for head in broke.heads
    )


def _commands(file: str, breaks: bool) -> Iterator[Command]:
    name = shlex.quote(file)
    yield Command(
        f"caffe-harness capsule run {name}",
        "trains these iterations and says whether every weight has the recorded bits, the same break happens with "
        "other bits, or what differs",
    )
    yield Command(f"caffe-harness capsule show {name}", "lists the contents without training")
    yield Command(
        f"caffe-harness capsule open {name} --out RUN",
        "makes a run directory of it, for the commands report and restart",
    )
    if breaks:
        yield Command(f"caffe-harness capsule shrink {name}", "leaves out what the break does not need")


def _members(directory: Path, info: RunInfo, iterations: int) -> Iterator[Member]:
    known = {
        RUN_INFO: "the solver, the net, versions, and how the run went",
        RECORDING: f"losses, norms and digests of {iterations:,} iterations",
        EXPLAIN: "what `explain` found",
    }
    for name, what in known.items():
        if (directory / name).is_file():
            yield Member(name, what, (directory / name).stat().st_size)
    for path in sorted((directory / SNAPSHOTS).iterdir()):
        what = next((what for end, what in _SUFFIXES.items() if path.name.removesuffix(".h5").endswith(end)), "")
        if path.is_file():
            yield Member(f"{SNAPSHOTS}/{path.name}", what, path.stat().st_size)
    for path in sorted((directory / DATA).iterdir()) if (directory / DATA).is_dir() else ():
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        name = f"{DATA}/{path.name}"
        readers = [
            place.layer for place in info.point.inputs if place.source == name or place.source.startswith(f"{name}/")
        ]
        what = f"the records that layer {list_names(readers)} reads" if readers else "numbers that the net reads"
        yield Member(name, what, sum(file.stat().st_size for file in files))


def _records(info: RunInfo, net: pb.NetParameter) -> Iterator[Records]:
    for place in info.point.of_train_net:
        layer = next((layer for layer in net.layer if layer.name == place.layer), None)
        kind = f" ({layer.type})" if layer is not None else ""
        source = info.data.get(place.source)
        yield Records(f"{place.layer}{kind}", source.records if source is not None else 0)


def _versions(info: RunInfo, manifest: Manifest) -> Iterator[tuple[str, str]]:
    yield "Iterations", f"{manifest.first:,} to {manifest.until - 1:,}"
    yield "Caffe", str(info.caffe.get("version", "unknown"))
    yield "Device", info.mode if info.gpu is None else f"{info.mode}, {info.gpu.name}"
    if manifest.processor:
        yield "Processor", manifest.processor
    core = f", kernels {info.blas.core}" if info.blas is not None and info.blas.core else ""
    yield "OpenBLAS", f"{info.blas_threads} thread{'' if info.blas_threads == 1 else 's'}{core}"
    yield "caffe-harness", info.harness
    for name, version in info.versions.items():
        yield {"python": "Python", "numpy": "NumPy"}.get(name, name), version
    if info.machine:
        yield "Host", info.machine
