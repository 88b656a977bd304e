"""Logs that are read whole or in pieces, and their content in a form that can be compared."""

from __future__ import annotations

import io
from dataclasses import asdict

import numpy as np

from harness.caffe_log.model import Log, Series
from harness.caffe_log.reader import LogReader, read_log


def read(content: str | bytes) -> Log:
    return read_log(io.BytesIO(content.encode() if isinstance(content, str) else content), "x.log")


def pairs(series: Series) -> list[tuple[int, float]]:
    return list(zip(series.iterations.tolist(), series.values.tolist(), strict=True))


def everything(log: Log) -> object:
    """All that a log says, in a form that can be compared: NaN equals NaN."""

    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.tobytes())
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return value

    return plain(asdict(log))


def in_pieces(content: bytes, cuts: list[int], *, line_by_line: bool = False, asked: bool = False) -> Log:
    growing = LogReader("x.log", line_by_line=line_by_line)
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        growing.feed(content[begin:end])
        if asked:
            growing.log()
    growing.close()
    return growing.log()
