"""Check that images fit what a data layer does with them: their crop, their mean, and the batch that they share.

Caffe compares them when it transforms an image (data_transformer.cpp), so it aborts at the first one that does not fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.caffe_files.formatting import format_shape, printable
from harness.caffe_files.image_survey import DARK, ImageKind, Images
from harness.caffe_files.layer_types import TRANSFORMED, WINDOWS
from harness.caffe_files.lmdb_file import Records
from harness.caffe_files.mean_file import Floats, read_mean
from harness.caffe_files.messages import pb
from harness.caffe_files.net import NetFile, data_param_of
from harness.caffe_files.paths import is_file
from harness.caffe_files.sources import Sources
from harness.errors import BadInput

_COLOURS = 3  # channels of an image that is read in colour


@dataclass(frozen=True)
class _Seen:
    """Images as a layer decodes them: their shape, as far as it is known, and which of them is the first."""

    channels: int | None
    size: tuple[int, int] | None  # height, width
    bits: int
    name: str

    @property
    def shape(self) -> str:
        return "×".join("?" if n is None else str(n) for n in (self.channels, *(self.size or (None, None))))


def mean_of(layer: pb.LayerParameter, where: str) -> Floats:
    """Read the mean_file of `layer`, (channels, height, width).

    Raises:
        BadInput: there is no such file, or it is not a mean image.
    """
    mean = layer.transform_param.mean_file
    if not is_file(mean):
        raise BadInput(
            "no such file", file=where, field="mean_file", value=mean,
            remedy="Make it with compute_image_mean, or use mean_value",
        )  # fmt: skip
    try:
        return read_mean(Path(mean))
    except ValueError as error:
        raise BadInput(
            f"not a mean image, or a damaged one ({error})", file=where, field="mean_file", value=mean,
            remedy="Make it again with compute_image_mean, or use mean_value",
        ) from None  # fmt: skip


def check_transforms(net: NetFile, sources: Sources, excluded: Mapping[int, Sequence[int]]) -> Iterator[str]:
    """Check the images of each data layer of `net`, as far as they are known, and yield warnings.

    Args:
        excluded: the numbers of records that are left out, by the index of their layer. The first ones are checked
            nevertheless: Caffe reads them whenever it builds the net.

    Raises:
        BadInput: an image does not fit crop_size, the mean, or the other images of its batch.
    """
    for index, layer in enumerate(net.layers):
        if layer.type not in TRANSFORMED:
            continue
        where, transform = f"{net.source}: layer {layer.name}", layer.transform_param
        mean = mean_of(layer, where) if transform.HasField("mean_file") else None
        if layer.type in WINDOWS:
            _check_windows(transform, mean, where)
            continue
        records = _records(layer, sources)
        left_out = _left_out(layer, excluded.get(index, ()))
        if left_out and records is not None and records.images is not None:
            records = replace(records, images=records.images.without(left_out))
        for seen in _seen(layer, records):
            _check_bits(seen, where, records)
            _check_crop(seen, transform, where)
            _check_mean(seen, transform, mean, where)
        if records is not None and records.images is not None:
            _check_batches(layer, records, records.images, left_out, where)
            yield from _doubtful(records, records.images)


def _records(layer: pb.LayerParameter, sources: Sources) -> Records | None:
    """Return the records of a layer, with what is known of their images."""
    source = data_param_of(layer).source if layer.type != "MemoryData" else ""
    records = sources.images.get(source)
    if records is None or layer.type != "ImageData":
        return records
    return replace(records, images=sources.listed.get((source, layer.image_data_param.root_folder)))


def _left_out(layer: pb.LayerParameter, excluded: Sequence[int]) -> list[int]:
    """Return those of the records `excluded` that `layer` does not read when it is built."""
    at_once = data_param_of(layer).batch_size * layer.data_param.prefetch if excluded else 0
    return [number for number in excluded if number >= at_once]


def _seen(layer: pb.LayerParameter, records: Records | None) -> Iterator[_Seen]:
    """Yield the images of a layer, one of each kind."""
    memory, listed = layer.memory_data_param, layer.image_data_param
    if layer.type == "MemoryData":
        yield _Seen(memory.channels, (memory.height, memory.width), 8, "every image")
    elif layer.type == "ImageData" and listed.new_height:
        yield _Seen(_COLOURS if listed.is_color else 1, (listed.new_height, listed.new_width), 8, "every image")
    elif records is not None and records.images is not None:
        for number, kind in enumerate(records.images.kinds):
            first = records.images.first(number)
            yield _as_decoded(kind, layer, f"record {first:,}, key {printable(records.keys[first])}")


def _as_decoded(kind: ImageKind, layer: pb.LayerParameter, name: str) -> _Seen:
    """Return images of a kind as a layer decodes them."""
    transform = layer.transform_param
    if layer.type == "ImageData":
        forced, colour = True, layer.image_data_param.is_color
    else:
        forced, colour = kind.encoded and (transform.force_color or transform.force_gray), transform.force_color
    shape = kind.shape
    turned = kind.exif and forced
    size = None if shape is None or (turned and shape[1] != shape[2]) else (shape[1], shape[2])
    channels = (_COLOURS if colour else 1) if forced else shape[0] if shape else None
    return _Seen(channels, size, 8 if forced or not kind.encoded else kind.bits, name)


def _check_bits(seen: _Seen, where: str, records: Records | None) -> None:
    if seen.bits > 8:
        raise BadInput(
            f"{seen.name}, has {seen.bits} bits a value, and Caffe decodes 8",
            file=where, field="source", value=records.source if records else None,
            remedy="Store images of 8 bits, or give transform_param { force_color: true } (or force_gray), with which "
            "the upper 8 bits are left",
        )  # fmt: skip


def _check_crop(seen: _Seen, transform: pb.TransformationParameter, where: str) -> None:
    crop = transform.crop_size
    if crop and seen.size is not None and crop > min(seen.size):
        raise BadInput(
            f"larger than an image: {seen.name}, has {format_shape(seen.size)}",
            file=where, field="crop_size", value=crop, remedy=f"Give at most {min(seen.size)}, or larger images",
        )  # fmt: skip


def _check_mean(seen: _Seen, transform: pb.TransformationParameter, mean: Floats | None, where: str) -> None:
    if mean is not None:
        channels, *size = mean.shape
        if seen.channels not in (None, channels) or (seen.size is not None and seen.size != tuple(size)):
            raise BadInput(
                f"the mean is {format_shape(mean.shape)}, and the image is {seen.shape} ({seen.name})",
                file=where, field="mean_file", value=transform.mean_file,
                remedy="Make it from these images with compute_image_mean, or use mean_value, one for each channel",
            )  # fmt: skip
    given = len(transform.mean_value)
    if given > 1 and seen.channels is not None and given != seen.channels:
        raise BadInput(
            f"{given} values, and the image has {seen.channels} channel{'s' * (seen.channels > 1)} ({seen.name})",
            file=where, field="mean_value", value=" ".join(f"{value:g}" for value in transform.mean_value),
            remedy=f"Give one value for all channels, or {seen.channels}",
        )  # fmt: skip


def _check_windows(transform: pb.TransformationParameter, mean: Floats | None, where: str) -> None:
    """Check the mean of a WindowData layer: Caffe takes its middle, without looking at its size."""
    if mean is not None:
        channels, height, width = mean.shape
        crop, offset = transform.crop_size, math.trunc((width - transform.crop_size) / 2)  # for rows and columns
        if channels < _COLOURS or offset < 0 or offset + crop > min(height, width):
            raise BadInput(
                f"the mean is {format_shape(mean.shape)}, and windows are {_COLOURS}×{crop}×{crop}",
                file=where, field="mean_file", value=transform.mean_file,
                remedy="Give a square mean of images in colour, at least as large as crop_size, or use mean_value",
            )  # fmt: skip
    if len(transform.mean_value) not in (0, 1, _COLOURS):
        raise BadInput(
            f"{len(transform.mean_value)} values, and windows have {_COLOURS} channels", file=where, field="mean_value",
            value=" ".join(f"{value:g}" for value in transform.mean_value), remedy="Give one value, or three",
        )  # fmt: skip


def _check_batches(
    layer: pb.LayerParameter, records: Records, images: Images, left_out: Sequence[int], where: str
) -> None:
    """Check that the images of a batch have one shape: Caffe lays a batch out for its first one.

    Batches follow each other without a gap. Those that hold the last record and the first, and what they shift in later
    epochs, are not checked: the run may end before.
    """
    kinds = [_as_decoded(kind, layer, "") for kind in images.kinds]
    crop = layer.transform_param.crop_size
    shapes: dict[tuple[int | None, tuple[int, int] | None], int] = {}
    number_of = [shapes.setdefault((kind.channels, None if crop else kind.size), len(shapes)) for kind in kinds]
    if len(shapes) < 2 or (layer.type == "ImageData" and layer.image_data_param.new_height):
        return
    known = np.array([kind.channels is not None and (crop > 0 or kind.size is not None) for kind in kinds])
    shape_of = np.array(number_of)[images.of]
    seen = known[images.of] & (images.of >= 0)
    read = np.delete(np.arange(len(records)), left_out)
    after, place = np.roll(read, -1), np.roll(np.arange(len(read)), -1)
    batch = data_param_of(layer).batch_size
    changes = seen[read] & seen[after] & (shape_of[read] != shape_of[after])
    within = place % batch != 0  # in the first epoch
    if layer.type == "ImageData" and layer.image_data_param.rand_skip:  # the first batch may begin at any of several
        within = np.full(len(read), len(np.unique(place[changes] % batch)) > 1)
    differ = changes & within
    if layer.type == "ImageData" and layer.image_data_param.shuffle and batch > 1:
        after = np.full(len(read), np.argmax(seen))
        differ = seen[read] & (shape_of[read] != shape_of[after])
    if not differ.any():
        return
    first, second = int(read[np.argmax(differ)]), int(after[np.argmax(differ)])
    one, other = (kinds[images.of[number]] for number in (second, first))
    raise BadInput(
        f"record {first:,} (key {printable(records.keys[first])}) is {other.shape}, and record {second:,} (key "
        f"{printable(records.keys[second])}) {one.shape}: images of one batch must have one shape",
        file=where, field="source", value=records.source,
        remedy="Give a crop_size, or images of one size and number of channels (make-lmdb --resize-height, "
        "--resize-width, --gray), or batch_size 1",
    )  # fmt: skip


def _doubtful(records: Records, images: Images) -> Iterator[str]:
    looked_at = int(np.count_nonzero(images.of >= 0))
    dark = [n for n, kind in enumerate(images.kinds) if kind.brightest is not None and kind.brightest <= DARK]
    if dark:
        first = min(map(images.first, dark))
        brightest = max(images.kinds[n].brightest or 0 for n in dark)
        yield (
            f"warning: {records.source}: {sum(map(images.count, dark)):,} of {looked_at:,} images that were looked at "
            f"are nearly black for Caffe (the first: {printable(records.keys[first])}): of their 16 bits a value it "
            f"keeps the upper 8, at most {brightest} of 255. Scale them to 8 bits"
        )
    for number, kind in enumerate(images.kinds):
        if kind.cut:
            first = images.first(number)
            yield (
                f"warning: {records.source}: {images.count(number):,} of {len(records):,} records hold a JPEG without "
                f"its end (the first: record {first:,}, key {printable(records.keys[first])}): Caffe decodes a part of "
                "such an image, or aborts at it. Store these images anew, or leave them out"
            )
        if kind.surplus and kind.shape is not None:
            first = images.first(number)
            yield (
                f"warning: {records.source}: {images.count(number):,} of {len(records):,} records hold more values "
                f"than their shape {format_shape(kind.shape)} has (the first: record {first:,}, key "
                f"{printable(records.keys[first])}): Caffe reads the first ones. Check how the LMDB was made: floats "
                "belong in float_data"
            )
