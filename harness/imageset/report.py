"""What was made, and of which images what is wrong: as text to read, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from typing import Any

from harness.imageset.mean import LARGEST
from harness.imageset.record import Problem
from harness.imageset.tally import Tally

FEW = 10  # train images of a class: fewer are remarked upon
_SHOWN = 10  # classes named in a remark

# What the kinds mean, in the order in which they are listed.
KINDS = {
    "truncated": "JPEGs of which only a part can be decoded",
    "damaged": "images that cannot be decoded",
    "empty": "files of zero bytes",
    "not an image": "files of another kind",
    "not for Caffe": "images of a kind that Caffe cannot read, or not out of an LMDB",
    "no such file": "listed, and not there",
    "unreadable": "files and folders that could not be read",
    "path too long": "paths that are too long for a key",
    "no type": "images that cannot be encoded as their name says",
    "duplicate": "copies of images of the same class",
    "mislabelled?": "the same image in two classes: one of the labels is wrong",
    "no class": "files and folders that belong to no class",
    "damaged?": "JPEGs with damage in the middle, which the decoder mends, or without their end",
    "another form": "files that are not what the others are (grey, with alpha, 16 bits)",
    "turned": "photographs held sideways, which Caffe will see sideways",
}


@dataclass(frozen=True)
class Set:
    """An LMDB that was made of `listed` images; `fingerprint` is the harness's."""

    name: str
    listed: int
    tally: Tally
    fingerprint: str


@dataclass(frozen=True)
class Report:
    """`mean_value` per channel (BGR, or grey); `problems` as found; `remarks`: what to know before training on it."""

    recipe: dict[str, Any]
    sets: tuple[Set, ...]
    names: dict[int, str]
    mean_value: tuple[float, ...]
    remarks: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def left_out(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.kept]

    def as_dict(self) -> dict[str, Any]:
        return {"summary": self.summary(), "left_out": len(self.left_out)} | asdict(self)

    def summary(self) -> str:
        """A few lines: what was made, what was left out."""
        lines = []
        for made in self.sets:
            if made.listed:
                images = f"{made.tally.records:,} of {made.listed:,} images"
                what = f"fingerprint {made.fingerprint}" if made.fingerprint else "none can be used: it is not made"
                lines.append(f"{made.name + '_lmdb':<12} {images}; {what}")
        counts = sorted(self.sets[0].tally.labels.values()) or [0]
        each = f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} … {counts[-1]:,}"
        lines.append(
            f"{'classes':<12} {len(self.names)}, {each} images each in train_lmdb; num_output: {max(self.names) + 1}"
        )
        order = "B, G, R" if len(self.mean_value) == 3 else "grey"
        lines.append(f"{'mean_value':<12} {' '.join(f'{value:.3f}' for value in self.mean_value)} ({order})")
        lines.append(f"{'left out':<12} {_counted(self.left_out)}")
        if odd := [problem for problem in self.problems if problem.kept]:
            lines.append(f"{'kept':<12} {_counted(odd)}")
        lines += [f"{'remark':<12} {remark}" for remark in self.remarks]
        return "\n".join(lines)

    def text(self) -> str:
        """All of it, to read."""
        parts = [self.summary(), "", "in transform_param of the prototxt:"]
        parts += [f"  mean_value: {value:.3f}" for value in self.mean_value]
        for kind, meaning in KINDS.items():
            for kept in (False, True):
                of_kind = [problem for problem in self.problems if (problem.kind, problem.kept) == (kind, kept)]
                if of_kind:
                    parts += ["", f"{kind}: {meaning} ({len(of_kind):,}, {'kept' if kept else 'left out'})"]
                    parts += [f"  {problem.path}{_label(problem)}: {problem.why}" for problem in of_kind]
        parts += ["", "images of each class:"]
        for label, name in sorted(self.names.items()):
            counts = ", ".join(f"{made.tally.labels.get(str(label), 0):,} {made.name}" for made in self.sets)
            parts.append(f"  {label} {name}: {counts}")
        parts += ["", "made with:", *(f"  {name}: {value}" for name, value in self.recipe.items())]
        return "\n".join(parts) + "\n"


def _label(problem: Problem) -> str:
    return f" (label {problem.label})" if problem.label >= 0 else ""


def _counted(problems: Iterable[Problem]) -> str:
    kinds = Counter(problem.kind for problem in problems)
    return ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS if kind in kinds) or "none"


def remarks_of(
    sets: dict[str, Tally],
    names: dict[int, str],
    problems: Iterable[Problem],
    gray: bool,
    encoded: bool,
    by_class: bool,
) -> tuple[str, ...]:
    """What to know before training. `by_class`: the train images come sorted by class."""
    train, test = sets["train"], sets["test"]
    kinds = Counter(problem.kind for problem in problems)
    found = []
    if by_class:
        found.append("train.txt is sorted by class, and Caffe reads in this order: use --shuffle")
    if len(names) == 1:
        found.append("one class only: a softmax has nothing to learn from it")
    if train.smallest != train.largest or test.smallest not in (None, train.smallest) or test.smallest != test.largest:
        height, width = map(min, zip(*(tally.smallest for tally in (train, test) if tally.smallest), strict=True))
        found.append(
            f"images differ in size: the net needs a crop_size of at most {min(height, width)} (no mean.binaryproto is "
            "made), or use --resize-height and --resize-width"
        )
    elif train.smallest and train.smallest[0] * train.smallest[1] > LARGEST:
        found.append(
            f"images are larger than a megapixel ({train.smallest[0]}×{train.smallest[1]}): no mean.binaryproto is "
            "made, use mean_value"
        )
    if encoded and (kinds["another form"] or kinds["turned"]):
        force = f"force_{'gray' if gray else 'color'}: true"
        found.append(
            f"{kinds['another form'] + kinds['turned']:,} images need transform_param {{ {force} }}: without it Caffe "
            "aborts at the first one of another form, and sees turned ones sideways"
        )
    labels = sorted(names)
    if missing := labels[-1] + 1 - len(labels):
        found.append(f"no image has {_listed('label', list(map(str, _gaps(labels, _SHOWN))), missing)}")
    none = [names[label] for label in labels if not train.labels.get(str(label))]
    few = [names[label] for label in labels if 0 < train.labels.get(str(label), 0) < FEW]
    if none:
        found.append(f"no train image of {_listed('class', none)}")
    if few:
        found.append(f"fewer than {FEW} train images of {_listed('class', few)}")
    if test.records and (untested := [names[label] for label in labels if not test.labels.get(str(label))]):
        found.append(f"no test image of {_listed('class', untested)}")
    return tuple(found)


def _gaps(labels: Sequence[int], most: int) -> list[int]:
    """The first `most` of the labels that are not among `labels`, which are sorted. (There may be two billion.)"""
    gaps = (label for before, after in pairwise((-1, *labels)) for label in range(before + 1, after))
    return list(islice(gaps, most))


def _listed(what: str, names: Sequence[str], count: int = 0) -> str:
    """`names`, or the first of them; there are `count`, or no more than these."""
    count = count or len(names)
    more = f" and {count - _SHOWN:,} more" if count > _SHOWN else ""
    plural = what if count == 1 else "classes" if what == "class" else f"{what}s"
    return f"{plural} {', '.join(names[:_SHOWN])}{more}"
