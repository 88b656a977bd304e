"""The work in progress, OUT.part: lists, growing LMDBs, and how far they are.

After an interruption, records that the state does not know of are removed, and the work continues.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import lmdb

from harness.atomic_write import write_whole
from harness.caffe_files.formatting import printable
from harness.errors import BadInput
from harness.imageset.counts import SETS, SetCounts
from harness.imageset.growing_lmdb import append_records, open_lmdb
from harness.imageset.image_format import ImageFormat
from harness.imageset.mean import Sums
from harness.imageset.output_directory import OUTPUTS, PROBE, is_disk_full, not_writable_error
from harness.imageset.problems import Problem
from harness.imageset.record import ConvertedImage, pixels_of
from harness.imageset.work_state import WorkState

_INITIAL_MAP_SIZE = 1 << 30


class WorkDirectory:
    """OUT.part, next to `out`, which is resolved; a context manager. One process at a time can open it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.part = out.with_name(f"{out.name}.part")
        self.counts = {name: SetCounts() for name in SETS}
        self.sums = Sums()
        self.done = 0  # lines of both lists whose results are saved
        self._stack = ExitStack()
        self._state: WorkState | None = None
        self._data: dict[str, lmdb.Environment] = {}

    def __enter__(self) -> WorkDirectory:
        with ExitStack() as stack:
            stack.callback(_remove_empty, [path for path in self.part.parents if not path.exists()])
            try:
                self.part.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.part / "lock").open("w"))
            except OSError as error:
                if is_disk_full(error, self.part):
                    raise
                raise not_writable_error(self.part, error) from None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(
                    "another make-lmdb is running in this folder", file=self.part, remedy="Wait for it, or stop it"
                ) from None
            stack.callback(self._remove_if_unused)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _remove_if_unused(self) -> None:
        self.close()
        if self.part.exists() and [path.name for path in self.part.iterdir()] == ["lock"]:
            shutil.rmtree(self.part)

    def read_recipe(self) -> dict[str, object] | None:
        """Read the recipe of the work in progress; None if there is none.

        Raises:
            BadInput: the folder holds something else.
        """
        try:
            recipe: dict[str, object] = json.loads((self.part / "recipe.json").read_text())
        except FileNotFoundError:
            names = {path.name for path in self.part.iterdir() if not path.name.startswith(".recipe.json.")}
            if names - {"lock", PROBE, *OUTPUTS}:
                raise BadInput(
                    "needed for the work in progress, but holds other files", file=self.part, remedy="Move it away"
                ) from None
            return None
        except ValueError:
            return {}
        return recipe

    @property
    def complete(self) -> bool:
        """True if everything is made; some of it may already be moved to OUT."""
        return (self.part / "complete").exists()

    @property
    def begun(self) -> bool:
        return (self.part / "state").exists() or self.complete

    @property
    def refused(self) -> bool:
        """True if all images are done, and --strict refused the result."""
        return (self.part / "refused").exists()

    def refuse(self) -> None:
        (self.part / "refused").touch()

    def clear(self, keep: Sequence[str] = ()) -> None:
        """Remove all of the work except the files named."""
        self.close()
        last = ("complete", "recipe.json")  # after an interruption, they identify what is left
        for path in sorted(self.part.iterdir(), key=lambda path: (path.name in last, path.name)):
            if path.name not in ("lock", *keep):
                _remove(path)

    def begin(self, recipe: dict[str, object], lists: dict[str, Iterator[bytes]], problems: Sequence[Problem]) -> None:
        """Start over: write the lists, and the problems that are already known."""
        self.clear()
        write_whole(self.part / "recipe.json", json.dumps(recipe, indent=1) + "\n")
        for name, lines in lists.items():
            with (self.part / f"{name}.txt").open("wb") as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        new = self.part / "new state"
        self._state = WorkState(new)
        with self._state.write() as transaction:
            self._state.put_problems(transaction, problems)
            self._state.put_counts(transaction, self.counts)
        os.replace(new, self.part / "state")  # atomically: an incomplete state counts as none

    def resume(self) -> None:
        """Continue the work in progress."""
        self._state = WorkState(self.part / "state")
        self.counts, self.sums = self._state.read()
        self.done = sum(counts.lines for counts in self.counts.values())

    def open_set(self, name: str) -> None:
        """Open the LMDB of a set, and remove records that the state does not know of.

        Raises:
            BadInput: it does not hold the records that the state knows of.
        """
        path, counts = self.part / f"{name}_lmdb", self.counts[name]
        if not counts.records and path.exists():  # nothing to lose; and a full disk may have left half a page
            shutil.rmtree(path)
        size = (path / "data.mdb").stat().st_size if path.exists() else 0
        data = self._data[name] = open_lmdb(path, max(_INITIAL_MAP_SIZE, 2 * size))
        with data.begin(write=True) as transaction, transaction.cursor() as cursor:
            unknown = cursor.set_range(b"%08d_" % counts.lines)
            while unknown:
                unknown = cursor.delete()
        if data.stat()["entries"] != counts.records:
            raise BadInput(
                f"{data.stat()['entries']:,} records, but {counts.records:,} were written", file=path,
                remedy=f"Remove {self.part} to start over",
            )  # fmt: skip

    def add(
        self,
        name: str,
        images: Sequence[ConvertedImage],
        sums: Sums,
        image_format: ImageFormat,
        keep_duplicates: bool,
    ) -> None:
        """Add the next batch of images, with the sums over them, to the set `name`."""
        counts, state = self.counts[name], self.state
        with state.write() as transaction:
            records = []
            for image in images:
                problems = list(image.problems)
                if image.record is not None:
                    if copy := state.find_copy(transaction, image):
                        problems.append(_copy_problem(image, *copy, keep_duplicates))
                    if all(problem.kept for problem in problems):
                        records.append((image.key, image.record))
                        counts.add(image)
                    elif name == "train":
                        sums.add(pixels_of(image.record, image_format), -1)
                state.put_problems(transaction, problems)
            if name == "train":
                self.sums.merge(sums)
                state.put_sums(transaction, self.sums)
            counts.lines = images[-1].number + 1
            append_records(self._data[name], records)
            state.put_counts(transaction, self.counts)
        self.done += len(images)

    @property
    def state(self) -> WorkState:
        assert self._state is not None
        return self._state

    @property
    def sizes_agree(self) -> bool:
        """True if all images of all sets have the same height and width."""
        sizes = [size for counts in self.counts.values() for size in (counts.smallest, counts.largest) if size]
        return all(size == sizes[0] for size in sizes)

    def close_sets(self) -> None:
        for environment in self._data.values():
            environment.close()
        self._data = {}

    def close(self) -> None:
        self.close_sets()
        if self._state is not None:
            self._state.close()
            self._state = None

    def finish(self) -> None:
        """Move the results to OUT, and remove results of an earlier call that this one did not replace.

        After an interruption, calling it again continues.
        """
        self.close()
        complete = self.part / "complete"
        if not complete.exists():
            write_whole(complete, json.dumps([name for name in OUTPUTS if (self.part / name).exists()]))
        made = json.loads(complete.read_text())
        self.out.mkdir(parents=True, exist_ok=True)
        for name in OUTPUTS:
            source, target, old = self.part / name, self.out / name, self.part / f"{name}.old"
            if name in made and not source.exists():
                continue  # it was moved before an interruption
            if os.path.lexists(target):
                _remove(old)
                os.replace(target, old)
            if source.exists():
                os.replace(source, target)
        self.clear()
        shutil.rmtree(self.part)


def _copy_problem(image: ConvertedImage, label: int, path: str, keep: bool) -> Problem:
    """Describe `image` as a copy of the earlier image `path` with the label `label`."""
    own = printable(image.path)
    if label != image.label:
        why = f"the same image as {path}, which has label {label}"
        return Problem(own, image.label, "mislabelled?", why, kept=True)
    why = "listed twice" if own == path else f"the same image as {path}"
    return Problem(own, image.label, "duplicate", why, kept=keep)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_empty(folders: Sequence[Path]) -> None:
    """Remove the folders that are empty; the innermost come first."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
