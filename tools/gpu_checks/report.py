"""The report, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from tools.gpu_checks.checks import Check
from tools.gpu_checks.machine import Facts
from tools.gpu_checks.results import WELL, Result, Status

_FENCE = "~~~"  # programs print backquotes


@dataclass(frozen=True)
class Report:
    """All that a report says: `results` has those checks of `checks` that are over; `ended` says why no more follow."""

    title: str
    began: str
    command: str
    facts: Facts
    checks: Sequence[Check]
    results: Mapping[str, Result]
    ended: str | None

    @property
    def failures(self) -> list[Check]:
        return [check for check in self.checks if self._is(check, "failed")]

    @property
    def complete(self) -> bool:
        """Every check is over."""
        return all(check.name in self.results for check in self.checks)

    @property
    def all_well(self) -> bool:
        """Every check is over, and none was in vain."""
        return self.complete and all(result.status in WELL for result in self.results.values())

    def _is(self, check: Check, status: Status) -> bool:
        return check.name in self.results and self.results[check.name].status == status


def markdown(report: Report) -> str:
    """Render a report."""
    parts = [
        f"# {report.title}",
        f"{_verdict(report)}\n\nMade by `{report.command}`, begun {report.began}.",
        _table(("", ""), report.facts),
        "## Checks",
        _table(("check", "result", "what was found", "time"), [_row(report, check) for check in report.checks]),
    ]
    ratios = [result.ratio for result in report.results.values() if result.ratio is not None]
    if ratios:
        rows = [
            (r.what, f"{r.milliseconds:.2f} ms", f"× {r.value:.3f}", f"{r.low:.3f} to {r.high:.3f}", r.detail)
            for r in ratios
        ]
        parts += [
            "## Speed",
            "The time of a training under the harness, as a multiple of that in plain pycaffe: the median of pairs of "
            "neighbouring turns, and the interval that encloses the true median with 95 %.",
            _table(("training", "an iteration", "ratio", "95 %", "how measured"), rows),
        ]
    if report.failures:
        parts.append("## Output of failed checks")
        for check in report.failures:
            output = report.results[check.name].output.replace(_FENCE, "").strip() or "(nothing was printed)"
            parts.append(f"### {check.name}\n\n{_FENCE}text\n{output}\n{_FENCE}")
    return "\n\n".join(parts) + "\n"


def _verdict(report: Report) -> str:
    counts = {status: sum(result.status == status for result in report.results.values()) for status in get_args(Status)}
    left = len(report.checks) - len(report.results)
    said = [f"{count} {status}" for status, count in counts.items() if count]
    if left:
        said.append(f"{left} not begun")
    ended = report.ended or ("" if report.complete else "The checks are still running, or were killed.")
    return f"**{', '.join(said)}.** {ended}".rstrip()


def _row(report: Report, check: Check) -> tuple[str, str, str, str]:
    result = report.results.get(check.name)
    if result is None:
        return f"`{check.name}`: {check.question}", "not begun", "", ""
    found = result.found
    if result.ratio is not None:
        found = f"{result.ratio.what}: × {result.ratio.value:.3f}."
    status = f"**{result.status}**" if result.status in ("failed", "undecided") else result.status
    return f"`{check.name}`: {check.question}", status, found, f"{result.seconds:.1f} s"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
