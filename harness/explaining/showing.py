"""Show an investigation while it goes on."""

from __future__ import annotations

from harness.diagnosis.cause.surviving import judged
from harness.diagnosis.cause.trials import Trial, Wanted
from harness.explaining.estimate import Estimate
from harness.explaining.question import Question
from harness.explaining.replays import Replays
from harness.explaining.wording import in_words
from harness.reports.investigation_view import FAILED, InvestigationView, TrialRow
from harness.reports.sparkline import curve_of
from harness.reports.trials import MEASURED
from harness.reports.view_terminal import ViewTerminal
from harness.schemas.arm_task import Progress
from harness.schemas.explanation import Verdict


class Showing:
    """Shows trials on `terminal`, as they are wanted, replayed and finished.

    Attributes:
        verdict: what is found so far.
    """

    def __init__(self, terminal: ViewTerminal, question: Question, estimate: Estimate) -> None:
        self.verdict: Verdict | None = None
        self._terminal, self._levels, self._estimate = terminal, question.case.levels, estimate
        self._stage = "starting"
        self._trials: dict[str, Trial] = {}  # by name
        self._under_way: dict[str, tuple[int, list[float]]] = {}  # by key: first iteration and losses

    def wants(self, wanted: Wanted) -> None:
        """Note which trials are replayed next."""
        self._stage = wanted.stage
        self._trials |= {trial.name: trial for trial in wanted.trials}

    def progress(self, progress: Progress) -> None:
        """Note how far an arm is."""
        first, losses = self._under_way.get(progress.key, (progress.first, []))
        kept = losses[: progress.first - first] if progress.first >= first else []  # it may have begun anew
        self._under_way[progress.key] = min(first, progress.first), [*kept, *progress.losses]

    def show(self, replays: Replays) -> None:
        """Show what there is, if that is due."""
        self._terminal.show(lambda: self._view(replays))

    def _view(self, replays: Replays) -> InvestigationView:
        spent, levels = replays.spent, self._levels
        return InvestigationView(
            stage=self._stage,
            verdict=self.verdict.sentence if self.verdict is not None and self.verdict.kind != "undecided" else "",
            rows=tuple(self._row(trial, replays) for trial in self._trials.values()),
            replays=spent.arms,
            iterations=spent.iterations,
            seconds=spent.seconds,
            expected=self._estimate.iterations,
            healthy=levels.healthy,
            broken=levels.highest,
        )

    def _row(self, trial: Trial, replays: Replays) -> TrialRow:
        results = [replays.found[arm.key] for arm in trial.arms if arm.key in replays.found]
        judgements = [judged(trial.kind, result, self._levels) for result in results]
        measured = trial.kind in MEASURED
        if measured:
            curve = [result.loss[-1] for result in results if result.loss]
        else:
            curves = [list(result.loss) for result in results]
            curves += [self._under_way[arm.key][1] for arm in trial.arms if arm.key in self._under_way]
            curve = next((losses for losses in curves if losses), [])
        return TrialRow(
            name=trial.name,
            changes="" if measured else ", ".join(map(in_words, trial.arms[0].changes)),
            arms=len(trial.arms),
            finished=len(results),
            breaks=judgements.count("broken"),
            heals=judgements.count("healed"),
            measured=measured,
            curve=curve_of(curve),
            failed=next((how for how in judgements if how in FAILED), ""),
        )
