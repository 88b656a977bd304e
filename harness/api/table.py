"""The numbers of every iteration as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.recording.frames import data_frame
from harness.recording.readable import Readable

if TYPE_CHECKING:
    import pandas as pd


def table_of(run: Readable) -> pd.DataFrame:
    """Return a pandas DataFrame with the iterations as its index.

    Columns are `lr`, `loss`, `smoothed_loss`, `seconds`, and the train net's outputs by their names (`name[0]` and so
    on for an output of several values).

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    iterations = run.iterations
    rows = slice(len(iterations))
    columns = {name: run.series(name, rows) for name in ("lr", "loss", "smoothed_loss", "seconds")}
    for name in run.outputs:
        values = run.output(name, rows)
        single = values.shape[1] == 1
        columns |= {name if single else f"{name}[{n}]": column for n, column in enumerate(values.T)}
    return data_frame(columns, iterations)
