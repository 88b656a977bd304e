"""A lineage in words: what its runs changed, and how they ended."""

from __future__ import annotations

from harness.recording.lineage_part import Part
from harness.recording.lineage_reader import LineageReader
from harness.reports.text.grammar import count

_MOST_NAMED = 5  # changes in a sentence


def summary(line: LineageReader) -> str:
    """State how many runs a lineage has, and its interventions; empty for a run that continues no other."""
    if len(line.parts) == 1:
        return ""
    before = count(len(line.parts) - 1, "run")
    first = line.parts[0].recording.series("iteration", slice(0, 1))
    since = f" from iteration {first[0]:,} on" if len(first) else ""
    made = [f"{part.change} (from iteration {part.begins:,} on)" for part in line.interventions]
    if len(made) > _MOST_NAMED:
        made = [*made[:_MOST_NAMED], f"{len(made) - _MOST_NAMED} more"]
    return f"This run continues {before}{since}. " + (
        f"Changed on the way: {'; '.join(made)}." if made else "Nothing was changed on the way."
    )


def iterations(part: Part) -> str:
    """State the iterations that a run contributes, and how far it went where that is further."""
    first, last = (part.recording.series("iteration", rows) for rows in (slice(0, 1), _last(part.recording.count)))
    if not len(first):
        return "none"
    until = part.begins if part.count == 0 else int(part.recording.series("iteration", _last(part.count))[0])
    counted = f"{first[0]:,} to {until:,}" if part.count else "none"
    return counted if part.count == part.recording.count else f"{counted} (recorded up to {last[0]:,})"


def end(part: Part) -> str:
    """State how a run ended: at a break, or the first clause of how it did."""
    ended = part.info.ended
    if ended is None:
        return "in progress" if part.recording.live else "not recorded: its processes were killed"
    if ended.onset:
        return f"broke at iteration {ended.onset.iteration:,}"
    return ended.how.split("; ")[0].rstrip(".")


def _last(rows: int) -> slice:
    return slice(max(0, rows - 1), rows)
