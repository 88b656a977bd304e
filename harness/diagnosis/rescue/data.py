"""Candidates that leave data out: the culprit records for good, or the batches once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.diagnosis.cause.case import Case, Reading
from harness.diagnosis.cause.records.stand_ins import Sources, Spot, ordinary_iterations, replaced
from harness.diagnosis.cause.stages.data import replaced_batches
from harness.diagnosis.rescue.evidence import breaks, continuing, heals, shown_by, trials
from harness.schemas.arm import AnyChange, Place, StreamShifted
from harness.schemas.explanation import ArmSummary, CulpritRecord, Explanation
from harness.schemas.rescue import Candidate, Step

_MOST_MOVED = 1000  # records of an arm that move up; each is stored by itself
_CULPRITS = "culprit record"  # in the names of trials
_STRETCHES = (1, 2, 4, 8, 16)  # times what an arm has after the onset: lengths of a stretch whose end is not known


def without_records(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidate that leaves the culprit records out, where all of their keys are known."""
    records = found.verdict.records
    tried = _trial_without(found)
    if not records or not all(record.key for record in records) or breaks(tried):
        return
    keys = tuple(dict.fromkeys(record.key for record in records))
    name = f"without the record {keys[0]}" if len(keys) == 1 else f"without the {len(keys)} culprit records"
    why = "they do the damage" if len(keys) > 1 else "it does the damage"
    if tried is not None and heals(tried):
        others = "another one in its place" if len(keys) == 1 else "others in their places"
        why = continuing(tried, f"with {others}")
    yield Candidate("records", name, (Step(skip_records(keys)),), _moved_up(case, records), why, shown_by(tried))


def skip_records(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the option of restart.py that leaves records out; keys with a comma are separated by line breaks."""
    plain = not any("," in key for key in keys) and not keys[0].startswith("@")
    value = ",".join(keys) if plain else "".join(f"{key}\n" for key in keys)
    return (f"--skip-records={value}",) if value.startswith("-") else ("--skip-records", value)


def without_batches(case: Case, found: Explanation) -> Iterator[Candidate]:
    """Yield the candidates that skip the batches without which training continues.

    Where the data have changed from some iteration on, nothing tells where that ends: longer and longer stretches.
    """
    skipped, tried = _batches(found)
    verdict = found.verdict
    if not skipped and verdict.kind == "undecided" and not any(map(breaks, trials(found, "data-shift"))):
        skipped = range(case.at, case.at + 1)
    if skipped and skipped.start >= case.start:
        why = "training went wrong there" if tried is None else continuing(tried, "with other data there")
        yield _skipping(skipped, why, shown_by(tried))
    elif not skipped and verdict.kind == "data-shift" and verdict.iteration is not None:
        since = verdict.iteration
        healing = next((arm for arm in trials(found, "data-shift") if heals(arm)), None)
        if healing is None or since < case.start:
            return
        why = f"the data from iteration {since:,} on broke it: {continuing(healing, 'with other data')}"
        for factor in _STRETCHES:
            yield _skipping(range(since, since + factor * case.after), why)


def _skipping(skipped: range, why: str, shown: int = 0) -> Candidate:
    which = f"iteration {skipped.start:,}" if len(skipped) == 1 else f"iterations {skipped[0]:,} to {skipped[-1]:,}"
    steps = (Step(("--skip", f"{skipped.start}:{skipped.stop}")),)
    changes = (StreamShifted(skipped.start, skipped.stop),)
    return Candidate("batches", f"without the data of {which}", steps, changes, why, shown)


def _batches(found: Explanation) -> tuple[range, ArmSummary | None]:
    """Return the iterations whose batches the break needs, and the trial that shows it, if one does."""
    trial = _trial_without(found)
    at = sorted({record.iteration for record in found.verdict.records})
    widths = [(span, arm) for arm in trials(found, "record") if (span := replaced_batches(arm.name)) and heals(arm)]
    span, healing = min(widths, key=lambda one: len(one[0]), default=(range(0), None))
    if not at:
        return span, healing
    wide = range(at[0], at[-1] + 1)
    if healing is not None and set(wide) <= set(span):
        return span, healing
    return wide, trial if trial is not None and heals(trial) else None


def _trial_without(found: Explanation) -> ArmSummary | None:
    """Return the trial in which all culprit records were replaced."""
    return next(
        (
            arm
            for arm in trials(found, "record")
            if _CULPRITS in arm.name and arm.name.endswith(" replaced") and not arm.name.startswith("only")
        ),
        None,
    )


def _moved_up(case: Case, records: Sequence[CulpritRecord]) -> tuple[AnyChange, ...]:
    """Return what leaving records out does to the batches up to the end of an arm: all later records move up.

    Each image is cropped and mirrored as the one whose place it takes, as in the restart. Beyond `case.until`, an arm
    that was made longer reads the batches of the run. Where many records move, others take the places of the culprits
    instead. Empty where it is not known what an iteration reads.
    """
    sources: dict[Spot, Place] = {}
    for reading in case.readings:
        out = {(r.iteration, r.index) for r in records if r.layers == reading.layers and r.iteration >= case.start}
        if out:
            sources |= _shifted(reading, out, case.until)
    if not sources:
        return ()
    if len(sources) > _MOST_MOVED:
        sources = _replaced(case, records)
    return (replaced(sources),)


def _shifted(reading: Reading, out: set[tuple[int, int]], until: int) -> Sources:
    """Return the places whose record is another one in a stream without those at `out`, and where it comes from."""
    first, count = min(iteration for iteration, _ in out), reading.count
    gone = {(iteration - first) * count + position for iteration, position in out}
    sources = {}
    source = 0
    for number in range((until - first) * count):
        while source in gone:
            source += 1
        if source != number:
            place, other = divmod(number, count), divmod(source, count)
            sources[Spot(Place(first + place[0], place[1]), reading)] = Place(first + other[0], other[1])
        source += 1
    return sources


def _replaced(case: Case, records: Sequence[CulpritRecord]) -> dict[Spot, Place]:
    """Return ordinary records for the places of `records`, of an iteration before."""
    ordinary = ordinary_iterations(case, min(record.iteration for record in records))
    readings = {reading.layers: reading for reading in case.readings}
    sources = {}
    used: dict[tuple[tuple[str, ...], int], int] = {}
    for record in records:
        if record.layers in readings and ordinary:
            place = (record.layers, record.index)
            number = used.setdefault(place, -1) + 1
            used[place] = number
            source = Place(ordinary[number % len(ordinary)], record.index)
            sources[Spot(Place(record.iteration, record.index), readings[record.layers])] = source
    return sources
