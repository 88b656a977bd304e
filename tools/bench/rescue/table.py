"""Render scores of rescues as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from tools.bench.faults.kinds import KINDS
from tools.bench.rescue.scoring import Score


def markdown(scores: Sequence[Score]) -> str:
    """Return the tables: totals, each kind, and what went wrong."""
    parts = ["\n".join(_totals(scores)), "\n".join(_kinds(scores)), "\n".join(_wrong(scores))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _totals(scores: Sequence[Score]) -> Iterator[str]:
    broken = [s for s in scores if not s.truth.is_control]
    curable = [s for s in broken if s.curable]
    incurable = [s for s in broken if not s.curable]
    yield "| | right | of | share |"
    yield "|---|---|---|---|"
    yield _row("curable runs that finish healthy", (s.healthy and s.right for s in curable))
    yield _row("… with one intervention", (s.right and _interventions(s) == 1 for s in curable))
    yield _row("incurable ones that are reported as such", (s.rescued.code == 3 for s in incurable))
    yield _row("… that finish healthy all the same", (s.healthy for s in incurable))
    yield _row("healthy runs that are left alone", (s.right for s in scores if s.truth.kind == "healthy"))
    yield _row("runs that recover and are left alone", (s.right for s in scores if s.truth.kind == "spike"))
    yield _row("baseline: roll back, divide the rate by ten, up to five times: curable", (s.divided for s in curable))
    yield _row("… incurable", (s.divided for s in incurable))
    yield ""
    yield from _costs(broken)


def _costs(broken: Sequence[Score]) -> Iterator[str]:
    right = [s for s in broken if s.right and s.healthy]
    if right:
        yield (
            f"A rescue took {median(s.rescued.seconds for s in right):.0f} s; {median(s.spent for s in right):,.0f} "
            "iterations of replays and restarts led to the choice (medians)."
        )
    if excess := [s.excess for s in right if s.excess is not None]:
        lower = sum(ratio <= 1 for ratio in excess)
        yield (
            f"Where both end healthy, the loss at the end is {median(excess):.2f} times that of the divided rate "
            f"(median), and not higher in {lower} of {len(excess)} runs."
        )
    yield from _compared_with_random(broken)


def _compared_with_random(broken: Sequence[Score]) -> Iterator[str]:
    measured = [s for s in broken if s.random and s.random_derived and s.first]
    if not measured:
        return
    random = [s.random for s in measured if s.random]
    derived = [s.random_derived for s in measured if s.random_derived]
    first, explained = [s.first for s in measured], [s.explained for s in measured]
    yield ""
    runs = f"the first break of {len(measured)} runs"
    yield f"| {runs} | iterations | of a run (median) | `rescue` takes | with `explain` |"
    yield "|---|---|---|---|---|"
    yield f"| `rescue`, until its choice | {sum(first):,} | {median(first):,.0f} | | |"
    yield f"| `explain`, before | {sum(explained):,} | {median(explained):,.0f} | | |"
    for name, iterations in (
        ("random search for the smallest good change", [one.for_smallest for one in random]),
        ("… among the candidates of `rescue`", [one.for_smallest for one in derived]),
        ("random search for any good change", [one.for_any for one in random]),
        ("… among the candidates of `rescue`", [one.for_any for one in derived]),
    ):
        total = sum(iterations)
        shares = f"{sum(first) / total:.2f} of that | {(sum(first) + sum(explained)) / total:.1f} times that"
        yield f"| {name} | {total:,.0f} | {median(iterations):,.0f} | {shares} |"


def _interventions(s: Score) -> int:
    return 0 if s.rescued.said is None else len(s.rescued.said.interventions)


def _row(name: str, values: Iterable[bool | None]) -> str:
    judged = [value for value in values if value is not None]
    share = f"{sum(judged) / len(judged):.0%}" if judged else ""
    return f"| {name} | {sum(judged)} | {len(judged)} | {share} |"


def _kinds(scores: Sequence[Score]) -> Iterator[str]:
    yield "| planted | runs | curable | right | finish healthy | divided rate | got past by |"
    yield "|---|---|---|---|---|---|---|"
    for kind in KINDS:
        mine = [s for s in scores if s.truth.kind == kind]
        if not mine:
            continue
        curable = "" if mine[0].truth.is_control else f"{sum(bool(s.curable) for s in mine)}"
        divided = [s.divided for s in mine if s.divided is not None]
        numbers = [len(mine), curable, sum(s.right for s in mine), sum(s.healthy for s in mine)]
        numbers.append(sum(divided) if divided else "")
        chosen = Counter(name for s in mine if s.healthy for name in _chosen(s))
        by = ", ".join(f"{name} {count}" for name, count in chosen.most_common())
        yield f"| {kind} | {' | '.join(map(str, numbers))} | {by} |"


def _chosen(s: Score) -> Iterator[str]:
    """Yield the kinds of the candidates of a run that were chosen."""
    attempts = () if s.rescued.said is None else s.rescued.said.attempts
    for attempt in attempts:
        yield from (tried.kind for tried in attempt.tried if tried.chosen)


def _wrong(scores: Sequence[Score]) -> Iterator[str]:
    wrong = [s for s in scores if not s.right]
    if wrong:
        yield "| wrong | exit code | what was said |"
        yield "|---|---|---|"
    for s in wrong:
        said = s.rescued.said.sentence if s.rescued.said is not None else s.rescued.error.strip()[-200:]
        yield f"| {s.truth.name} | {s.rescued.code} | {' '.join(said.split())} |"
