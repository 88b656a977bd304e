"""Changes of arms in words."""

from __future__ import annotations

from harness.reports.text.grammar import count
from harness.schemas.arm import (
    AnyChange,
    HistoryScaled,
    LayerField,
    LayerRedrawn,
    RateHeld,
    RateScaled,
    RecordsReplaced,
    Replacement,
    SolverField,
    StreamShifted,
    UpdateWithheld,
    WeightsJittered,
    WeightsLimited,
    WeightsScaled,
)

_MOST = 4  # places that are listed


def in_words(change: AnyChange) -> str:
    """Say what an arm changes: `rate × 0.1 from iteration 841 on`."""
    match change:
        case SolverField(field, value):
            return f"{field} = {value}"
        case LayerField(layer, field, value):
            return f"{layer}: {field} = {value}"
        case RateHeld(first, rate):
            return f"rate {rate:.4g} from iteration {first:,} on"
        case RateScaled(factor, first, stop):
            return f"rate × {factor:.4g}{_when(first, stop)}"
        case HistoryScaled(factor, layer):
            of = "" if layer is None else f" of {layer}"
            return f"history{of} × {factor:.4g} at the start" if factor else f"history{of} zero at the start"
        case RecordsReplaced(replacements):
            return _replaced(replacements)
        case StreamShifted(first, source, stop):
            return f"data from iteration {source:,} on{_when(first, stop)}"
        case UpdateWithheld(layer, first, stop, index):
            return f"update of {_param(layer, index)} withheld{_when(first, stop)}"
        case WeightsJittered(amount):
            return f"weights jittered by {amount:.2g} at the start"
        case WeightsLimited(layer, limit, index):
            return f"weights of {_param(layer, index)} limited to ±{limit:.3g} at the start"
        case WeightsScaled(layer, factor, index):
            return f"weights of {_param(layer, index)} × {factor:.3g} at the start"
        case LayerRedrawn(layer):
            return f"{layer} redrawn at the start"


def _when(first: int, stop: int | None) -> str:
    if stop is None:
        return f" from iteration {first:,} on"
    return f" in iteration {first:,}" if stop == first + 1 else f" in iterations {first:,} to {stop - 1:,}"


def _param(layer: str, index: int | None) -> str:
    return layer if index is None else f"{layer}/{index}"


def _replaced(replacements: tuple[Replacement, ...]) -> str:
    iterations = sorted({one.place.iteration for one in replacements})
    where = f"iteration {iterations[0]:,}" if len(iterations) == 1 else f"{len(iterations)} iterations"
    positions = [one.place.position for one in replacements]
    if len(iterations) == 1 and len(positions) <= _MOST:
        which = f"record{'s' if len(positions) > 1 else ''} {', '.join(map(str, positions))}"
    else:
        which = count(len(positions), "record")
    sources = sorted({one.source.iteration for one in replacements})
    origin = f"iteration {sources[0]:,}" if len(sources) == 1 else f"{len(sources)} other iterations"
    return f"{which} of {where} replaced by those of {origin}"
