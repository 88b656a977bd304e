"""Carry out a sweep, and show and write how far it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from harness.errors import BadInput, RecordingError
from harness.exit_codes import Exit
from harness.recording import Recording
from harness.recording.result_files import write_sweep
from harness.reports.sweep_view import RUNNING, WAITING, LegRow, SweepView
from harness.reports.text.sweep import outcome
from harness.reports.view_terminal import ViewTerminal
from harness.schemas.leg import Leg, LegResult
from harness.schemas.sweep import SweepLeg
from harness.studies.engine import LegEngine
from harness.studies.leg_runs import numbered
from harness.studies.sweep_plan import SweepPlan
from harness.studies.sweep_study import leg_of, with_leg
from harness.supervisor.signals import Interrupts

_READ_EVERY = 1.0  # seconds between two looks at the recordings
_CURVE = 24  # points of a curve
_RANGE = (0.02, 0.95)  # quantiles of all losses, between which curves are drawn


class Sweeping:
    """A sweep as it is carried out.

    Attributes:
        sweep: with what became of its legs so far; sweep.json has the same.
    """

    def __init__(self, plan: SweepPlan, terminal: ViewTerminal) -> None:
        self.sweep = plan.sweep
        self._plan, self._terminal = plan, terminal
        self._legs = [leg_of(plan.sweep, plan.study, words) for words in plan.wanted]
        self._progress = _Progress(self._legs)

    def run(self, engine: LegEngine, interrupts: Interrupts) -> None:
        """Have the legs made. It ends early where `interrupts` ask for it.

        Raises:
            RecordingFailed: sweep.json cannot be written.
        """
        write_sweep(self._plan.study, self.sweep)
        interrupts.ended = engine.cancel
        for leg in self._legs:
            engine.submit(leg)
        told = False
        for result in engine.results():
            if interrupts.stop is not None and not told:
                told = True
                self._terminal.message(
                    "Interrupted: each restart takes a snapshot and ends. Press Ctrl-C again to end now."
                )
            if interrupts.at_once:
                engine.close()
                return
            if result is not None:
                self._take(result)
            self._progress.look()
            self._terminal.show(self._progress.view)

    def _take(self, result: LegResult) -> None:
        leg = next(leg for leg in self.sweep.legs if leg.words == result.leg.words)
        try:
            ended = self._plan.curves.compared(leg, result)
        except (BadInput, RecordingError) as error:
            ended = msgspec.structs.replace(leg, code=int(Exit.RECORDING_FAILED), why=str(error))
        self._progress.ended(result.leg, ended)
        self.sweep = with_leg(self.sweep, ended, self._plan.info)
        write_sweep(self._plan.study, self.sweep)


class _Progress:
    """How far legs are, as their recordings say."""

    def __init__(self, legs: Sequence[Leg]) -> None:
        self._legs = legs
        self._rows = [_row(leg, WAITING) for leg in legs]
        self._begun = self._read = time.monotonic()
        self._before = self._done
        self._moved: float | None = None  # when the first iterations were seen

    @property
    def _done(self) -> int:
        return sum(row.iteration - leg.start for leg, row in zip(self._legs, self._rows, strict=True))

    def ended(self, leg: Leg, ended: SweepLeg) -> None:
        """Take how a leg has ended."""
        self._rows[self._legs.index(leg)] = _row(leg, outcome(ended))

    def look(self) -> None:
        """Read the recordings of those that have not ended, now and then."""
        if time.monotonic() - self._read < _READ_EVERY:
            return
        for number, leg in enumerate(self._legs):
            old = self._rows[number]
            if not old.ended:
                new = _row(leg, old.state)
                moved = new.iteration > old.iteration
                self._rows[number] = replace(new, state=RUNNING) if moved else new
        self._read = time.monotonic()
        if self._moved is None and self._done > self._before:
            self._moved, self._before = self._read, self._done

    def view(self) -> SweepView:
        now, done = time.monotonic(), self._done
        remaining = sum(row.until - row.iteration for row in self._rows if not row.ended)
        new, left = done - self._before, None
        if self._moved is not None and new:
            left = (now - self._moved) * remaining / new
        losses = [loss for row in self._rows for loss in row.curve if loss is not None]
        low, high = np.quantile(losses, _RANGE) if losses else (0.0, 1.0)
        return SweepView(tuple(self._rows), done, done + remaining, now - self._begun, left, float(low), float(high))


def _row(leg: Leg, state: str) -> LegRow:
    losses = _losses(leg)
    parts = np.array_split(losses, min(len(losses), _CURVE)) if len(losses) else []
    curve = tuple(float(part.mean()) if np.isfinite(part).all() else None for part in parts)
    last = float(losses[-1]) if len(losses) else None
    return LegRow(Path(leg.directory).name, state, leg.start + len(losses), leg.until, curve, last)


def _losses(leg: Leg) -> npt.NDArray[np.float64]:
    """Read the losses of a leg, from its first iteration on."""
    losses = np.empty(0)
    number = 1
    while (directory := numbered(leg, number)).is_dir():
        with suppress(RecordingError), Recording(directory, may_repair=False) as recording:
            found = recording.series("loss")
            if len(found):
                losses = np.concatenate([losses[: int(recording.iterations[0]) - leg.start], found])
        number += 1
    return losses
