"""A census of the workers of a cluster: which of them reproduce the recorded bits."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.cluster.connection import Node
from harness.experiments.control import Compared
from harness.schemas.arm_task import Ready


@dataclass
class Census:
    """What the controls of slots have shown, by worker.

    Attributes:
        exact, inexact: the names of workers by address; a worker of several slots is exact if all are.
        ready: what an exact worker said when it had its checkpoint; while there is none, what another one said.
    """

    exact: dict[str, str] = field(default_factory=dict)
    inexact: dict[str, str] = field(default_factory=dict)
    ready: Ready | None = None
    _checked: bool = False  # the run has recorded what controls are compared with
    _told: str = ""

    def judge(self, node: Node, compared: Compared, ready: Ready) -> str:
        """Take a control. Returns why the worker is not exact; empty if it is."""
        exact = compared.identical and compared.iterations > 1
        self._checked |= exact or compared.first_difference is not None
        if self.ready is None or (exact and not self.exact):
            self.ready = ready
        if exact and node.address not in self.inexact:
            self.exact[node.address] = node.name
        else:
            self.exact.pop(node.address, None)
            self.inexact[node.address] = node.name
        if exact:
            return ""
        if compared.first_difference is None:
            return f"{node.name} cannot be checked: the run has not recorded enough iterations"
        return f"{node.name} has other bits than the recording from iteration {compared.first_difference:,} on"

    def forget(self, node: Node) -> None:
        """Leave out a worker that is lost, or cannot be used."""
        self.exact.pop(node.address, None)
        self.inexact.pop(node.address, None)

    def news(self) -> str:
        """Return what the census shows; empty if that was said already."""
        if self._checked or not self.inexact:
            sentence = _sentence(sorted(self.exact.values()), sorted(self.inexact.values()))
        else:
            sentence = "No worker can be checked: the run has not recorded enough iterations"
        if sentence == self._told:
            return ""
        self._told = sentence
        return sentence


def _sentence(exact: list[str], inexact: list[str]) -> str:
    total = len(exact) + len(inexact)
    plural = "s" if total != 1 else ""
    verb = "reproduces" if len(exact) == 1 else "reproduce"
    text = f"{len(exact)} of {total} worker{plural} {verb} the recorded bits"
    if not inexact:
        return text
    names = ", ".join(inexact[:-1]) + (" and " if inexact[:-1] else "") + inexact[-1]
    does, its = ("does", "its") if len(inexact) == 1 else ("do", "their")
    return f"{text}; {names} {does} not, {its} arms count as additional seeds"
