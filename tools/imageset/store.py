"""The work in progress, OUT.part: LMDBs that grow, and how far they are.

What has become of the images, and the sums over them, is kept in an LMDB of its own, `state`, which is written after
every batch of records. After an interruption, records that it does not know of are removed, and the work goes on.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from harness.recording.errors import BadInput
from harness.recording.files import write_whole
from imageset import Stopped
from imageset.mean import Sums
from imageset.record import Converted, Form, Problem, pixels_of, printable

SETS = ("train", "test")
OUTPUTS = (
    "train.txt", "test.txt", "classes.txt", "mean.binaryproto", "report.txt", "report.json", "test_lmdb", "train_lmdb",
)  # fmt: skip
_STATE_MAP = 1 << 36  # address space, not disk: some 100 bytes an image are needed
_DATA_MAP = 1 << 30  # to begin with


@dataclass
class Tally:
    """How far a set is: lines of its list, records made of them; of these the images of each label."""

    lines: int = 0
    records: int = 0
    labels: dict[str, int] = field(default_factory=dict)  # keys as in JSON
    smallest: tuple[int, int] | None = None  # height, width
    largest: tuple[int, int] | None = None
    first: tuple[str, list[int]] | None = None  # path and shape of the first

    def __post_init__(self) -> None:  # JSON has lists alone
        self.smallest = self.smallest and (self.smallest[0], self.smallest[1])
        self.largest = self.largest and (self.largest[0], self.largest[1])

    def count(self, image: Converted) -> None:
        self.records += 1
        self.labels[str(image.label)] = self.labels.get(str(image.label), 0) + 1
        size = image.shape[1], image.shape[2]
        self.smallest = (min(self.smallest[0], size[0]), min(self.smallest[1], size[1])) if self.smallest else size
        self.largest = (max(self.largest[0], size[0]), max(self.largest[1], size[1])) if self.largest else size
        self.first = self.first or (printable(image.path), list(image.shape))


class Store:
    """OUT.part; a context manager. One process at a time has it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.part = out.with_name(f"{out.name}.part")
        self.tallies = {name: Tally() for name in SETS}
        self.sums = Sums()
        self._stack = ExitStack()
        self._state: Any = None
        self._data: dict[str, Any] = {}

    def __enter__(self) -> Store:
        self.part.mkdir(parents=True, exist_ok=True)
        lock = self._stack.enter_context((self.part / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(
                "another make_lmdb is at work there", file=self.part, remedy="Wait for it, or end it"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        if self.part.exists() and [path.name for path in self.part.iterdir()] == ["lock"]:
            shutil.rmtree(self.part)
        self._stack.close()

    @property
    def begun_as(self) -> dict[str, Any] | None:
        """The recipe that the work was begun with; None: there is none.

        Raises:
            BadInput: the folder holds something else.
        """
        try:
            recipe: dict[str, Any] = json.loads((self.part / "recipe.json").read_text())
        except FileNotFoundError:
            if {path.name for path in self.part.iterdir()} - {"lock", *OUTPUTS}:
                raise BadInput(
                    "not of make_lmdb, which wants to work there", file=self.part, remedy="Move it away"
                ) from None
            return None
        except ValueError:
            return {}
        return recipe

    @property
    def complete(self) -> bool:
        """All is made, and at most some of it moved to where it belongs."""
        return (self.part / "complete").exists()

    @property
    def begun(self) -> bool:
        return (self.part / "state").exists() or self.complete

    def clear(self, keep: Sequence[str] = ()) -> None:
        """Remove all of the work but what is named."""
        self.close()
        last = ("complete", "recipe.json")  # what is left by an interruption says what it is
        for path in sorted(self.part.iterdir(), key=lambda path: (path.name in last, path.name)):
            if path.name not in ("lock", *keep):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def begin(self, recipe: dict[str, Any], lists: dict[str, Iterator[bytes]], problems: Sequence[Problem]) -> None:
        """Start anew: the lists are written, and the problems that are known beforehand."""
        self.clear()
        write_whole(self.part / "recipe.json", json.dumps(recipe, indent=1) + "\n")
        for name, lines in lists.items():
            with (self.part / f"{name}.txt").open("wb") as file:
                file.writelines(lines)
        self._open_state()
        with self._state.begin(write=True) as transaction:
            self._put_problems(transaction, problems)
            self._put_tallies(transaction)

    def resume(self) -> bool:
        """Go on with what is there; False: it was interrupted before there was anything."""
        self._open_state()
        with self._state.begin() as transaction:
            if not (tallies := transaction.get(b"tallies")):
                return False
            for name, tally in json.loads(tallies).items():
                self.tallies[name] = Tally(**tally)
            if sums := transaction.get(b"sums"):
                self.sums = Sums.from_bytes(sums)
        return True

    def _open_state(self) -> None:
        self._state = lmdb.open(str(self.part / "state"), map_size=_STATE_MAP, max_dbs=2)
        self._seen = self._state.open_db(b"seen")
        self._problems = self._state.open_db(b"problems", integerkey=True)

    def open_set(self, name: str) -> None:
        """Open the LMDB of a set, without records that were written and not noted down.

        Raises:
            BadInput: it does not hold the records that were noted down.
        """
        path, tally = self.part / f"{name}_lmdb", self.tallies[name]
        size = (path / "data.mdb").stat().st_size if path.exists() else 0
        data = self._data[name] = lmdb.open(str(path), map_size=max(_DATA_MAP, 2 * size))
        with data.begin(write=True) as transaction, transaction.cursor() as cursor:
            there = cursor.set_range(b"%08d_" % tally.lines)
            while there:
                there = cursor.delete()
        if data.stat()["entries"] != tally.records:
            raise BadInput(
                f"{data.stat()['entries']:,} records, where {tally.records:,} were written", file=path,
                remedy=f"Remove {self.part}, to start anew",
            )  # fmt: skip

    def add(self, name: str, images: Sequence[Converted], sums: Sums, form: Form, keep_duplicates: bool) -> None:
        """Put a batch of images, which follow those before, into the set `name`.

        Raises:
            Stopped: the disk is full, or broken.
        """
        tally = self.tallies[name]
        done = tally.lines
        try:
            with self._state.begin(write=True) as transaction:
                records = []
                for image in images:
                    problems = list(image.problems)
                    if image.record is not None and (copy := self._seen_before(transaction, image)):
                        problems.append(_copied(image, *copy, keep_duplicates))
                    if image.record is not None and all(problem.kept for problem in problems):
                        records.append((image.key, image.record))
                        tally.count(image)
                    elif image.record is not None and name == "train":
                        sums.add(pixels_of(image.record, form), -1)
                    self._put_problems(transaction, problems)
                if name == "train":
                    self.sums.merge(sums)
                    transaction.put(b"sums", self.sums.to_bytes())
                tally.lines = images[-1].number + 1
                self._put_records(name, records)
                self._put_tallies(transaction)
        except (lmdb.Error, OSError) as error:
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
            raise Stopped(
                f"{self.part}: {'the disk is full' if full else error}. {done:,} images of {name} are done: make room, "
                "and run again to go on from there"
            ) from None

    def _put_records(self, name: str, records: Sequence[tuple[bytes, bytes]]) -> None:
        data = self._data[name]
        while True:
            try:
                with data.begin(write=True) as transaction, transaction.cursor() as cursor:
                    cursor.putmulti(records, append=True)
                return
            except lmdb.MapFullError:
                data.set_mapsize(2 * data.info()["map_size"])

    def _seen_before(self, transaction: Any, image: Converted) -> tuple[int, str] | None:
        """Label and path of the first image with the same content; this one is noted down if there is none."""
        value = b"%d %b" % (image.label, image.path)
        if transaction.put(image.digest, value, overwrite=False, db=self._seen):
            return None
        label, _, path = bytes(transaction.get(image.digest, db=self._seen)).partition(b" ")
        return int(label), printable(path)

    def _put_problems(self, transaction: Any, problems: Sequence[Problem]) -> None:
        if problems:
            first = transaction.stat(self._problems)["entries"]
            for number, problem in enumerate(problems, first):
                text = json.dumps(asdict(problem)).encode()
                transaction.put(number.to_bytes(8, "little"), text, db=self._problems)

    def _put_tallies(self, transaction: Any) -> None:
        transaction.put(b"tallies", json.dumps({name: asdict(tally) for name, tally in self.tallies.items()}).encode())

    @property
    def sizes_agree(self) -> bool:
        """All images of all sets have the same height and width."""
        sizes = [size for tally in self.tallies.values() if tally.smallest for size in (tally.smallest, tally.largest)]
        return all(size == sizes[0] for size in sizes)

    def problems(self) -> Iterator[Problem]:
        """All of them, in the order in which they were found."""
        with self._state.begin() as transaction:
            for _, text in transaction.cursor(db=self._problems):
                yield Problem(**json.loads(bytes(text)))

    def close(self) -> None:
        for environment in (*self._data.values(), self._state):
            if environment is not None:
                environment.close()
        self._data, self._state = {}, None

    def close_sets(self) -> None:
        for environment in self._data.values():
            environment.close()
        self._data = {}

    def finish(self) -> None:
        """Move all that was made to where it belongs. Interrupted, it goes on when it is called again."""
        self.close()
        (self.part / "complete").touch()
        self.out.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:
            made, place = self.part / name, self.out / name
            if made.exists():
                if place.is_dir():
                    old = self.part / f"{name}.old"
                    shutil.rmtree(old, ignore_errors=True)
                    place.rename(old)
                os.replace(made, place)
        self.clear()
        shutil.rmtree(self.part)


def _copied(image: Converted, label: int, path: str, keep: bool) -> Problem:
    mine = printable(image.path)
    if label != image.label:
        return Problem(
            mine, image.label, "mislabelled?", f"the same image as {path}, which has label {label}", kept=True
        )
    what = "listed twice" if mine == path else f"the same image as {path}"
    return Problem(mine, image.label, "duplicate", what, kept=keep)
