"""Logs that are read whole or in pieces, and their content in a form that can be compared."""

from __future__ import annotations

import io

from harness.caffe_log.model import Log, Series
from harness.caffe_log.reader import LogReader, read_log


def read(content: str | bytes) -> Log:
    return read_log(io.BytesIO(content.encode() if isinstance(content, str) else content), "x.log")


def pairs(series: Series) -> list[tuple[int, float]]:
    return list(zip(series.iterations.tolist(), series.values.tolist(), strict=True))


def in_pieces(content: bytes, cuts: list[int], *, line_by_line: bool = False, asked: bool = False) -> Log:
    growing = LogReader("x.log", line_by_line=line_by_line)
    for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        growing.feed(content[begin:end])
        if asked:
            growing.log()
    growing.close()
    return growing.log()
