"""Print where two runs first differ: the answer, the evidence, and the settings."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from harness.diagnosis.comparison import ArrayDifference, Cause, Comparison, Extent, KeyDifference, Part
from harness.reports.console import Console
from harness.reports.suggestion import Suggestion
from harness.reports.text.alarms import suggestion_lines
from harness.reports.text.exactness import verification
from harness.schemas.rewind import NoRewind, Rewind

_MOST_SETTINGS = 40
_CAUSES: dict[Cause, str] = {
    "start": "The runs started with different weights: compare their settings (seed, weights, parent)",
    "data": "The same weights received different data",
    "forward": "The same weights and data gave a different loss: the forward pass differed, in its arithmetic (BLAS, "
    "threads, build, net) or in what a layer drew (Dropout)",
    "data or forward": "The same weights gave a different loss: the data or the forward pass differed (the inputs "
    "would show which, but no window of both runs holds them)",
    "backward": "The same loss gave a different gradient: the arithmetic of the backward pass differed",
    "rate": "The same gradient was applied with a different learning rate",
    "update": "The same gradient and learning rate gave a different update: momentum (the solver's history), weight "
    "decay or clipping differed",
    "unknown": "The recordings do not show why",
}
_OTHER_DIGESTS = (
    "The runs hashed their weights in different ways (A: {}, B: {}), so weights were compared by the norms and the "
    "largest magnitudes of all blobs. Weights that differ can have the same ones"
)
_SOURCES = {"window": "", "norms": " (by the norms of all blobs)", "series": ""}


def show(comparison: Comparison, names: tuple[str, str], console: Console) -> None:
    """Print the comparison of the runs called `names`."""
    identical = comparison.identical
    style = "bold green" if identical else "bold yellow"
    console.print(Text(_headline(comparison), style=style), soft_wrap=True)
    console.print()
    console.print(_sides(comparison, names), soft_wrap=True)
    for letter, verified in zip("AB", comparison.verified, strict=True):
        if verified is not None:
            console.print(Text(f"{letter}: {verification(verified)}"), soft_wrap=True)
    if not comparison.same_digests:
        console.print(Text(_OTHER_DIGESTS.format(*comparison.digest_kinds)), soft_wrap=True)
    if comparison.common is not None and not identical:
        console.print()
        for line in _evidence(comparison):
            console.print(line, soft_wrap=not console.is_terminal)
    console.print()
    _show_settings(comparison, console)


def _headline(found: Comparison) -> str:
    if found.common is None:
        sides = f"A {_iterations(found.a)}, B {_iterations(found.b)}"
        return f"nothing to compare: no iteration was recorded by both ({sides})"
    extent = f"{found.common.count:,} iterations compared ({found.common.first}…{found.common.last})"
    if found.identical:
        return f"identical: {extent}"
    if found.weights is None:
        where = f" from iteration {found.moment}" if found.moment is not None else ""
        return f"same weights throughout, different data or losses{where}: {extent}"
    if found.moment is None:
        return f"different from the first iteration compared, {found.weights}: {extent}"
    return f"different from iteration {found.moment}: {extent}"


def _iterations(span: Extent | None) -> str:
    return f"{span.first}…{span.last}" if span else "none"


def _sides(found: Comparison, names: tuple[str, str]) -> Table:
    grid = Table.grid(padding=(0, 3))
    for letter, name, span in zip("AB", names, (found.a, found.b), strict=True):
        grid.add_row(Text(letter, style="bold"), Text(name, no_wrap=True), Text(f"iterations {_iterations(span)}"))
    return grid


# -- evidence --------------------------------------------------------------------------------------------------------


def _evidence(found: Comparison) -> list[Text | Table]:
    lines: list[Text | Table] = []
    if found.cause is not None:
        lines.append(Text(f"{_CAUSES[found.cause]}."))
    if found.moment is not None:
        lines.append(Text())
        lines.append(_inside(found))
    if found.weights is not None:
        lines.append(Text())
        lines.append(Text(_weights(found)))
    for difference in found.arrays:
        if difference.kind == "weight":
            lines.append(_array(difference))
    if found.key is not None:
        lines += [Text(), Text(_record(found.key))]
    if found.values:
        lines.append(Text())
        lines.append(_values(found))
    return [*lines, *_closer_look(found)]


def _closer_look(found: Comparison) -> list[Text | Table]:
    """Say how to record the iterations of the difference in full, or why that is not possible."""
    missing = [(letter, rewind) for letter, rewind in zip("AB", found.rewinds, strict=True) if rewind is not None]
    if not missing:
        return []
    impossible = [f"{letter}: {rewind.reason}" for letter, rewind in missing if isinstance(rewind, NoRewind)]
    if impossible:
        reasons = "; ".join(impossible)
        return [Text(), Text(f"Which layer and elements differ cannot be recorded now. {reasons}.")]
    lines: list[Text | Table] = [Text(), Text("To see which layer and elements differ, record it, then compare again:")]
    for letter, rewind in missing:
        if isinstance(rewind, Rewind):
            lines += suggestion_lines(Suggestion(rewind.command, f"{letter}, {rewind.work} ({rewind.cost})"))
    return lines


def _record(key: KeyDifference) -> str:
    a, b = (repr(k.decode(errors="replace")) if k is not None else "none" for k in (key.a, key.b))
    others = f"; {key.count} records of the batch differ" if key.count > 1 else ""
    where = f"iteration {key.iteration}, position {key.position} in the batch"
    return f"First different record: {where}: A {a}, B {b}{others}."


def _inside(found: Comparison) -> Table:
    grid = Table.grid(padding=(0, 3))
    arrays: dict[str, ArrayDifference] = {d.kind: d for d in found.arrays}
    grid.add_row(Text(f"iteration {found.moment}", style="bold"), "same weights")
    for part in found.parts:
        grid.add_row(f"  {part.kind}", _part(part, arrays.get(part.kind)))
    return grid


def _part(part: Part, difference: ArrayDifference | None) -> Text:
    if part.same is None:
        return Text("not in a window of both runs", style="dim")
    if part.same:
        return Text(f"same{_SOURCES[part.source]}", style="green")
    if difference is None:
        return Text(f"different{_SOURCES[part.source]}", style="yellow")
    return Text("different: ", style="yellow").append(_array(difference))


def _weights(found: Comparison) -> str:
    last = found.common is not None and found.weights == found.common.last + 1
    how = "digest" if found.same_digests else "the norms of all blobs"
    return f"W_{found.weights} are the first weights that differ, by {how}{' (the final weights)' if last else ''}."


def _array(found: ArrayDifference) -> Text:
    element = f"{found.label}[{', '.join(map(str, found.index))}]" if found.index else found.label
    size = "equal values with different bits" if found.largest == 0 else f"|A − B| = {found.largest:.3g}"
    a, b = _apart(found.a, found.b)
    what = "blobs" if found.kind == "input" else "param blobs"
    return Text.assemble(
        ("largest difference in weight of " if found.kind == "weight" else "largest in ", "default"),
        (element, "bold"),
        (
            f", {size}: A {a}, B {b}; {found.elements:,} of its {found.size:,} elements and "
            f"{found.blobs} of {found.compared} {what} differ",
            "default",
        ),
    )


def _values(found: Comparison) -> Table:
    grid = Table.grid(padding=(0, 3))
    grid.add_row(*(Text(t, style="dim") for t in ("first difference", "iteration", "A", "B")))
    for value in found.values:
        grid.add_row(Text(value.name), str(value.iteration), *_apart(value.a, value.b))
    return grid


def _apart(a: float, b: float) -> tuple[str, str]:
    """Format two numbers with the fewest digits that show their difference."""
    for digits in (4, 6, 9, 12):
        if f"{a:.{digits}g}" != f"{b:.{digits}g}":
            return f"{a:.{digits}g}", f"{b:.{digits}g}"
    return repr(a), repr(b)


# -- settings --------------------------------------------------------------------------------------------------------


def _show_settings(found: Comparison, console: Console) -> None:
    if not found.settings:
        console.print("Settings, build and data are the same.")
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("setting that differs", "A", "B"):
        grid.add_column(column, overflow="fold")
    for setting in found.settings[:_MOST_SETTINGS]:
        grid.add_row(Text(setting.name), *(Text("–" if v is None else v) for v in (setting.a, setting.b)))
    console.print(grid)
    more = len(found.settings) - _MOST_SETTINGS
    if more > 0:
        console.print(f"and {more} more")
