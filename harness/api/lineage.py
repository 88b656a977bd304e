"""A run and those that it continues, together with a table and a figure of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.api.run import diagnosis_of
from harness.api.table import table_of
from harness.recording.lineage_reader import LineageReader

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Lineage(LineageReader):
    """A run and those that it continues, as `harness.open_lineage` opens them, read as one training: the rows of each
    run up to where the next takes over.

    Methods that read are those of `Recording`, with T, S and W counted over all runs. Columns are those of the last
    run; where an earlier one does not have a column, its values are NaN. Values are read as they are asked for.

    Example:
        >>> line = harness.open_lineage("runs/demo-rescue/01-clip-362-continued")
        >>> [(part.begins, part.run.name, part.change) for part in line.parts]
        >>> line.iterations[[0, -1]], line.series("loss"), line.stat("gradient_l2")["conv1/7x7_s2/0"]
        >>> line.plot().savefig("losses.png")

    Attributes:
        parts: the runs, oldest first.
        missing: a clause that says why older runs are left out, as where a directory is gone; None if none is.
    """

    def frame(self) -> pd.DataFrame:
        """Return the numbers of every iteration as a pandas DataFrame, as `Run.frame` does.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return table_of(self)

    def plot(self) -> Figure:
        """Draw the losses with chance levels, learning rate and test accuracies, and the interventions; of the last run
        the onset and the snapshots.

        Returns:
            A Matplotlib figure, which a notebook shows.
        """
        from harness.reports import figures  # Matplotlib takes a while to import

        return figures.losses(self, diagnosis_of(self.last), self.parts)
