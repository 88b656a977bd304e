"""The trials of an explanation, as pages and figures show them: in groups, and each outcome in a look of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.diagnosis.robust_stats import Floats, Ints
from harness.reports.palette import BROKEN, GOOD, GREY
from harness.reports.scales import Scale, scale_of
from harness.reports.text.grammar import count
from harness.schemas.explanation import ArmSummary, Explanation, Judgement

Mood = Literal["good", "bad", "open"]
_LARGEST = 1e9  # loss that is drawn, and its inverse the smallest
_SPIKE = 1e3  # times the highest level, likewise
_RATIO = 1e5  # of the highest loss to the lowest that is drawn
_DECADES = 1.0  # from which on the scale of losses is logarithmic


@dataclass(frozen=True)
class Look:
    """How an outcome looks, by colour and by shape.

    Attributes:
        word: the outcome.
        mood: the class in the style sheet of pages.
        letter: the shape in a page; `marker` is that in Matplotlib.
    """

    word: str
    mood: Mood
    colour: str
    letter: str
    marker: str


HEALS = Look("heals", "good", GOOD, "●", "o")
BREAKS = Look("breaks", "bad", BROKEN, "✕", "X")
UNDECIDED = Look("undecided", "open", GREY, "◆", "D")
LOOKS: dict[Judgement, Look] = {
    "healed": HEALS,
    "broken": BREAKS,
    "unclear": UNDECIDED,
    "died": Look("died", "open", GREY, "◆", "D"),
    "refused": Look("refused", "open", GREY, "◆", "D"),
}

MEASURED = ("effect", "curvature")  # kinds of trials whose arms are too short to break
DECIDING = "deciding"  # the group of trials that decide about the cause: those of every kind that no other group has
_GROUPS = (
    (DECIDING, "What decides", ()),
    ("measured", "Measurements: effects of records, curvature", MEASURED),
    ("layers", "Updates of layers withheld", ("layer",)),
    ("margins", "Margins, value by value", ("margin",)),
    ("brakes", "The best remedy, applied later and later", ("brake",)),
    ("orders", "Other orders of the data", ("order",)),
)
_LAST = ("placebo",)  # kinds, in their group


@dataclass(frozen=True)
class Group:
    """Trials that ask alike: `name` is short, `title` for readers."""

    name: str
    title: str
    trials: tuple[ArmSummary, ...]

    @property
    def arms(self) -> int:
        """The number of replays."""
        return sum(count_arms(trial) for trial in self.trials)


def groups_of(explanation: Explanation) -> tuple[Group, ...]:
    """Group the trials by what they ask, and leave out groups without any."""
    known = {kind: name for name, _, kinds in _GROUPS for kind in kinds}
    arms = sorted(explanation.arms, key=lambda trial: (trial.kind != "control", trial.kind in _LAST))
    found = (
        Group(name, title, tuple(t for t in arms if known.get(t.kind, DECIDING) == name)) for name, title, _ in _GROUPS
    )
    return tuple(group for group in found if group.trials)


def is_measured(trial: ArmSummary) -> bool:
    """Check whether a trial measures something in a few iterations, so that it neither breaks nor heals."""
    return trial.kind in MEASURED


def count_arms(trial: ArmSummary) -> int:
    """Return how many arms a trial has, those included that are not decided."""
    return max(trial.runs, len(trial.judgements))


def outcome(trial: ArmSummary) -> str:
    """State in words how a trial ended: `8 of 8 heal`, `2 of 3 break, 1 undecided`."""
    total, rest = count_arms(trial), count_arms(trial) - trial.breaks - trial.heals
    if is_measured(trial):
        return count(total, "replay")
    said = [
        f"{number} of {total} {verb if number > 1 else f'{verb}s'}"
        for number, verb in ((trial.breaks, "break"), (trial.heals, "heal"))
        if number
    ]
    if len(said) == 2:
        said[1] = f"{trial.heals} heal{'s' if trial.heals == 1 else ''}"
    others = [LOOKS[judgement].word for judgement in trial.judgements if judgement not in ("broken", "healed")]
    kinds = {word: others.count(word) for word in others} or ({"undecided": rest} if rest > 0 else {})
    said += [f"{number} {word}" for word, number in kinds.items()]
    return ", ".join(said) or "not run"


def look(trial: ArmSummary) -> Look:
    """Choose the look of a trial: that of its arms if they agree, else the undecided one."""
    if is_measured(trial):
        return UNDECIDED
    if trial.breaks and trial.breaks == count_arms(trial):
        return BREAKS
    return HEALS if trial.heals and trial.heals == count_arms(trial) else UNDECIDED


def arm_series(trial: ArmSummary, curve: Sequence[float | None]) -> tuple[Ints, Floats]:
    """Return the iterations and the losses of an arm, NaN where these are not finite."""
    values = np.array([np.nan if value is None else value for value in curve], np.float64)
    return trial.start + np.arange(len(values)), values


def loss_scale(explanation: Explanation, series: Iterable[Floats]) -> Scale:
    """Choose one scale for the losses of several arms, and for the limit above which they count as broken.

    Spikes a thousand times as high as every level are cut off, and losses near 0: they would flatten all else.
    """
    values = np.concatenate([np.empty(0), *series])
    values = values[np.isfinite(values)]
    levels = explanation.levels
    if levels is not None and len(values):
        known = [levels.healthy, levels.broken, levels.chance, levels.limit]
        top = max(abs(level) for level in known if level is not None)
        values = np.minimum(np.append(values, levels.limit), _SPIKE * max(top, 1e-3))
    if not len(values):
        return Scale(0.0, 1.0)
    values = np.clip(values, -_LARGEST, _LARGEST)
    lowest = max(values.max() / _RATIO, 1 / _LARGEST)
    return scale_of(np.maximum(values, lowest) if values.min() >= 0 else values, _DECADES)
