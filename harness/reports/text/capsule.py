"""Print what is in a capsule, for people or as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from harness.caffe_files.layer_types import IMAGES, ROWS, WINDOWS
from harness.caffe_files.messages import parse_text, pb
from harness.caffe_files.net import NetFile, data_param_of, numbered_layers
from harness.caffe_files.solver import solver_type
from harness.quantities import file_size
from harness.reports.console import Console
from harness.schemas.capsule import EXPLAIN, Manifest
from harness.schemas.run_info import RunInfo

_MOST_SHOWN = 500  # characters of a line: a capsule may come from a stranger
_KINDS = {"Data": "LMDB", "ImageData": "images of a list", "HDF5Data": "rows of HDF5 files", "WindowData": "windows"}
# Fields of a solver that say how fast it learns and for how long, in the order in which they are shown
_RATE = ("base_lr", "lr_policy", "gamma", "power", "stepsize", "stepvalue", "max_iter")
_REST = ("momentum", "momentum2", "rms_decay", "delta", "weight_decay", "regularization_type", "clip_gradients",
         "iter_size", "random_seed")  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A file of a capsule, or a directory with all its `files`: bytes as stored, and as unpacked."""

    name: str
    files: int
    stored: int
    unpacked: int


@dataclass(frozen=True)
class Shown:
    """What is shown of a capsule.

    Attributes:
        code: which layers run Python code, a sentence each.
        other_arithmetic: what this machine computes with otherwise; nothing if the same bits can be expected.
    """

    path: Path
    manifest: Manifest
    info: RunInfo
    parts: tuple[Part, ...]
    code: tuple[str, ...]
    other_arithmetic: tuple[str, ...]

    @property
    def solver(self) -> pb.SolverParameter:
        return parse_text(self.info.solver, pb.SolverParameter, self.path)

    @property
    def net(self) -> pb.NetParameter:
        return parse_text(self.info.net, pb.NetParameter, self.path)

    @property
    def explained(self) -> bool:
        return self.manifest.member(EXPLAIN) is not None


def show(shown: Shown, console: Console) -> None:
    """Print what is in a capsule."""
    manifest, size = shown.manifest, sum(part.stored for part in shown.parts)
    console.print(Text(manifest.title, style="bold"), soft_wrap=True)
    console.print(Text(f"{shown.path}: {file_size(size)}, which unpack to {file_size(manifest.size)}"), soft_wrap=True)
    console.print()
    _show_break(manifest, console)
    console.print(_facts(shown))
    console.print()
    console.print(_parts(shown))


def as_json(shown: Shown) -> Mapping[str, Any]:
    """Return what is in a capsule as one JSON object."""
    manifest, info = shown.manifest, shown.info
    content: dict[str, Any] = msgspec.to_builtins(manifest)
    del content["members"]
    return content | {
        "solver": {"type": solver_type(shown.solver)} | _solver_fields(shown.solver, (*_RATE, *_REST)),
        "net": {"name": shown.net.name, "layers": len(shown.net.layer), "parameters": manifest.parameters},
        "data": _data(shown),
        "python_layers": list(shown.code),
        "explained": shown.explained,
        "caffe": {name: info.caffe.get(name) for name in ("version", "key")},
        "blas": msgspec.to_builtins(info.blas),
        "blas_threads": info.blas_threads,
        "versions": info.versions,
        "this_machine": {
            "same_bits_expected": not shown.other_arithmetic,
            "differences": list(shown.other_arithmetic),
        },
        "parts": {part.name: msgspec.to_builtins(part) for part in shown.parts},
    }


def _show_break(manifest: Manifest, console: Console) -> None:
    broke = manifest.broke
    if broke is None:
        console.print(Text("Its recording shows no break.", style="bold green"))
        console.print()
        return
    loss = f"loss {_before(broke.before)} → {_level(broke.after)}"
    console.print(Text(f"Broke at iteration {broke.onset:,}: {loss}", style="bold red"), soft_wrap=True)
    _print_line(console, broke.reason)
    console.print()
    if broke.heads:
        grid = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
        grid.add_column("head", overflow="fold")
        for column in ("weight", "classes", "loss before", "loss after"):
            grid.add_column(column, justify="right")
        for head in broke.heads:
            classes = f"{head.classes:,}" if head.classes else "–"
            grid.add_row(Text(head.name), f"{head.weight:.3g}", classes, _before(head.before), _level(head.after))
        console.print(grid)
        console.print()


