"""Report what was made, and every problem with an image: as text, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from harness.imageset.counts import SetCounts
from harness.imageset.problems import KINDS, Problem


@dataclass(frozen=True)
class FinishedSet:
    """An LMDB that was made from `listed` images; the `fingerprint` is that of caffe_files.lmdb_file, empty without
    records."""

    name: str
    listed: int
    counts: SetCounts
    fingerprint: str


@dataclass(frozen=True)
class Report:
    """The result of a call.

    Attributes:
        names: class names by label.
        mean_value: per channel (BGR, or grey).
        remarks: what to know before training.
        problems: in the order in which they were found.
    """

    recipe: dict[str, object]
    sets: tuple[FinishedSet, ...]
    names: dict[int, str]
    mean_value: tuple[float, ...]
    remarks: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def left_out(self) -> list[Problem]:
        return [problem for problem in self.problems if not problem.kept]

    def as_dict(self) -> dict[str, object]:
        """Return the content of report.json."""
        sets = [
            {"name": s.name, "listed": s.listed, "tally": asdict(s.counts), "fingerprint": s.fingerprint}
            for s in self.sets
        ]
        return {"summary": self.summary(), "left_out": len(self.left_out)} | asdict(self) | {"sets": sets}

    def summary(self) -> str:
        """Summarize in a few lines what was made and what was left out."""
        lines = []
        for made in self.sets:
            if made.listed:
                images = f"{made.counts.records:,} of {made.listed:,} images"
                what = f"fingerprint {made.fingerprint}" if made.fingerprint else "none can be used, so it is not made"
                lines.append(f"{made.name + '_lmdb':<12} {images}; {what}")
        counts = sorted(self.sets[0].counts.labels.values()) or [0]
        each = f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"
        lines.append(
            f"{'classes':<12} {len(self.names)}, each with {each} images in train_lmdb; num_output: "
            f"{max(self.names) + 1}"
        )
        order = "B, G, R" if len(self.mean_value) == 3 else "grey"
        lines.append(f"{'mean_value':<12} {' '.join(f'{value:.3f}' for value in self.mean_value)} ({order})")
        lines.append(f"{'left out':<12} {_count_kinds(self.left_out)}")
        if kept := [problem for problem in self.problems if problem.kept]:
            lines.append(f"{'kept':<12} {_count_kinds(kept)}")
        lines += [f"{'remark':<12} {remark}" for remark in self.remarks]
        return "\n".join(lines)

    def text(self) -> str:
        """Return the content of report.txt."""
        parts = [self.summary(), "", "for transform_param in the prototxt:"]
        parts += [f"  mean_value: {value:.3f}" for value in self.mean_value]
        for kind, meaning in KINDS.items():
            for kept in (False, True):
                of_kind = [problem for problem in self.problems if (problem.kind, problem.kept) == (kind, kept)]
                if of_kind:
                    parts += ["", f"{kind}: {meaning} ({len(of_kind):,}, {'kept' if kept else 'left out'})"]
                    parts += [f"  {problem.path}{_label(problem)}: {problem.why}" for problem in of_kind]
        parts += ["", "images of each class:"]
        for label, name in sorted(self.names.items()):
            counts = ", ".join(f"{made.counts.labels.get(str(label), 0):,} {made.name}" for made in self.sets)
            parts.append(f"  {label} {name}: {counts}")
        parts += ["", "settings:", *(f"  {name}: {value}" for name, value in self.recipe.items())]
        return "\n".join(parts) + "\n"


def _label(problem: Problem) -> str:
    return f" (label {problem.label})" if problem.label >= 0 else ""


def _count_kinds(problems: Iterable[Problem]) -> str:
    kinds = Counter(problem.kind for problem in problems)
    return ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS if kind in kinds) or "none"
