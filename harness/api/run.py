"""A recorded run: its recording, together with its diagnosis, layers, tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.api.layer import Layer, layer_of
from harness.api.table import table_of
from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded import diagnose as recorded
from harness.diagnosis.recorded.damage_span import span
from harness.diagnosis.recorded.diagnose import Diagnosis
from harness.errors import BadInput, RecordingError
from harness.exit_codes import Exit
from harness.recording import Recording
from harness.recording.run_directory import read_info
from harness.schemas.captures import CAPTURES
from harness.schemas.onset import Onset
from harness.schemas.window import Window, parse_watch

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Run(Recording):
    """A recorded run, as `harness.open_run` opens it: a `Recording` that also knows its diagnosis.

    Example:
        >>> run = harness.open_run("runs/demo")
        >>> run.onset.iteration, run.onset.reason
        >>> run.layer("conv1/7x7_s2").gradient_l2[836:846]
        >>> run.frame().tail()
        >>> run.plot().savefig("losses.png")
    """

    _diagnosed: tuple[int, Diagnosis] | None = None  # the number of iterations of the diagnosis

    def __enter__(self) -> Run:
        return self

    @property
    def diagnosis(self) -> Diagnosis:
        """The diagnosis of the run, as `harness.diagnose` makes it; made anew when a run in progress has gone on.

        Raises:
            BadInput: run.json cannot be read.
        """
        count = len(self.iterations)
        if self._diagnosed is None or self._diagnosed[0] != count:
            self._diagnosed = count, diagnosis_of(self)
        return self._diagnosed[1]

    @property
    def onset(self) -> Onset | None:
        """The onset of the divergence: the first iteration whose update did the damage, with the reason for that date,
        and the first blob and param blob that left their baselines. None for a run that did not diverge.

        Raises:
            BadInput: run.json cannot be read.
        """
        return self.diagnosis.onset

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that `layer` returns, in update order: those with learnable param blobs of their own."""
        return tuple(dict.fromkeys(param.layer for param in self.params))

    def layer(self, name: str) -> Layer:
        """Return a layer: the norms of its weights, gradients and updates, and its arrays in windows.

        Raises:
            RecordingError: no layer of that name has a learnable param blob of its own.
        """
        return layer_of(self, name)

    def frame(self) -> pd.DataFrame:
        """Return the numbers of every iteration as a pandas DataFrame, with the iterations as its index.

        Columns are `lr`, `loss`, `smoothed_loss`, `seconds`, and the train net's outputs by their names (`name[0]` and
        so on for an output of several values).

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        return table_of(self)

    def rewind(self, *windows: str, capture: Sequence[str] = CAPTURES) -> tuple[Path, ...]:
        """Store the arrays of iterations that were not watched, by an exact replay, which takes its time. Afterwards
        `weight`, `gradient`, `update`, `input` and the report have them.

        Args:
            windows: ranges `A:B` of iterations; default: from 5 before the onset to the end of the damage, at most 50.
            capture: the kinds of arrays; with `history` come the weights, and training restarts at every iteration.

        Returns:
            The files that were written; none where everything is stored already.

        Raises:
            BadInput: a window cannot be filled: its iterations were not recorded, or data are missing or have changed.
            RecordingError: the replay differed from the run, or did not reach the end of the windows. What was verified
                until then is stored.
            RecordingFailed: there is not enough room.
        """
        from harness.replay.rewinding import rewind  # what trains takes a while to import
        from harness.reports.replay_screen import DirectScreen
        from harness.supervisor.options import Options
        from harness.supervisor.signals import Interrupts

        wanted = [parse_watch(text, "windows") for text in windows] or [self._damage()]
        kinds = Options(capture=",".join(capture)).captures
        with closing(DirectScreen()) as screen:
            found = rewind(self.path.parent, wanted, kinds, screen, Interrupts("continue"))
        self.refresh()
        if found.code == Exit.INTERRUPTED:
            raise KeyboardInterrupt
        if found.code != Exit.DONE:
            raise RecordingError(found.sentence)
        return found.files

    def _damage(self) -> Window:
        found = span(self, self.diagnosis)
        if found is None:
            raise BadInput("the run did not diverge", file=self.path.parent, remedy='Name a window, as in "840:850"')
        return found

    def plot(self, what: Literal["losses", "overview"] = "losses") -> Figure:
        """Draw the run, with its onset, windows and snapshots.

        Args:
            what: `losses`, the losses with chance levels, learning rate and test accuracies; or `overview`, the losses,
                the learning rate, and the gradient norm of every layer.

        Returns:
            A Matplotlib figure, which a notebook shows; `figure.savefig("run.png")` writes it.

        Raises:
            BadInput: run.json cannot be read.
            ValueError: there is no such figure.
        """
        from harness.reports import figures  # Matplotlib takes a while to import

        if what == "losses":
            return figures.losses(self, self.diagnosis)
        if what == "overview":
            return figures.overview(self, self.diagnosis)
        raise ValueError(f"no figure {what!r}: losses or overview")


def diagnosis_of(run: Recording, rules: Path | None = None) -> Diagnosis:
    """Diagnose a run. `rules` is a file with other limits.

    Raises:
        BadInput: run.json or the file `rules` cannot be read.
    """
    info = read_info(run.path.parent)
    # the recording of a run that ended normally holds its alarms, unless other limits apply
    known = rules is None and info.ended is not None and info.ended.has_alarms
    return recorded.diagnose(run, limits=read_limits(rules), raised=run.alarms if known else None)
