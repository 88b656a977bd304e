"""`Readable`: what figures and tables read, whether of one run or of a lineage of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.recording.labelled import Labelled
from harness.schemas.layout import Head, Param
from harness.schemas.window import Window


class Readable(Protocol):
    """A `Recording`, or a `LineageReader`. Shapes, values and errors are those of `Recording`."""

    @property
    def path(self) -> Path: ...

    @property
    def params(self) -> tuple[Param, ...]: ...

    @property
    def heads(self) -> tuple[Head, ...]: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def iterations(self) -> npt.NDArray[np.int64]: ...

    def series(self, name: str, rows: slice = ...) -> npt.NDArray[Any]: ...

    def output(self, name: str, rows: slice = ...) -> npt.NDArray[np.float32]: ...

    def stat(self, name: str, rows: slice = ...) -> Labelled: ...

    def activation(self, name: str) -> Labelled: ...

    @property
    def test_nets(self) -> int: ...

    def test_outputs(self, net: int = ...) -> tuple[str, ...]: ...

    def test(self, name: str, net: int = ...) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]: ...

    @property
    def windows(self) -> tuple[Window, ...]: ...
