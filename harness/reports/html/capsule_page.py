"""The page in a capsule, for somebody who finds the file: what it is, what broke, and how to run it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reports.html.plot import Plot
from harness.reports.html.templating import render


@dataclass(frozen=True)
class Member:
    """A file or a directory in the capsule: its name, what it is, and its bytes once it is unpacked."""

    name: str
    what: str
    size: int


@dataclass(frozen=True)
class Level:
    """The loss of a head before the break (None: nothing was recorded then) and after it (None: not finite).

    `chance` is its chance level; None without classes.
    """

    name: str
    before: float | None
    after: float | None
    chance: float | None


@dataclass(frozen=True)
class Records:
    """The data set of one layer of the net.

    Attributes:
        layer: the layer, and its type.
        records: their number in the capsule.
        of: the number in the data set that the run read; None where it is not known.
    """

    layer: str
    records: int
    of: int | None = None


@dataclass(frozen=True)
class Command:
    """A command to type, and what it does."""

    line: str
    purpose: str


@dataclass(frozen=True)
class CapsulePage:
    """What the page shows.

    Attributes:
        name: the name of the capsule's file.
        headline: what was seen, in one sentence.
        details: further sentences about it.
        breaks: whether something broke.
        first, until: the iterations in the capsule, half open.
        onset: the first iteration whose update does the damage; None without one.
        shrunk: what `shrink` changed, a sentence each; empty for a capsule as it was packed.
        anonymous: names, paths and keys were removed.
        blank: the number of records whose pixels were blanked.
        versions: names and values.
        python_layers: the Python layers of the net, which run code that is not in the capsule.
    """

    name: str
    headline: str
    details: tuple[str, ...]
    breaks: bool
    net: str
    solver_type: str
    first: int
    until: int
    onset: int | None
    curve: Plot | None
    levels: tuple[Level, ...]
    commands: tuple[Command, ...]
    members: tuple[Member, ...]
    data: tuple[Records, ...]
    shrunk: tuple[str, ...]
    anonymous: bool
    blank: int
    versions: tuple[tuple[str, str], ...]
    python_layers: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all members once they are unpacked."""
        return sum(member.size for member in self.members)

    @property
    def records(self) -> int:
        """The number of records of all data sets."""
        return sum(data.records for data in self.data)


def capsule_page(page: CapsulePage) -> str:
    """Render the page, which opens offline and runs no scripts."""
    return render("capsule.html", page=page)
