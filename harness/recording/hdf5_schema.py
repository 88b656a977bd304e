"""HDF5 schema of a recording: its groups and datasets. All are created before SWMR starts, which forbids new ones."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import h5py
import numpy as np

from harness.recording.checksums import CHECKSUM, COLUMN, SCALARS, attributes_checksum, table_checksum
from harness.recording.tables import read_attributes, read_blobs, read_inputs, read_params
from harness.recording.window_datasets import References, chunk_rows, create_dataset
from harness.schemas import layout as fmt
from harness.schemas.captures import ALL_CAPTURES
from harness.schemas.layout import Activation, Array, Layout, Output, link_names

_ALARM = np.dtype(
    [
        ("iteration", "<i8"),
        ("rule", "S64"),
        ("subject", "S256"),
        ("value", "<f8"),
        ("limit", "<f8"),
        (CHECKSUM, "<u8"),
    ]
)
_CHUNK = 1 << 17  # bytes of a chunk of rows
_MANY = 256  # datasets that are attached to a scale before its list of references slows down the next one

# Attributes of a recording's root, by name
Attributes = Mapping[str, str | int | float | bool]


def array_paths(arrays: Sequence[Array]) -> list[str]:
    """HDF5 path of every one of the window `arrays`."""
    groups = (*ALL_CAPTURES, "state")
    paths = {group: link_names(array.label for array in arrays if array.group == group) for group in groups}
    return [
        f"window/{array.group}/{paths[array.group][array.label]}" if array.group in paths else f"window/{array.group}"
        for array in arrays
    ]


def create_datasets(file: h5py.File, layout: Layout, attributes: Attributes) -> None:
    """Create all groups and datasets of a recording with this layout; `attributes` become those of its root."""
    file.attrs["format"] = fmt.FORMAT
    file.attrs["format_version"] = fmt.FORMAT_VERSION
    file.attrs["closed"] = False
    for name, value in attributes.items():
        file.attrs[name] = value
    axes = _Axes(file)
    params = _create_params(file, layout)
    blobs = _create_blobs(file, "blob", layout.activations)
    inputs = _create_blobs(file, "input", layout.inputs)
    _create_iterations(file, layout, axes, params, inputs)
    _create_activations(file, len(layout.activations), axes, blobs)
    _create_tests(file, layout, axes)
    file.create_dataset("alarm", (0,), _ALARM, maxshape=(None,), chunks=(64,))
    if layout.arrays:
        _create_windows(file, layout.arrays, sum(map(len, layout.windows)), axes)
    # of what does not change any more
    file["param"].attrs[CHECKSUM] = np.uint64(table_checksum(read_params(file)))
    file["blob"].attrs[CHECKSUM] = np.uint64(table_checksum(read_blobs(file)))
    file["input"].attrs[CHECKSUM] = np.uint64(table_checksum(read_inputs(file)))
    file.attrs[CHECKSUM] = np.uint64(attributes_checksum(read_attributes(file)))


def _create_iterations(
    file: h5py.File, layout: Layout, axes: _Axes, params: h5py.Dataset, inputs: h5py.Dataset
) -> None:
    """Create what grows by one row an iteration."""
    rows = axes.rows("iteration")
    units = {"lr": "learning rate", "loss": "weighted total of this iteration alone", "seconds": "s"}
    for name in ("lr", "loss", "smoothed_loss", "seconds"):
        _rows(file, name, (), "<f8", [rows], units.get(name, "loss averaged as caffe train displays it"))
    _rows(file, "digest", (), "<u8", [rows], "hash of all learnable weights W_t, as the attribute digest_kind says")
    paths = link_names(o.name for o in layout.outputs)
    outputs = file.create_group("output")
    for output in layout.outputs:
        _output_rows(outputs, paths[output.name], output, [rows, axes.index(output.size)])
    stats = file.create_group("stat")
    for name, meaning in fmt.STATS.items():
        _rows(stats, name, (len(layout.params),), "<f8", [rows, params], meaning)
    input_stats = file.create_group("input_stat")
    for name, meaning in fmt.INPUT_STATS.items():
        _rows(input_stats, name, (len(layout.inputs),), "<f8", [rows, inputs], meaning)
    covered = [[rows], [file[name] for name in SCALARS]]
    covered += [[outputs[paths[output.name]]] for output in layout.outputs]
    covered += [[stats[name]] for name in fmt.STATS]
    covered += [[input_stats[name]] for name in fmt.INPUT_STATS]
    _checksums(file, covered, rows, axes)


def _create_activations(file: h5py.File, count: int, axes: _Axes, blobs: h5py.Dataset) -> None:
    group = file.create_group("activation")
    sampled = axes.rows("activation/iteration")
    for name, meaning in fmt.ACTIVATION_STATS.items():
        _rows(group, name, (count,), "<f8", [sampled, blobs], meaning)
    _checksums(group, [[sampled], *([group[name]] for name in fmt.ACTIVATION_STATS)], sampled, axes)


def _create_tests(file: h5py.File, layout: Layout, axes: _Axes) -> None:
    """Create one group a test net, whose datasets grow by one row a test pass."""
    file.create_group("test")
    for net, test_outputs in enumerate(layout.test_outputs):
        passes = axes.rows(f"test/{net}/iteration")
        paths = link_names(o.name for o in test_outputs)
        group = file[f"test/{net}"].create_group("output")
        for output in test_outputs:
            _output_rows(group, paths[output.name], output, [passes, axes.index(output.size)])
        covered = [[passes], *([group[paths[output.name]]] for output in test_outputs)]
        _checksums(file[f"test/{net}"], covered, passes, axes)


def create_window_datasets(file: h5py.File, arrays: Sequence[Array], iterations: int, activations: int = 0) -> None:
    """Create all groups and datasets of a window in a file of its own.

    Args:
        iterations: how many may come.
        activations: the number of those whose statistics are kept.
    """
    axes = _Axes(file)
    _create_windows(file, arrays, iterations, axes)
    if activations:
        _create_activations(file, activations, axes, axes.index(activations))


def _create_windows(file: h5py.File, arrays: Sequence[Array], iterations: int, axes: _Axes) -> None:
    """Create the window arrays, which grow by one row an iteration of a window, up to `iterations` of them."""
    window = axes.rows("window/iteration")
    window.attrs[COLUMN] = 0
    references = References()
    rows = chunk_rows(arrays, iterations)
    for column, (array, path) in enumerate(zip(arrays, array_paths(arrays), strict=True), 1):
        create_dataset(
            file, path, array, rows[column - 1], [window, *(axes.index(size) for size in array.shape)], column
        )
        if column % _MANY == 0:
            references.take([window, *axes.indices])
    references.take([window, *axes.indices])
    references.put_back()
    _checksum_rows(file["window"], 1 + len(arrays), window, axes)


def _create_params(file: h5py.File, layout: Layout) -> h5py.Dataset:
    """Create /param, which is also the dimension scale of the statistics of param blobs."""
    text, shape = h5py.string_dtype(), h5py.vlen_dtype(np.dtype("<i4"))
    param = np.dtype(
        [
            ("layer", text),
            ("index", "<i4"),
            ("shape", shape),
            ("count", "<i8"),
            ("lr_mult", "<f4"),
            ("decay_mult", "<f4"),
        ]
    )
    rows = np.empty(len(layout.params), param)
    for row, p in enumerate(layout.params):
        rows[row] = (p.layer, p.index, np.array(p.shape, "<i4"), p.count, p.lr_mult, p.decay_mult)
    params = file.create_dataset("param", data=rows, dtype=param)
    params.make_scale("param")
    return params


def _create_blobs(file: h5py.File, name: str, blobs: Sequence[Activation]) -> h5py.Dataset:
    """Create the table `name` of the net's blobs, which is also the dimension scale of their statistics."""
    blob = np.dtype([("name", h5py.string_dtype()), ("shape", h5py.vlen_dtype(np.dtype("<i4")))])
    rows = np.empty(len(blobs), blob)
    for row, a in enumerate(blobs):
        rows[row] = (a.name, np.array(a.shape, "<i4"))
    table = file.create_dataset(name, data=rows, dtype=blob)
    table.make_scale(name)
    return table


