"""Say whether an arm that was replayed once more gave the same bits."""

from __future__ import annotations

from collections.abc import Iterator

from harness.experiments import Repeated
from harness.explaining.wording import in_words
from harness.reports.text.grammar import count


def lines_of(repeated: Repeated) -> Iterator[str]:
    """Yield what was changed, the losses of both replays where they differ, and the verdict."""
    stored, again = repeated.stored, repeated.again
    changes = ", ".join(map(in_words, stored.arm.changes)) or "nothing changed"
    yield f"Iterations {stored.arm.start:,} to {stored.arm.until - 1:,}: {changes}"
    for number, loss in enumerate(again.loss):
        before = stored.loss[number] if number < len(stored.loss) else None
        other = "" if before is None or repr(before) == repr(loss) else f"  (first time {before:.9g})"
        yield f"  {stored.arm.start + number:>9,}  loss {loss:.9g}{other}"
    if repeated.identical:
        yield f"The same weights, losses and outputs at {count(len(again.loss), 'iteration')}; {_ended(repeated)}"
        return
    if repeated.first_difference is not None:
        yield f"Not the same: from iteration {repeated.first_difference:,} on, weights, loss or outputs differ"
    else:
        yield f"Not the same: the first replay ended “{stored.ended}”, this one “{again.ended}”. {again.why}"
    yield from (f"Known reason: {reason}" for reason in repeated.not_exact)
    yield from (f"Known reason, of the first replay: {reason}" for reason in stored.not_exact)


def _ended(repeated: Repeated) -> str:
    if repeated.again.final_digest is None:
        return f"it ended “{repeated.again.ended}”, as the first time"
    return f"the digest of the weights after them is {repeated.again.final_digest:016x}, as the first time"
