"""Render scores as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from tools.bench.faults.kinds import KINDS
from tools.bench.faults.nets import NETS
from tools.bench.faults.scoring import NO_CAUSE, Score


def markdown(scores: Sequence[Score]) -> str:
    """Return the tables: totals, the kinds of each net, and what was said of what."""
    return "\n\n".join(["\n".join(_totals(scores)), "\n".join(_kinds(scores)), "\n".join(_confusion(scores))]) + "\n"


def _totals(scores: Sequence[Score]) -> Iterator[str]:
    single = [s for s in scores if not s.truth.is_control and s.truth.kind != "two-causes"]
    two = [s for s in scores if s.truth.kind == "two-causes"]
    controls = [s for s in scores if s.truth.is_control]
    yield "| | right | of | share |"
    yield "|---|---|---|---|"
    yield _row("kind, one cause", (s.kind for s in single))
    yield _row("kind, two causes", (s.kind for s in two))
    yield _row("… with both named", (s.both for s in two))
    yield _row("culprit records exact", (s.records for s in scores))
    yield _row("layer", (s.layers for s in scores))
    yield _row("iteration", (s.iteration for s in scores))
    yield _row("nothing named of healthy runs and of those that recover", (s.kind for s in controls))
    yield _row("no false cause, all runs", (not s.false for s in scores))
    yield _row("the control as expected: identical, but for faults of the machine", (s.control for s in scores))
    yield _row("baseline: roll back, divide the rate by ten", (s.divided for s in [*single, *two]))
    yield _row("… it trains on after that, whatever broke it", (s.result.divided for s in [*single, *two]))
    chances = [s.random for s in [*single, *two] if s.random is not None]
    if chances:
        share = sum(chances) / len(chances)
        yield f"| baseline: arms in random order, until one heals | {sum(chances):.1f} | {len(chances)} | {share:.0%} |"
    if scores:
        answers = [s.result.answer for s in scores if not s.truth.is_control]
        yield ""
        yield (
            f"An explanation took {median(a.seconds for a in answers or [scores[0].result.answer]):.0f} s and "
            f"{median(a.iterations for a in answers or [scores[0].result.answer]):,.0f} iterations (medians)."
        )


def _row(name: str, values: Iterable[bool | None]) -> str:
    judged = [value for value in values if value is not None]
    share = f"{sum(judged) / len(judged):.0%}" if judged else ""
    return f"| {name} | {sum(judged)} | {len(judged)} | {share} |"


def _kinds(scores: Sequence[Score]) -> Iterator[str]:
    nets = [net for net in NETS if any(s.truth.net == net for s in scores)]
    yield f"| planted | {' | '.join(nets)} | records exact | layer | iteration |"
    yield "|---" * (len(nets) + 4) + "|"
    for kind in KINDS:
        mine = [s for s in scores if s.truth.kind == kind]
        if mine:
            cells = [_of([s.kind for s in mine if s.truth.net == net]) for net in nets]
            cells += [_of([s.records for s in mine]), _of([s.layers for s in mine]), _of([s.iteration for s in mine])]
            yield f"| {kind} | {' | '.join(cells)} |"


def _of(values: Iterable[bool | None]) -> str:
    judged = [value for value in values if value is not None]
    return f"{sum(judged)} of {len(judged)}" if judged else ""


def _confusion(scores: Sequence[Score]) -> Iterator[str]:
    said = Counter((s.truth.kind, s.result.answer.kind) for s in scores)
    columns = sorted({kind for _, kind in said}, key=lambda kind: (kind in NO_CAUSE, kind))
    yield f"| planted, and what was said | {' | '.join(kind or 'error' for kind in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for kind in KINDS:
        if any(planted == kind for planted, _ in said):
            yield f"| {kind} | {' | '.join(str(said[kind, column] or '') for column in columns)} |"