def _rows(
    parent: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    scales: list[h5py.Dataset],
    description: str,
) -> h5py.Dataset:
    """Create a dataset that grows along its first axis.

    Args:
        parent: the group.
        name: path below it.
        shape: shape of one row.
        dtype: element type.
        scales: dimension scale of each axis.
        description: meaning, for the attribute of that name.
    """
    row = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    chunk = tuple(max(1, size) for size in (min(1024, _CHUNK // max(1, row)), *shape))
    largest = (None, *(size or None for size in shape))  # an axis of length 0 cannot be fixed
    dataset = parent.create_dataset(name, (0, *shape), dtype, maxshape=largest, chunks=chunk)
    for axis, scale in enumerate(scales):
        dataset.dims[axis].attach_scale(scale)
    dataset.attrs["description"] = description
    return dataset


def _checksums(group: h5py.Group, covered: list[list[h5py.Dataset]], rows: h5py.Dataset, axes: _Axes) -> None:
    """Create the checksums of a group's rows, a column for each list of datasets in `covered`."""
    _checksum_rows(group, len(covered), rows, axes)
    for column, columns in enumerate(covered):
        for dataset in columns:
            dataset.attrs[COLUMN] = column


def _checksum_rows(group: h5py.Group, columns: int, rows: h5py.Dataset, axes: _Axes) -> None:
    description = f"XXH3-64 of a row of the datasets with this {COLUMN}, and of the iteration"
    _rows(group, CHECKSUM, (columns,), "<u8", [rows, axes.index(columns)], description)


def _output_rows(group: h5py.Group, path: str, output: Output, scales: list[h5py.Dataset]) -> None:
    dataset = _rows(group, path, (output.size,), "<f4", scales, "output of the net")
    dataset.attrs["name"] = output.name


class _Axes:
    """Creates dimension scales: one that grows for each kind of row, one 0, 1, 2… for each fixed length."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self._indices: dict[int, h5py.Dataset] = {}

    @property
    def indices(self) -> Iterable[h5py.Dataset]:
        """The scales of fixed length."""
        return self._indices.values()

    def rows(self, path: str) -> h5py.Dataset:
        scale = self._file.create_dataset(path, (0,), "<i8", maxshape=(None,), chunks=(1024,))
        scale.make_scale("iteration")
        return scale

    def index(self, size: int) -> h5py.Dataset:
        if size not in self._indices:
            self._indices[size] = self._file.create_dataset(f"axis/{size}", data=np.arange(size, dtype="<i4"))
            self._indices[size].make_scale("index")
        return self._indices[size]


def row_datasets(file: h5py.File) -> list[h5py.Dataset]:
    """List the datasets that have a row for each iteration. Recordings of before 0.3.0 have no checksums."""
    return [d for name in (*fmt.ROWS, CHECKSUM) if name in file for d in datasets(file[name])]


def datasets(node: h5py.Group | h5py.Dataset) -> list[h5py.Dataset]:
    """List `node` itself if it is a dataset, or all datasets below it."""
    if isinstance(node, h5py.Dataset):
        return [node]
    return [dataset for child in node.values() for dataset in datasets(child)]


def chunk_bytes(dataset: h5py.Dataset) -> int:
    """Return the bytes of a chunk of `dataset`."""
    return int(math.prod(dataset.chunks) * dataset.dtype.itemsize)
