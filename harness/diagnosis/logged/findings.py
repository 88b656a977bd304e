"""The findings on one run of a log, as data: text, JSON and figures draw these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.diagnosis.approach import Approach
from harness.diagnosis.conditions import Condition, HeadState, Verdict
from harness.diagnosis.logged.course import Leaps, Overfitting
from harness.schemas.window import Window

# Where the number of classes comes from: the net in the log, --classes, or the losses themselves.
Source = Literal["net", "given", "inferred"]
# How strong the evidence for a verdict is: many displays; as few as three that agree; fewer, or noisy ones.
Strength = Literal["clear", "likely", "hint"]
# What led to a verdict, where its name leaves that open.
Why = Literal[
    "collapsed",  # was learning, then uniform
    "never learned",  # uniform all the time
    "rise",  # suddenly worse, for good
    "slow rise",
    "step",  # few displays, the last of which are higher than all before
    "oscillation",
    "leaps",  # up and down with a regular period
    "noise",  # neither rises nor falls, at a level that is not low, with very different displays
    "below zero",  # negative where it should not be, or without bound
    "fallen",
    "late fall",  # fell by little, but it falls at the end
    "level",  # stays where it began, which is low
    "still at the start",  # has not fallen yet, and it is early
    "not falling",  # has not fallen, and its chance level is not known
    "too few",
    "zero",  # is 0 from the first display on
    "large start",  # far above any chance level from the first display on, and no softmax that is saturated
    "tests",  # the only evidence
    "",
]


@dataclass(frozen=True)
class HeadFinding:
    """The finding on one loss of the net.

    Attributes:
        approximate: `classes` is not certain to the last digit.
        never_learned: it is at chance level and was never below.
        before: its level before the jump; None without one.
        loss: its level at the end.
    """

    name: str
    weight: float
    classes: int | None
    source: Source | None
    approximate: bool
    state: HeadState
    never_learned: bool
    before: float | None
    loss: float

    @property
    def condition(self) -> Condition | None:
        """The condition that its state shows; None for one that learns, or of which nothing is known."""
        return Condition.of_head(self.state)


@dataclass(frozen=True)
class OnsetEstimate:
    """An estimate, from a log, of the first iteration whose loss is bad.

    It lies in `low` … `high`, as far as noise allows. `estimate` is the most probable one if `likely`, else the middle.

    Attributes:
        span: how many losses a displayed one is the mean of; None where that was not used.
        bad: how many of these were bad at the display of iteration `at`, by its value; None where that was not used.
        assumed: the log does not state average_loss; `span` is the display interval then, or was
        estimated: from the noise.
    """

    estimate: int
    low: int
    high: int
    span: int | None
    bad: float | None
    assumed: bool
    estimated: bool = False
    at: int | None = None
    likely: bool = False


@dataclass(frozen=True)
class RecordRange:
    """The `count` records that the iterations of the onset read: `first` to `last`, 0-based and inclusive.

    Attributes:
        epoch: how many times the data had been read before: 13.7 means 13 whole passes and 0.7 of one.
        first, last: wrap around the end of the data where `first` > `last`.
        resumed: the iteration at which the data began anew, as it does when Caffe resumes; 0 otherwise.
        all: these are all records that there are.
    """

    epoch: float
    first: int
    last: int
    count: int
    resumed: int
    all: bool


@dataclass(frozen=True)
class Jump:
    """The rise in which a run broke.

    Attributes:
        iteration: of the first display after it.
        before: the level of the total before it; None where that is not known.
        approach: the displays of the total before it; None where they are too few.
        watch: a round window around the onset, for `--watch`.
        records: what the iterations of the onset read; None where the data are not known.
    """

    iteration: int
    before: float | None
    approach: Approach | None
    onset: OnsetEstimate
    watch: Window
    records: RecordRange | None


@dataclass(frozen=True)
class Spike:
    """The loss was far above its `baseline` for some displays, `value` at most, and recovered."""

    first: int
    last: int
    value: float
    baseline: float


@dataclass(frozen=True)
class Excursion:
    """The loss stayed at another level from display `first` to `last`, and returned to its `baseline`.

    `classes`: the level is ln(classes); None where it is not.
    """

    first: int
    last: int
    level: float
    baseline: float
    classes: int | None


@dataclass(frozen=True)
class Recovery:
    """A head that was at -ln(FLT_MIN) from display `first` to `last` and recovered."""

    head: str
    first: int
    last: int


@dataclass(frozen=True)
class Deviations:
    """Deviations from a level that recovered; `last_far` is the last display (iteration, value) far above the
    others, which is too recent to judge."""

    spikes: tuple[Spike, ...]
    excursions: tuple[Excursion, ...]
    recovery: Recovery | None
    last_far: tuple[int, float] | None


@dataclass(frozen=True)
class Nans:
    """Displays whose loss is not finite.

    Attributes:
        first: the iteration of the first one.
        lasting: they go on to the end of the log.
        saturated: a head was at -ln(FLT_MIN) at the last finite display before.
        poisoned: only the displayed mean is NaN for good; the losses of the heads are finite again.
    """

    first: int
    count: int
    lasting: bool
    saturated: bool
    poisoned: bool


@dataclass(frozen=True)
class Schedule:
    """The learning rates displayed.

    Attributes:
        agrees: with the solver's policy; None without a solver.
        differs: the first display where they do not agree: iteration, rate displayed, rate by the solver.
        policy, base_lr, power, gamma, max_iter: the solver's, or inferred without one.
        unsure: other powers fit as well.
        steps: each change of a rate that is constant in between: first display of the new rate, and the rate.
        rises: first display, rate before, rate when the rise is over.
        only_one: a single rate was displayed.
    """

    first: float
    last: float
    agrees: bool | None
    differs: tuple[int, float, float] | None
    policy: str | None
    base_lr: float | None
    power: float | None
    gamma: float | None
    max_iter: int | None
    unsure: bool
    steps: tuple[tuple[int, float], ...]
    rises: tuple[tuple[int, float, float], ...]
    only_one: bool


@dataclass(frozen=True)
class TestChange:
    """A test output (iteration, value) at the last pass before the jump, or at the first pass, and at the last pass."""

    net: int
    name: str
    is_loss: bool
    first: tuple[int, float]
    last: tuple[int, float]


@dataclass(frozen=True)
class Coverage:
    """Extent of the log: iterations `first` to `last`, with so many `displays` of the loss.

    `interval` is the number of iterations from one display to the next; 0 where the solver displays nothing.
    """

    first: int
    last: int
    displays: int
    interval: int


@dataclass(frozen=True)
class Trend:
    """Levels of the displayed total; NaN where there is none.

    Attributes:
        falling: it was still falling at the end.
        settled: the displays are enough to see that it stays at `end`.
        cycles: rises of the learning rate with which the loss goes up and down; 0 where it does not.
    """

    start: float
    best: float
    end: float
    falling: bool
    settled: bool
    cycles: int


@dataclass(frozen=True)
class Plateau:
    """The share of the heads in the level at the end.

    Attributes:
        explained: the weighted sum of what uniform and saturated heads cost, where that is the level of the total.
        doubted: the number of classes given with --classes, where the plateau shows another one.
    """

    explained: float | None
    doubted: int | None


@dataclass(frozen=True)
class Lifecycle:
    """Start and end of a run: the solverstate that it was resumed from, and at which iteration; the fatal error that
    ended it; whether it reached max_iter."""

    resumed_from: str | None
    resumed_at: int | None
    fatal: str | None
    finished: bool


@dataclass(frozen=True)
class RunFindings:
    """The findings on one run.

    Attributes:
        strength: of the evidence for the verdict; None for "unknown".
        leaps: the period with which the loss goes up and down; None where that is not the verdict.
        spread: the lowest and the highest single loss, where these differ so widely that it is the verdict.
        overfitting: a test loss that rises while the training loss falls; None without one.
        last_good: the iteration and file of the last good snapshot that the log names.
    """

    verdict: Verdict
    why: Why
    strength: Strength | None
    coverage: Coverage
    trend: Trend
    heads: tuple[HeadFinding, ...]
    plateau: Plateau
    jump: Jump | None
    deviations: Deviations
    leaps: Leaps | None
    spread: tuple[float, float] | None
    nans: Nans | None
    schedule: Schedule | None
    tests: tuple[TestChange, ...]
    overfitting: Overfitting | None
    last_good: tuple[int, str] | None
    lifecycle: Lifecycle

    @property
    def onset(self) -> OnsetEstimate | None:
        """The estimated onset; None for a run that did not break."""
        return self.jump.onset if self.jump is not None else None
