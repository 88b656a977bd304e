"""What is found out about a run, as data: text, JSON and pictures all draw this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["healthy", "uniform-softmax", "saturated-softmax", "nan", "drift/oscillation", "unknown"]
State = Literal["learning", "uniform", "saturated", "nan", "unknown"]
# Where the number of classes comes from: the net in the log, --classes, or the losses themselves.
Source = Literal["net", "given", "inferred"]
# What makes a verdict, where its name leaves it open.
Why = Literal[
    "collapsed",  # was learning, then uniform
    "never learned",  # uniform all the time
    "rise",  # suddenly worse, for good
    "slow rise",
    "oscillation",
    "fallen",
    "level",  # stays where it began, which is low
    "still at the start",  # has not fallen yet, and it is early
    "not falling",  # has not fallen, and nothing says what it should be
    "too few",
    "tests",  # which alone tell
    "",
]


@dataclass(frozen=True)
class HeadFinding:
    """A loss of the net. `loss` is its level at the end, `before` that before the jump, `about`: classes are not sure
    to the last digit."""

    name: str
    weight: float
    classes: int | None
    source: Source | None
    about: bool
    state: State
    never_learned: bool
    before: float | None
    loss: float


@dataclass(frozen=True)
class OnsetEstimate:
    """The first iteration whose loss is bad: in low … high, as far as noise lets that be told, most likely `estimate`
    where that is `likely`, else the middle.

    `bad` of the `window` losses averaged at the display of iteration `at` were bad, by its value; None where that was
    not used. `assumed`: the log does not say the average_loss; the display interval was taken for it, or it was
    `estimated` from the noise.
    """

    estimate: int
    low: int
    high: int
    window: int | None
    bad: float | None
    assumed: bool
    estimated: bool = False
    at: int | None = None
    likely: bool = False


@dataclass(frozen=True)
class Spike:
    """The loss was far from usual for some displays, and came back."""

    first: int
    last: int
    value: float
    usual: float


@dataclass(frozen=True)
class Excursion:
    """The loss stood at another level from display `first` to `last`, and came back. `classes`: that is ln(classes)."""

    first: int
    last: int
    level: float
    usual: float
    classes: int | None


@dataclass(frozen=True)
class Nans:
    """Displays whose loss is no finite number; `lasting`: to the end of the log. `saturated`: a head stood at
    -ln(FLT_MIN) at the last finite display before."""

    first: int
    count: int
    lasting: bool
    saturated: bool


@dataclass(frozen=True)
class Schedule:
    """The learning rates displayed. `agrees`: with the solver's policy, None where there is no solver; `differs` is the
    first display where they do not (iteration, displayed, by the solver). Without a solver the fields are inferred;
    `unsure`: other powers fit as well."""

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
    steps: tuple[tuple[int, float], ...]  # display at which another rate was seen, and the rate
    rises: tuple[tuple[int, float, float], ...]  # first display, rate before, rate at its end
    only_one: bool  # rate was displayed


@dataclass(frozen=True)
class Position:
    """The `count` records that the iterations of the onset read, `first` to `last`, 0-based and inclusive; `first` >
    `last`: they wrap around; `all`: there are no others.

    `epoch` counts from 0: 13.7 means that 13 whole passes were made. `resumed`: the iteration at which the data began
    anew, as it does when Caffe resumes; 0 otherwise.
    """

    epoch: float
    first: int
    last: int
    count: int
    resumed: int
    all: bool


@dataclass(frozen=True)
class TestChange:
    """A test output at the last pass before the jump (or the first of all), and at the last."""

    net: int
    name: str
    is_loss: bool
    first: tuple[int, float]
    last: tuple[int, float]


@dataclass(frozen=True)
class RunFindings:
    """All that is known of one run. `start`, `best`, `before` and `loss` are levels of the displayed total; `display`
    is 0 where the solver displays nothing."""

    verdict: Verdict
    why: Why
    first: int
    last: int
    displays: int
    display: int | None
    start: float
    best: float
    before: float | None
    loss: float
    jump: int | None
    onset: OnsetEstimate | None
    heads: tuple[HeadFinding, ...]
    explained: float | None  # the weighted sum of what uniform heads cost, where that is the level of the total
    doubted: int | None  # what --classes says, where a plateau says otherwise
    spikes: tuple[Spike, ...]
    excursions: tuple[Excursion, ...]
    last_far: tuple[int, float] | None  # the last display, where it is far above the others: too new to judge
    falling: bool  # it was still getting better at the end
    restarts: int  # rises of the learning rate with which the loss goes up and down
    nans: Nans | None
    poisoned: bool  # the displayed mean is NaN for good, the losses are not
    recovered: tuple[str, int, int] | None  # head, first and last display at -ln(FLT_MIN), where it came back
    schedule: Schedule | None
    position: Position | None
    watch: tuple[int, int] | None
    tests: tuple[TestChange, ...]
    resumed_from: str | None
    resumed_at: int | None
    fatal: str | None
    finished: bool  # it came to its max_iter
