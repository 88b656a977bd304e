"""Convert what was recorded to TensorBoard's summaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from tensorboardX.proto.summary_pb2 import HistogramProto, Summary
from tensorboardX.summary import text as text_summary

from harness.diagnosis.recorded.histogram import Histogram
from harness.diagnosis.robust_stats import Floats, total_norm
from harness.schemas.layout import Head

NORMS = ("weight", "gradient", "update")  # whose norms are shown
_RESERVED = ("total", "smoothed")  # names below loss/


def output_tag(name: str, heads: Sequence[Head]) -> str:
    """Return the tag of an output of one value: heads belong to the losses."""
    is_head = any(head.name == name for head in heads) and name not in _RESERVED
    return f"loss/{name}" if is_head else f"output/{name}"


def iteration_series(
    loss: Floats, smoothed: Floats, lr: Floats, seconds: Floats, outputs: Mapping[str, Floats], norms: Floats
) -> dict[str, Floats]:
    """Return the scalars of T iterations by tag.

    Args:
        loss, smoothed, lr, seconds: (T,).
        outputs: (T,) by `output_tag`.
        norms: (T, 3, P) l2 norms of the weight, gradient and update of each param blob.
    """
    weight, gradient, update = total_norm(norms).T
    with np.errstate(all="ignore"):
        ratio = np.where(weight > 0, update / weight, 0.0)
    whole = {"weight": weight, "gradient": gradient, "update": update, "update_to_weight": ratio}
    return {
        "loss/total": loss,
        "loss/smoothed": smoothed,
        **outputs,
        **{f"norm_log10/{name}": log10(values) for name, values in whole.items()},
        "solver/lr": lr,
        "solver/seconds": seconds,
    }


def blob_tags(labels: Iterable[str]) -> list[str]:
    """Return the tags of the norms (3, P) of the param blobs `labels`, row by row."""
    names = list(labels)
    return [f"norm_log10_of_blobs/{norm}/{label}" for norm in NORMS for label in names]


def log10(values: Floats) -> Floats:
    """Return the logarithm; -inf for 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log10(values))


def scalars(tags: Iterable[str], values: Sequence[float]) -> list[Summary.Value]:
    """Return a summary for each value but -inf, the logarithm of 0."""
    pairs = zip(tags, values, strict=True)
    return [Summary.Value(tag=tag, simple_value=value) for tag, value in pairs if value != -np.inf]


def test_tags(net: int, name: str, size: int) -> list[str]:
    """Return the tags of the values of an output of a test net."""
    names = [name] if size == 1 else [f"{name}/{i}" for i in range(size)]
    return [f"test/{net}/{one}" for one in names]


def histogram_summary(tag: str, found: Histogram) -> Summary.Value:
    """Return a histogram; TensorBoard reads neither the sum nor the sum of squares."""
    counts = found.counts.tolist()
    proto = HistogramProto(
        min=found.low, max=found.high, num=sum(counts), bucket_limit=found.limits.tolist(), bucket=counts
    )
    return Summary.Value(tag=tag, histo=proto)


def image_summary(tag: str, pixels: npt.NDArray[np.uint8]) -> Summary.Value:
    """Return a picture: `pixels` are grey (height, width) or RGB (height, width, 3)."""
    _, png = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)  # OpenCV writes BGR
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=png.tobytes())
    return Summary.Value(tag=tag, image=image)


def text(tag: str, content: str) -> list[Summary.Value]:
    """Return a text in Markdown."""
    return list(text_summary(tag, content).value)


def alarm_tag(rule: str, subject: str) -> str:
    """Return the tag of an alarm: of two texts with one tag and iteration, TensorBoard keeps one."""
    return "/".join(filter(None, ("alarm", rule, subject)))
