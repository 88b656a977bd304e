"""Contents of capsule.json, the table of contents of a capsule: what it holds, and what a reader should know first.

What run.json says (solver, net, versions, data) is not repeated here.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from harness.schemas.run_info import Iteration

CAPSULE_FORMAT = "caffe-harness capsule"
CAPSULE_VERSION = 1

# How the bytes of a member are stored in the zip
Encoding = Literal["stored", "deflate", "zstd", "shuffle4+zstd"]
SUFFIXES: dict[str, str] = {"stored": "", "deflate": "", "zstd": ".zst", "shuffle4+zstd": ".shuffle4.zst"}

PAGE = "index.html"  # for a browser; no part of the run directory
RUN_INFO, RECORDING, EXPLAIN = "run.json", "recording.h5", "explain.json"
SNAPSHOTS, DATA = "snapshots", "data"  # directories

Text = Annotated[str, msgspec.Meta(max_length=4096)]
Name = Annotated[str, msgspec.Meta(max_length=1024)]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
MAX_MEMBERS = 200_000

LOCK = "lock.mdb"  # of an LMDB: for the processes of one machine, which make their own
_PART = r"(?!(?:\.{1,2}|lock\.mdb)(?:/|$))[^/\\\x00-\x1f\x7f\ud800-\udfff]{1,255}"
_NAME = re.compile(
    rf"{re.escape(PAGE)}|{re.escape(RUN_INFO)}|{re.escape(RECORDING)}|{re.escape(EXPLAIN)}"
    rf"|{SNAPSHOTS}/(?!\.){_PART}|{DATA}(?:/{_PART}){{1,8}}"
)


class Member(msgspec.Struct, frozen=True):
    """One file of a capsule.

    Attributes:
        name: its path in the run directory.
        encoding: how its bytes are stored.
        size: bytes once it is unpacked.
        sha256: of these bytes.
    """

    name: Name
    encoding: Encoding
    size: Size
    sha256: Sha256

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"no member of a capsule can be called {self.name!r}")

    @property
    def entry(self) -> str:
        """Its name in the zip."""
        return self.name + SUFFIXES[self.encoding]


class HeadLevels(msgspec.Struct, frozen=True):
    """The level of one head before and after a break: medians of its loss, None where that is not finite.

    `weight` is its weight in the total, `classes` its number of classes, or None.
    """

    name: Name
    weight: float
    classes: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None
    before: float | None
    after: float | None


class Break(msgspec.Struct, frozen=True):
    """What broke in the recorded run: its onset, and the levels of the weighted loss and of each head.

    `reason` is the sentence of evidence for the onset. A level is a median; None where that is not finite.
    """

    onset: Iteration
    reason: Text
    before: float | None
    after: float | None
    heads: Annotated[tuple[HeadLevels, ...], msgspec.Meta(max_length=1000)] = ()


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """capsule.json.

    Attributes:
        title: of the training, as the user knows it.
        harness: version of the harness that packed it.
        first, until: the iterations that it repeats, `first` … `until` - 1; its snapshot is that of `first`.
        broke: what broke; None if the recording shows no break.
        parameters: numbers in all learnable param blobs of the train net.
        processor: the model of the machine's processor; None if it is not known.
        anonymous: paths, host and names were removed.
        blank: the number of records whose pixels were replaced by their mean.
        shrunk: how the capsule differs from the one that it was shrunk from, a sentence each; empty for one as packed.
        members: all files but this one, in the order in which they are stored.
    """

    format: Literal["caffe-harness capsule"] = "caffe-harness capsule"
    format_version: Annotated[int, msgspec.Meta(ge=1)] = CAPSULE_VERSION
    title: Text
    harness: Name
    first: Iteration
    until: Iteration
    broke: Break | None = None
    parameters: Size
    processor: Name | None = None
    anonymous: bool = False
    blank: Size = 0
    shrunk: Annotated[tuple[Text, ...], msgspec.Meta(max_length=100)] = ()
    members: Annotated[tuple[Member, ...], msgspec.Meta(max_length=MAX_MEMBERS)] = ()

    def __post_init__(self) -> None:
        if self.until <= self.first:
            raise ValueError(f"until {self.until} is not after first {self.first}")

    @property
    def size(self) -> int:
        """Bytes of all members once they are unpacked."""
        return sum(member.size for member in self.members)

    def member(self, name: str) -> Member | None:
        """Return the member called `name`; None if there is none."""
        return next((member for member in self.members if member.name == name), None)
