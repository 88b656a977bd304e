"""The directive `alarm-rules`: each rule of thresholds.toml as a section with its comments and limits as a table."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

THRESHOLDS = Path(__file__).parents[2] / "harness/diagnosis/thresholds.toml"
_COMMON = re.compile(r"# (\w+) {2,}(.*)")
_LIMIT = re.compile(r"(\w+) = ([^#]+?)\s*(?:# ?(.*))?")


@dataclass
class Limit:
    """One `name = value  # meaning` line."""

    name: str
    value: str
    meaning: str


@dataclass
class Rule:
    """One table of the file: the comment below its header, and its limits in their order."""

    name: str
    text: list[str] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)


def read_rules(text: str) -> list[Rule]:
    """Read the tables of a thresholds file with their comments.

    Raises:
        ValueError: the file holds a table or a limit that this reading missed.
    """
    rules: list[Rule] = []
    common: dict[str, str] = {}  # the limits that the comment at the top of the file explains for all rules
    for line in text.splitlines():
        if line.startswith("["):
            rules.append(Rule(line.strip("[] ")))
        elif not rules:
            if match := _COMMON.fullmatch(line):
                common[match[1]] = match[2]
            elif common and line.startswith("#   "):
                common[list(common)[-1]] += f" {line.removeprefix('#').strip()}"
        elif match := _LIMIT.fullmatch(line):
            rules[-1].limits.append(Limit(match[1], match[2], match[3] or ""))
        elif line.lstrip().startswith("#"):
            comment = line.lstrip().removeprefix("#").strip()
            if rules[-1].limits:  # a comment that goes on below its limit
                rules[-1].limits[-1].meaning += f" {comment}"
            else:
                rules[-1].text.append(comment)
    for limit in (limit for rule in rules for limit in rule.limits):
        limit.meaning = limit.meaning or common.get(limit.name, "")
    found = {rule.name: [limit.name for limit in rule.limits] for rule in rules}
    if found != {name: list(table) for name, table in tomllib.loads(text).items()}:
        raise ValueError(f"a table or a limit was not understood; found {found}")
    return rules


def _markdown(rules: list[Rule]) -> Iterator[str]:
    for rule in rules:
        switches = {limit.name: limit.value == "true" for limit in rule.limits[:2]}
        stops = "Divergence: stops a run with `--on-alarm stop`."
        if rule.name == "non_finite":
            stops = "Divergence: stops a run, but with `--on-alarm continue`."
        kind = stops if switches["stops"] else "Reported only."
        yield from ("", f"### `{rule.name}`", "", _escaped(" ".join(rule.text)), "")
        yield f"*{kind}{'' if switches['enabled'] else ' Off by default.'}*"
        if rule.limits[2:]:
            yield from ("", "| limit | default | meaning |", "|---|---|---|")
        for limit in rule.limits[2:]:
            yield f"| `{limit.name}` | `{limit.value}` | {_escaped(limit.meaning)} |"


def _escaped(text: str) -> str:
    """Escape what Markdown would take for markup, outside code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_|<>\\])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


class AlarmRules(SphinxDirective):
    """Render all rules."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(THRESHOLDS)
        lines = StringList(list(_markdown(read_rules(THRESHOLDS.read_text()))), source=str(THRESHOLDS))
        holder = nodes.Element()
        self.state.nested_parse(lines, 0, holder, match_titles=True)
        children: list[nodes.Node] = holder.children
        return children


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("alarm-rules", AlarmRules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
