"""Sentences about the context of a break: onset, learning rate, records, deviations that recovered, tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.diagnosis.conditions import MAX_LOSS
from harness.diagnosis.logged.findings import RunFindings, Schedule, TestChange
from harness.diagnosis.logged.levels import FEWEST
from harness.diagnosis.logged.tracks import TOTAL
from harness.reports.text.course import course_before
from harness.reports.text.grammar import count

_MOST_TESTS = 2
_MOST_STEPS = 5
_MOST_EXCURSIONS = 3
_GROWN = 3.0  # times: a test loss that rose by so much has got worse


def onset(run: RunFindings) -> Iterator[str]:
    """Date the onset, with the evidence."""
    found = run.onset
    if found is None:
        return
    if found.low == found.high:
        yield f"The first bad iteration is {found.low:,}."
        return
    where = f"The first bad iteration lies in {found.low:,} … {found.high:,}"
    if not found.likely:
        yield f"{where}."
        return
    where += f", most likely near {found.estimate:,}"
    if found.bad is None or found.span is None:
        yield f"{where}."
        return
    bad = round(found.bad)
    many = f"about {bad} of them {'was' if bad == 1 else 'were'} bad"
    if bad >= found.span:
        many = "all of them were bad"
    source = ""
    if found.assumed:
        how = "estimated from the noise" if found.estimated else "assumed: the display interval"
        source = f" ({how}; the log does not state average_loss)"
    at = "at the jump" if run.jump is None or found.at in (None, run.jump.iteration) else f"at iteration {found.at:,}"
    about = "about " if found.estimated else ""
    yield (
        f"{where}: the displayed loss is the mean of the last {about}{found.span}{source}, and its value {at} shows "
        f"that {many}."
    )


def approach(run: RunFindings) -> Iterator[str]:
    """Describe the displays before the jump, where they suggest what to look at first."""
    found = run.jump.approach if run.jump is not None else None
    if found is not None:
        yield from course_before(found, "display")


def learning_rate(run: RunFindings) -> Iterator[str]:
    """Describe the learning rate, and what it did near the jump."""
    schedule = run.schedule
    if schedule is None:
        return
    yield _policy(schedule)
    jump, interval = run.jump, run.coverage.interval or 1
    if jump is not None and schedule.agrees is not False and schedule.policy and not schedule.rises:
        near = any(abs(iteration - jump.iteration) <= 2 * interval for iteration, _ in schedule.steps)
        yield "The schedule steps near the jump." if near else "The schedule does not step at the jump."
    if schedule.rises:
        iteration, before, after = max(schedule.rises, key=lambda rise: rise[2] / rise[1] if rise[1] else math.inf)
        times = f", {len(schedule.rises)} times in all" if len(schedule.rises) > 1 else ""
        near = jump is not None and any(0 <= jump.iteration - i <= 5 * interval for i, _, _ in schedule.rises)
        yield (
            f"The learning rate rises, at most from {before:g} to {after:g} at iteration {iteration:,}{times}"
            f"{': just before the jump' if near else ''}."
        )


def records(run: RunFindings) -> Iterator[str]:
    """Name the records that the iterations of the onset read."""
    at = run.jump.records if run.jump is not None else None
    if at is None:
        return
    read = f"the records {at.first:,} to {at.last:,}" + (" (around the end)" if at.first > at.last else "")
    if at.all:
        read = f"all {at.count:,} records"
    resumed = (
        f", counted from iteration {at.resumed:,}, where Caffe starts again at record 0 when it resumes (this harness "
        "does not)"
        if at.resumed
        else ""
    )
    yield (
        f"If the data are read in order (an LMDB always is), the iterations of the onset read {read}, 0-based, in "
        f"epoch {at.epoch:.1f}{resumed}."
    )
    passed = int(at.epoch)
    if at.all:
        return
    if passed:
        yield (
            f"{passed} earlier epoch{'s' if passed > 1 else ''} read the same records without such a break, so a bad "
            "record alone does not explain it."
        )
    else:
        yield "They were read there for the first time; inspect them."


def deviations(run: RunFindings) -> Iterator[str]:
    """Describe what deviated and recovered."""
    nans = run.nans
    if nans is not None and nans.poisoned and run.verdict != "nan":
        yield (
            f"The displayed total is NaN from iteration {nans.first:,} on, although the losses themselves are finite: "
            "one NaN never leaves Caffe's running mean. The verdict is based on the losses of the heads."
        )
    elif nans is not None and not nans.lasting:
        many = f"{nans.count} displays were" if nans.count > 1 else "One display was"
        first = f"the first at iteration {nans.first:,}" if nans.count > 1 else f"at iteration {nans.first:,}"
        yield f"{many} not finite, {first}; the loss recovered."
    spikes = run.deviations.spikes
    if spikes:
        worst = max(spikes, key=lambda spike: spike.value)
        many = f"{len(spikes)} transient spikes, the largest" if len(spikes) > 1 else "One transient spike"
        yield f"{many} at iteration {worst.first:,}: {worst.value:.4g}, baseline {worst.baseline:.4g}."
    # an excursion to the level of a saturated softmax is described as a recovery
    saturated = run.deviations.recovery
    begin, end = (saturated.first, saturated.last) if saturated is not None else (0, -1)
    excursions = [away for away in run.deviations.excursions if begin > away.last or away.first > end]
    for away in excursions[:_MOST_EXCURSIONS]:
        level = f" = ln {away.classes}" if away.classes else ""
        yield (
            f"The loss was at {away.level:.4g}{level} from iteration {away.first:,} to {away.last:,} and returned to "
            f"{away.baseline:.4g}."
        )
    if len(excursions) > _MOST_EXCURSIONS:
        more = len(excursions) - _MOST_EXCURSIONS
        yield f"There {'was' if more == 1 else 'were'} {count(more, 'more such excursion')}."
    if saturated is not None:
        when = f"at iteration {begin:,}" if begin == end else f"from iteration {begin:,} to {end:,}"
        name = "The loss" if saturated.head == TOTAL else saturated.head
        yield f"{name} was saturated ({MAX_LOSS:.4f}) {when} and recovered."


def tests(run: RunFindings) -> Iterator[str]:
    """Describe the test outputs before and after, and test losses that grew."""
    moved = [t for t in run.tests if t.first[0] != t.last[0]]
    for test in _most_telling(moved):
        yield (
            f"Test output {test.name}: {test.first[1]:.4g} at iteration {test.first[0]:,}, {test.last[1]:.4g} at "
            f"{test.last[0]:,}."
        )
    over = run.overfitting
    if over is not None:
        yield (
            f"The test output {over.name} rose from {over.best[1]:.4g} at iteration {over.best[0]:,} to "
            f"{over.last[1]:.4g} at {over.last[0]:,}, while the training loss fell from {over.training[0]:.4g} to "
            f"{over.training[1]:.4g}: the net fits the training data better and better, and the test data worse "
            "(overfitting)."
        )
    for test in moved if over is None else ():
        grown = test.last[1] > _GROWN * test.first[1] > 0
        if grown and (test.is_loss or test.last[1] > 1) and run.jump is None and run.verdict in ("healthy", "unknown"):
            yield (
                f"The test output {test.name} rose from {test.first[1]:.4g} to {test.last[1]:.4g}: whatever the "
                "training loss shows, the net gets worse on the test data. It may overfit, or training and test data "
                "may be prepared differently."
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
        for test in _most_telling(run.tests):
            yield f"Test output {test.name}: {test.last[1]:.4g} at iteration {test.last[0]:,}."


def _policy(schedule: Schedule) -> str:
    if schedule.agrees:
        return f"The displayed learning rates are those of the solver's policy ({schedule.policy})."
    if schedule.differs is not None:
        iteration, shown, computed = schedule.differs
        return (
            f"The learning rate displayed at iteration {iteration:,} is {shown:g}, but the solver's policy "
            f"({schedule.policy}) gives {computed:g}: the run used another solver, or the rate was changed."
        )
    if schedule.only_one:
        return f"The learning rate was displayed once: {schedule.first:g}."
    if schedule.policy == "fixed":
        return f"The learning rate is {schedule.base_lr:g} throughout."
    if schedule.policy == "step":
        gamma = f" by a factor of {schedule.gamma:.4g}" if schedule.gamma is not None else ""
        at = ", ".join(f"{iteration:,}" for iteration, _ in schedule.steps[:_MOST_STEPS])
        more = " …" if len(schedule.steps) > _MOST_STEPS else ""
        return f"The learning rate steps from {schedule.first:g} to {schedule.last:g}{gamma}, seen at {at}{more}."
    if schedule.policy is None:
        return f"The learning rate goes from {schedule.first:g} to {schedule.last:g}; no known policy fits."
    fields = {"base_lr": schedule.base_lr, "gamma": schedule.gamma, "power": schedule.power}
    values = [f"{name} {value:.6g}" for name, value in fields.items() if value is not None]
    values += [f"max_iter {schedule.max_iter:,}"] if schedule.max_iter is not None else []
    unsure = "; other powers fit so short a log as well" if schedule.unsure else ""
    return (
        f"The displayed learning rates follow lr_policy {schedule.policy} with {', '.join(values[:-1])} and "
        f"{values[-1]} (inferred: the log does not contain the solver{unsure})."
    )


def _most_telling(tests: Sequence[TestChange]) -> Sequence[TestChange]:
    """Choose the outputs of the last head, and its accuracies rather than its loss."""
    return ([t for t in tests if not t.is_loss] or tests)[-_MOST_TESTS:]
