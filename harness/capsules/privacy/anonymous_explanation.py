"""Remove names from what `explain` has found."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from harness.schemas.explanation import ChainLink, Condition, CulpritRecord, Explanation, Verdict


def anonymous_explanation(explanation: Explanation, names: Mapping[str, str]) -> Explanation:
    """Return an explanation without names of records, files and classes, also inside of sentences.

    Args:
        names: numbers by the names of records. A record that is not among them loses its key.
    """
    known = dict(names)
    for record in explanation.verdict.records:
        if record.key and record.key not in known:
            known[record.key] = f"record {record.index}"
        if record.class_name:
            known[record.class_name] = "a class" if record.label is None else f"class {record.label}"
    clean = _replacing(known)
    arms = tuple(
        replace(arm, name=clean(arm.name), changes=tuple(map(clean, arm.changes)), command="")
        for arm in explanation.arms
    )
    return replace(explanation, verdict=_verdict(explanation.verdict, names, clean), arms=arms)


def _verdict(verdict: Verdict, names: Mapping[str, str], clean: Callable[[str], str]) -> Verdict:
    def link(one: ChainLink) -> ChainLink:
        return replace(one, sentence=clean(one.sentence), trials=tuple(map(clean, one.trials)))

    def condition(one: Condition) -> Condition:
        return replace(one, sentence=clean(one.sentence), trials=tuple(map(clean, one.trials)))

    def record(one: CulpritRecord) -> CulpritRecord:
        return replace(one, key=names.get(one.key, ""), class_name=None)

    return replace(
        verdict,
        sentence=clean(verdict.sentence),
        records=tuple(map(record, verdict.records)),
        conditions=tuple(map(condition, verdict.conditions)),
        evidence=tuple(map(link, verdict.evidence)),
        chain=tuple(map(link, verdict.chain)),
        would_decide=tuple(map(clean, verdict.would_decide)),
    )


def _replacing(names: Mapping[str, str]) -> Callable[[str], str]:
    """Return what replaces `names` in a text, where they are whole words."""
    if not names:
        return lambda text: text
    longest_first = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    return lambda text: pattern.sub(lambda match: names[match[0]], text)
