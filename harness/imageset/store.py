"""The work in progress, OUT.part: LMDBs that grow, and how far they are.

What has become of the images, and the sums over them, is kept in an LMDB of its own, `state`, which is written after
every batch of records. After an interruption, records that it does not know of are removed, and the work goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lmdb

from harness.atomic_write import write_whole
from harness.errors import BadInput
from harness.imageset.mean import Sums
from harness.imageset.place import OUTPUTS, PROBE, is_full, not_writable
from harness.imageset.record import Converted, Form, Problem, pixels_of, printable
from harness.imageset.tally import SETS, Tally

_STATE_MAP = 1 << 36  # address space, not disk: some 100 bytes an image are needed
_DATA_MAP = 1 << 30  # to begin with
_LOCK = 1 << 14  # bytes: more than LMDB's lock file has with the usual 126 readers


class Store:
    """OUT.part, beside `out`, which is resolved; a context manager. One process at a time has it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.part = out.with_name(f"{out.name}.part")
        self.tallies = {name: Tally() for name in SETS}
        self.sums = Sums()
        self.done = 0  # lines of both lists, of which all is noted down
        self._stack = ExitStack()
        self._state: Any = None
        self._data: dict[str, Any] = {}

    def __enter__(self) -> Store:
        with ExitStack() as stack:
            stack.callback(_remove_empty, [path for path in self.part.parents if not path.exists()])
            try:
                self.part.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.part / "lock").open("w"))
            except OSError as error:
                if is_full(error, self.part):
                    raise
                raise not_writable(self.part, error) from None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(
                    "another make_lmdb is at work there", file=self.part, remedy="Wait for it, or end it"
                ) from None
            stack.callback(self._leave_nothing)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _leave_nothing(self) -> None:
        self.close()
        if self.part.exists() and [path.name for path in self.part.iterdir()] == ["lock"]:
            shutil.rmtree(self.part)

    @property
    def begun_as(self) -> dict[str, Any] | None:
        """The recipe that the work was begun with; None: there is none.

        Raises:
            BadInput: the folder holds something else.
        """
        try:
            recipe: dict[str, Any] = json.loads((self.part / "recipe.json").read_text())
        except FileNotFoundError:
            names = {path.name for path in self.part.iterdir() if not path.name.startswith(".recipe.json.")}
            if names - {"lock", PROBE, *OUTPUTS}:
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

    @property
    def refused(self) -> bool:
        """All images are done, and --strict would not have them."""
        return (self.part / "refused").exists()

    def refuse(self) -> None:
        (self.part / "refused").touch()

    def clear(self, keep: Sequence[str] = ()) -> None:
        """Remove all of the work but what is named."""
        self.close()
        last = ("complete", "recipe.json")  # what is left by an interruption says what it is
        for path in sorted(self.part.iterdir(), key=lambda path: (path.name in last, path.name)):
            if path.name not in ("lock", *keep):
                _remove(path)

    def begin(self, recipe: dict[str, Any], lists: dict[str, Iterator[bytes]], problems: Sequence[Problem]) -> None:
        """Start anew: the lists are written, and the problems that are known beforehand."""
        self.clear()
        write_whole(self.part / "recipe.json", json.dumps(recipe, indent=1) + "\n")
        for name, lines in lists.items():
            with (self.part / f"{name}.txt").open("wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        new = self.part / "new state"
        self._open_state(new)
        with self._state.begin(write=True) as transaction:
            self._put_problems(transaction, problems)
            self._put_tallies(transaction)
        os.replace(new, self.part / "state")  # whole, or there is none

    def resume(self) -> None:
        """Go on with what is there."""
        self._open_state(self.part / "state")
        with self._state.begin() as transaction:
            for name, tally in json.loads(transaction.get(b"tallies")).items():
                self.tallies[name] = Tally(**tally)
            if sums := transaction.get(b"sums"):
                self.sums = Sums.from_bytes(sums)
        self.done = sum(tally.lines for tally in self.tallies.values())

    def _open_state(self, path: Path) -> None:
        self._state = _opened(path, _STATE_MAP, max_dbs=2)
        self._seen = self._state.open_db(b"seen")
        self._problems = self._state.open_db(b"problems", integerkey=True)

    def open_set(self, name: str) -> None:
        """Open the LMDB of a set, without records that were written and not noted down.

        Raises:
            BadInput: it does not hold the records that were noted down.
        """
        path, tally = self.part / f"{name}_lmdb", self.tallies[name]
        if not tally.records and path.exists():  # nothing to lose; and a full disk may have left half a page
            shutil.rmtree(path)
        size = (path / "data.mdb").stat().st_size if path.exists() else 0
        data = self._data[name] = _opened(path, max(_DATA_MAP, 2 * size))
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
        """Put a batch of images, which follow those before, into the set `name`."""
        tally = self.tallies[name]
        with self._state.begin(write=True) as transaction:
            records = []
            for image in images:
                problems = list(image.problems)
                if image.record is not None:
                    if copy := self._seen_before(transaction, image):
                        problems.append(_copied(image, *copy, keep_duplicates))
                    if all(problem.kept for problem in problems):
                        records.append((image.key, image.record))
                        tally.count(image)
                    elif name == "train":
                        sums.add(pixels_of(image.record, form), -1)
                self._put_problems(transaction, problems)
            if name == "train":
                self.sums.merge(sums)
                transaction.put(b"sums", self.sums.to_bytes())
            tally.lines = images[-1].number + 1
            self._put_records(name, records)
            self._put_tallies(transaction)
        self.done += len(images)

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
        """Label and path of the first image with the same content: in the same class, or else in any. This one is noted
        down where it is the first of its class."""
        value = b"%d %b" % (image.label, image.path)
        if transaction.put(image.digest, value, overwrite=False, db=self._seen):
            return None
        label, _, path = bytes(transaction.get(image.digest, db=self._seen)).partition(b" ")
        if int(label) != image.label:
            of_class = image.digest + b"%d" % image.label
            if not transaction.put(of_class, image.path, overwrite=False, db=self._seen):
                return image.label, printable(bytes(transaction.get(of_class, db=self._seen)))
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
        """Move all that was made to where it belongs, and take away what an earlier call made there and this one did
        not. Interrupted, it goes on when it is called again."""
        self.close()
        complete = self.part / "complete"
        if not complete.exists():
            write_whole(complete, json.dumps([name for name in OUTPUTS if (self.part / name).exists()]))
        made_now = json.loads(complete.read_text())
        self.out.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:
            made, place, old = self.part / name, self.out / name, self.part / f"{name}.old"
            if name in made_now and not made.exists():
                continue  # it is there already
            if os.path.lexists(place):
                _remove(old)
                os.replace(place, old)
            if made.exists():
                os.replace(made, place)
        self.clear()
        shutil.rmtree(self.part)


def _opened(path: Path, map_size: int, **options: Any) -> Any:
    """An LMDB. Its lock file, which LMDB writes through a mapping, has its blocks beforehand: where the disk is full,
    that is an error here, and there it would be SIGBUS."""
    path.mkdir(exist_ok=True)
    with (path / "lock.mdb").open("ab") as lock:
        os.posix_fallocate(lock.fileno(), 0, _LOCK)
    return lmdb.open(str(path), map_size=map_size, **options)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Those that nothing was put into; the innermost come first."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _copied(image: Converted, label: int, path: str, keep: bool) -> Problem:
    mine = printable(image.path)
    if label != image.label:
        return Problem(
            mine, image.label, "mislabelled?", f"the same image as {path}, which has label {label}", kept=True
        )
    what = "listed twice" if mine == path else f"the same image as {path}"
    return Problem(mine, image.label, "duplicate", what, kept=keep)
