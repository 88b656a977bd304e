"""When it happened to a run, and what went with it, in sentences: learning rate, data, spikes, tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.diagnosis.conditions import MAX_LOSS
from harness.diagnosis.logged.findings import RunFindings, TestChange
from harness.diagnosis.logged.levels import FEWEST
from harness.diagnosis.logged.tracks import TOTAL

_MOST_TESTS = 2
_MOST_STEPS = 5
_MOST_TOLD = 3  # excursions
_SEVERAL = 3.0  # times: a test loss that rises by as much has left what was learned
_UNSURE = ", and unsure, because other powers fit so short a stretch as well"


def when(run: RunFindings) -> Iterator[str]:
    """The onset, and how it is known."""
    onset = run.onset
    if onset is None:
        return
    if onset.low == onset.high:
        yield f"The first bad iteration is {onset.low:,}."
        return
    where = f"The first bad iteration lies in {onset.low:,} … {onset.high:,}"
    if not onset.likely:
        yield f"{where}."
        return
    where += f", most likely near {onset.estimate:,}"
    if onset.bad is None or onset.span is None:
        yield f"{where}."
        return
    count = round(onset.bad)
    many = f"about {count} of them {'was' if count == 1 else 'were'}"
    if count >= onset.span:
        many = "all of them were"
    source = ""
    if onset.assumed:
        how = "estimated from the noise" if onset.estimated else "assumed: the display interval"
        source = f" ({how}; the log does not say average_loss)"
    at = "at the jump" if run.jump is None or onset.at in (None, run.jump.iteration) else f"at iteration {onset.at:,}"
    about = "about " if onset.estimated else ""
    yield (
        f"{where}: the displayed loss is the mean of the last {about}{onset.span}{source}, and its value {at} says "
        f"that {many} bad."
    )


def rate(run: RunFindings) -> Iterator[str]:
    """What the learning rate did."""
    schedule = run.schedule
    if schedule is None:
        return
    if schedule.agrees:
        yield f"The learning rates displayed are those of the solver's policy ({schedule.policy})."
    elif schedule.differs is not None:
        iteration, shown, computed = schedule.differs
        yield (
            f"The learning rate displayed at iteration {iteration:,} is {shown:g}, where the solver's policy "
            f"({schedule.policy}) gives {computed:g}: the run was not made with this solver, or the rate was changed."
        )
    elif schedule.only_one:
        yield f"The learning rate was displayed once: {schedule.first:g}."
    elif schedule.policy == "fixed":
        yield f"The learning rate is {schedule.base_lr:g} throughout."
    elif schedule.policy == "step":
        gamma = f" by a factor of {schedule.gamma:.4g}" if schedule.gamma is not None else ""
        at = ", ".join(f"{iteration:,}" for iteration, _ in schedule.steps[:_MOST_STEPS])
        more = " …" if len(schedule.steps) > _MOST_STEPS else ""
        yield f"The learning rate steps from {schedule.first:g} to {schedule.last:g}{gamma}, seen at {at}{more}."
    elif schedule.policy == "poly":
        yield (
            f"The learning rates displayed follow lr_policy poly with base_lr {schedule.base_lr:g}, power "
            f"{schedule.power:g} and max_iter {schedule.max_iter:,} (inferred{_UNSURE if schedule.unsure else ''}: the "
            "log does not hold the solver)."
        )
    elif schedule.policy is not None:
        power = f", power {schedule.power:g}" if schedule.power is not None else ""
        yield (
            f"The learning rates displayed follow lr_policy {schedule.policy} with base_lr {schedule.base_lr:g}, gamma "
            f"{schedule.gamma:.6g}{power} (inferred: the log does not hold the solver)."
        )
    else:
        yield f"The learning rate goes from {schedule.first:g} to {schedule.last:g}, by no policy that could be told."
    if run.jump is not None and schedule.agrees is not False and schedule.policy and not schedule.rises:
        yield "So the schedule itself did nothing at the jump." if not _step_at(run) else "It steps near the jump."
    if schedule.rises:
        iteration, before, after = max(schedule.rises, key=lambda rise: rise[2] / rise[1] if rise[1] else math.inf)
        times = f", {len(schedule.rises)} times in all" if len(schedule.rises) > 1 else ""
        near = run.jump is not None and any(
            0 <= run.jump.iteration - i <= 5 * (run.coverage.interval or 1) for i, _, _ in schedule.rises
        )
        yield (
            f"The learning rate rises, at the most from {before:g} to {after:g} at iteration {iteration:,}{times}"
            f"{': just before the jump, which it may well have caused' if near else ''}."
        )


def _step_at(run: RunFindings) -> bool:
    if run.jump is None:
        return False
    steps, near = run.schedule.steps if run.schedule else (), 2 * (run.coverage.interval or 1)
    return any(abs(iteration - run.jump.iteration) <= near for iteration, _ in steps)


def data(run: RunFindings) -> Iterator[str]:
    """Which records the iterations of the onset read."""
    at = run.jump.records if run.jump is not None else None
    if at is None:
        return
    records = f"the records {at.first:,} to {at.last:,}" + (" (around the end)" if at.first > at.last else "")
    if at.all:
        records = f"all {at.count:,} records"
    resumed = (
        f", counted from iteration {at.resumed:,}, where plain Caffe begins anew with record 0 when it resumes (this "
        "harness does not)"
        if at.resumed
        else ""
    )
    yield (
        f"In data that is read in order (an LMDB always is) the iterations of the onset read {records}, "
        f"0-based, in epoch {at.epoch:.1f}{resumed}."
    )
    passed = int(at.epoch)
    if at.all:
        return
    if passed:
        yield (
            f"{passed} earlier epoch{'s' if passed > 1 else ''} passed the same records unharmed, so a bad record "
            "alone does not explain it."
        )
    else:
        yield "They are met for the first time there: look at them."


def besides(run: RunFindings) -> Iterator[str]:
    """What came back, or is no divergence."""
    nans = run.nans
    if nans is not None and nans.poisoned and run.verdict != "nan":
        yield (
            f"The displayed total is NaN from iteration {nans.first:,} on while the losses themselves are numbers: one "
            "NaN stays in Caffe's running mean for good. The verdict goes by the losses."
        )
    elif nans is not None and not nans.lasting:
        many = f"{nans.count} displays were" if nans.count > 1 else "One display was"
        first = f"the first at iteration {nans.first:,}" if nans.count > 1 else f"at iteration {nans.first:,}"
        yield f"{many} not finite, {first}; the loss came back."
    spikes = run.deviations.spikes
    if spikes:
        worst = max(spikes, key=lambda spike: spike.value)
        many = (
            f"{len(run.deviations.spikes)} transient spikes"
            if len(run.deviations.spikes) > 1
            else "One transient spike"
        )
        yield (
            f"{many} that recovered{', the worst' if len(spikes) > 1 else ''} at iteration {worst.first:,}: "
            f"{worst.value:.4g} where {worst.baseline:.4g} was usual."
        )
    # what was saturated is told as that
    saturated = run.deviations.recovery
    begin, end = (saturated.first, saturated.last) if saturated is not None else (0, -1)
    excursions = [away for away in run.deviations.excursions if begin > away.last or away.first > end]
    for away in excursions[:_MOST_TOLD]:
        level = f" = ln {away.classes}" if away.classes else ""
        yield (
            f"The loss was at {away.level:.4g}{level} from iteration {away.first:,} to {away.last:,}, "
            f"and came back to {away.baseline:.4g}."
        )
    if len(excursions) > _MOST_TOLD:
        yield f"There were {len(excursions) - _MOST_TOLD} more of these excursions."
    if saturated is not None:
        when = f"at iteration {begin:,}" if begin == end else f"between iterations {begin:,} and {end:,}"
        name = "The loss" if saturated.head == TOTAL else saturated.head
        yield f"{name} was saturated ({MAX_LOSS:.4f}) {when}, and fell back."


def tests(run: RunFindings) -> Iterator[str]:
    """What the tests showed before and after, and losses that grew."""
    moved = [t for t in run.tests if t.first[0] != t.last[0]]
    for test in _telling(moved):
        yield (
            f"Test output {test.name}: {test.first[1]:.4g} at iteration {test.first[0]:,}, {test.last[1]:.4g} at "
            f"{test.last[0]:,}."
        )
    for test in moved:
        grown = test.last[1] > _SEVERAL * test.first[1] > 0
        if grown and (test.is_loss or test.last[1] > 1) and run.jump is None and run.verdict in ("healthy", "unknown"):
            yield (
                f"The test output {test.name} rose from {test.first[1]:.4g} to {test.last[1]:.4g}: whatever the "
                "training loss says, the net gets worse on other data. It learns its training data by heart, or the "
                "two are not prepared alike."
            )
            break
    if not run.tests or moved:
        return
    if run.jump is not None:
        test = run.tests[-1]
        side = "before" if test.last[0] < run.jump.iteration else "after"
        yield (
            f"The last test pass was at iteration {test.last[0]:,}, {side} the jump ({test.name} {test.last[1]:.4g})."
        )
    elif run.coverage.displays < FEWEST:
        for test in _telling(run.tests):
            yield f"Test output {test.name}: {test.last[1]:.4g} at iteration {test.last[0]:,}."


def _telling(tests: Sequence[TestChange]) -> Sequence[TestChange]:
    """The last head is the one that counts, and its accuracies tell more than its loss."""
    return ([t for t in tests if not t.is_loss] or tests)[-_MOST_TESTS:]
