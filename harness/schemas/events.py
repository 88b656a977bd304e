"""Events of a run: what the worker sent, as the supervisor passes it on to whoever follows the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.schemas.layout import Layout


@dataclass(frozen=True)
class Frames:
    """Iterations that are now in the recording: a structured array of Layout.frame_dtype."""

    rows: npt.NDArray[np.void]


@dataclass(frozen=True)
class Activations:
    """(S, A, 4) statistics of the net's blobs (layout.ACTIVATION_STATS) at S iterations, now in the recording."""

    iterations: tuple[int, ...]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Kept:
    """Parts of the window arrays of `iteration`, as they go into the recording: an array's number, and its bytes.

    The bytes still lie in the ring and are gone afterwards. The iteration counts once its frame has come.
    """

    iteration: int
    parts: list[tuple[int, memoryview]]


@dataclass(frozen=True)
class TestPass:
    """The averaged outputs of test net `net` at `iteration`."""

    net: int
    iteration: int
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Note:
    """Something the solver process has to say: `what`, and facts about it."""

    what: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class End:
    """The solver process is through; `facts` go into run.json."""

    facts: dict[str, Any]


Event = Layout | Frames | Activations | Kept | TestPass | Note | End