def _print_line(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=not console.is_terminal)


def _facts(shown: Shown) -> Table:
    manifest, solver = shown.manifest, shown.solver
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")

    def add(name: str, *lines: str) -> None:
        grid.add_row(name, Group(*(Text(line[:_MOST_SHOWN]) for line in lines)))

    count = manifest.until - manifest.first
    add("Iterations", f"{manifest.first:,} … {manifest.until - 1:,} ({count:,})")
    rate, rest = (_solver_fields(solver, fields) for fields in (_RATE, _REST))
    add("Solver", f"{solver_type(solver)}, {_joined(rate)}", *([_joined(rest)] if rest else []))
    add("Net", f"{shown.net.name or '(no name)'}: {len(shown.net.layer)} layers, {manifest.parameters:,} parameters")
    data = [f"{entry['source']}: {entry['kind']}, {entry['records']:,} records" for entry in _data(shown)]
    add("Data", *(data or ["none that is read from a file"]))
    add("Python layers", *(shown.code or ["none"]))
    add("Packed by", f"caffe-harness {manifest.harness}{', anonymous' if manifest.anonymous else ''}")
    if manifest.shrunk:
        add("Changed", *manifest.shrunk)
    add("Trained with", *_trained_with(shown))
    if shown.other_arithmetic:
        add("This machine", f"other bits must be expected: {'; '.join(shown.other_arithmetic)}")
    else:
        add("This machine", "the same build of Caffe and the same kernels: the same bits can be expected")
    add("Explanation", f"{EXPLAIN} is in it" if shown.explained else "none")
    return grid


def _trained_with(shown: Shown) -> list[str]:
    info = shown.info
    caffe = f"Caffe {info.caffe.get('version', '(unknown)')}, build {info.caffe.get('key', '(unknown)')}"
    threads = f"{info.blas_threads} BLAS thread{'' if info.blas_threads == 1 else 's'}"
    core = info.blas.core if info.blas is not None else None
    kernels = f"OpenBLAS kernels for {core}" if core else "unknown BLAS kernels"
    versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
    return [f"{caffe}, on {info.mode}", f"{kernels}, {threads}", f"{shown.manifest.processor or 'unknown processor'}",
            *([versions] if versions else [])]  # fmt: skip


def _parts(shown: Shown) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    grid.add_column("part", overflow="fold")
    for column in ("files", "size", "unpacked"):
        grid.add_column(column, justify="right")
    for part in shown.parts:
        grid.add_row(Text(part.name), f"{part.files:,}", file_size(part.stored), file_size(part.unpacked))
    return grid


def _data(shown: Shown) -> list[dict[str, Any]]:
    """Describe what each data layer of the train net reads; several layers may read the same."""
    found: dict[str, dict[str, Any]] = {}
    for _, layer in numbered_layers(NetFile("", shown.net), IMAGES + ROWS + WINDOWS):
        source = data_param_of(layer).source
        known = shown.info.data.get(source)
        records = known.records if known is not None else 0
        found[source] = {"source": source, "kind": _KINDS[layer.type], "records": records}
    return list(found.values())


def _solver_fields(solver: pb.SolverParameter, names: tuple[str, ...]) -> dict[str, Any]:
    """Return those of the fields `names` that are set; numbers that are not finite, which JSON cannot have, as text."""
    found: dict[str, Any] = {}
    for field, value in solver.ListFields():
        if field.name in names:
            found[field.name] = list(value) if field.is_repeated else _number(value)
    return {name: found[name] for name in names if name in found}


def _number(value: object) -> object:
    """Return a value with the fewest digits that give the same float32."""
    if not isinstance(value, float):
        return value
    return float(str(np.float32(value))) if math.isfinite(value) else str(value)


def _joined(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _value(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _before(level: float | None) -> str:
    """Return the level before a break; where it is None, the break is at the first iteration that was recorded."""
    return "–" if level is None else f"{level:.3f}"


def _level(level: float | None) -> str:
    return "not finite" if level is None else f"{level:.3f}"
