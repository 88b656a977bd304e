"""The way from options to LMDBs."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.atomic_write import write_whole
from harness.caffe_files.lmdb_file import open_records, scan_lmdb
from harness.errors import BadInput
from harness.imageset import Stopped
from harness.imageset.listing import of_folder, of_list
from harness.imageset.mean import Sums, mean_file
from harness.imageset.options import Options
from harness.imageset.order import Listed, divided, read_lines, shuffled, sorted_by_class
from harness.imageset.place import check_place, free, is_full, resolved, sized, taken
from harness.imageset.record import Converted, Problem, printable
from harness.imageset.report import Report, Set, remarks_of
from harness.imageset.store import Store
from harness.imageset.tally import SETS, Tally
from harness.imageset.workers import Workers

COMMIT = 1000, 8000  # images between two commits: as many as are done, but no fewer and no more than this…
COMMIT_BYTES = 1 << 27  # …or so many bytes of records…
COMMIT_SECONDS = 10  # …or what takes so long to do again
SAMPLE = 16  # images that are tried beforehand
_PAGE = 4096  # bytes: LMDB's
_FORMAT = 2  # of what is in OUT.part


@dataclass(frozen=True)
class Plan:
    """What is to be made: images of each set, class names by label, what was found while listing."""

    listed: dict[str, int]
    names: dict[int, str]
    problems: tuple[Problem, ...]
    by_class: bool
    recipe: dict[str, Any]


def make(options: Options, console: Console) -> str:
    """Make all that OUT is to hold, going on with what an interrupted call has left; a summary.

    Raises:
        BadInput: there is nothing to be made of what was given, or something is in the way.
        Stopped: a full disk, a worker that was killed.
    """
    store = Store(resolved(options.out))
    try:
        with Workers(options.workers, options.root, options.form) as workers, store:  # they start while this is small
            return _Making(options, store, workers, console).make()
    except (OSError, lmdb.Error) as error:
        full = is_full(error, store.part)
        raise Stopped(
            f"{store.part}: {'the disk is full' if full else error}. {store.done:,} images are done: "
            f"{'make room, and run' if full else 'run'} again to go on from there"
        ) from None


@dataclass
class _Batch:
    """Up to `most` images, one after the other, that are to be committed together."""

    most: int
    images: list[Converted] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)
    size: int = 0
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def after(cls, done: int) -> _Batch:
        fewest, most = COMMIT
        return cls(min(max(fewest, done), most))

    def add(self, images: list[Converted], sums: Sums) -> None:
        self.images += images
        self.sums.merge(sums)
        self.size += sum(len(image.record or b"") for image in images)

    @property
    def full(self) -> bool:
        late = time.monotonic() - self.began >= COMMIT_SECONDS
        return late or len(self.images) >= self.most or self.size >= COMMIT_BYTES


class _Making:
    def __init__(self, options: Options, store: Store, workers: Workers, console: Console) -> None:
        self._options, self._store, self._workers, self._console = options, store, workers, console

    def make(self) -> str:
        store = self._store
        if not store.complete:
            self._check_out()
        begun_as = store.begun_as  # or something else is in the way
        plan, sets = self._plan()
        again = store.refused and self._options.strict  # nothing would be refused that was not: an image has changed
        if store.begun and begun_as == plan.recipe and not again:
            if not store.complete:
                self._resume(plan)
        else:
            self._check_out()
            if store.begun:
                why = "found wanting (--strict)" if again else "begun with other options or images"
                self._say(f"{store.part} was {why}: starting anew")
            self._try_some(sets)
            store.begin(plan.recipe, {name: listed.lines() for name, listed in sets.items()}, plan.problems)
        del sets  # all those paths
        if not store.complete:
            with self._bar() as bar:
                for name in SETS:
                    self._convert(name, plan.listed[name], bar)
                self._finish(plan, bar)
        store.finish()
        summary: str = json.loads((store.out / "report.json").read_text())["summary"]
        out = self._options.out
        return f"{summary}\n{'made':<12} {out}, with {out / 'report.txt'}, which says what is wrong with which image"

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _check_out(self) -> None:
        check_place(self._store.out, self._store.part, self._options.folder, self._options.force)

    def _resume(self, plan: Plan) -> None:
        store = self._store
        store.resume()
        left_out = sum(not problem.kept for problem in store.problems()) - sum(not it.kept for it in plan.problems)
        text = f"Going on in {store.part}: {store.done:,} of {sum(plan.listed.values()):,} images are done"
        if left_out:
            text += f". {left_out:,} of them are left out, and not looked at again: to have that, remove {store.part}"
        self._say(text)

    def _plan(self) -> tuple[Plan, dict[str, Listed]]:
        """What is to be made, and the images of each set, which take memory."""
        options = self._options
        with self._console.status("looking for images…"):
            if options.folder is not None:
                images = of_folder(options.folder)
            else:
                assert options.train_list is not None
                images = of_list(options.train_list)
            test_images = of_list(options.test_list) if options.test_list else images
            train, test = divided(images, options.test_share, options.seed)
            if options.test_list:
                test = np.arange(len(test_images), dtype=np.int64)
            if options.shuffle:
                train, test = shuffled(train, options.seed), shuffled(test, options.seed)
            sets = {"train": Listed(images, train), "test": Listed(test_images, test)}
            digests = {name: listed.digest() for name, listed in sets.items()}
        names = {label: images.names.get(label) or name for label, name in (test_images.names | images.names).items()}
        recipe = {
            "format": _FORMAT,
            "root": printable(os.fsencode(Path(options.root or ".").absolute())),
            **digests,
            **asdict(options.form),
            "shuffle": options.shuffle,
            "seed": options.seed,
            "test_share": options.test_share,
            "duplicates": "keep" if options.keep_duplicates else "drop",
            "check_size": options.check_size,
            "opencv": cv2.__version__,
        }
        counts = {name: len(listed) for name, listed in sets.items()}
        by_class = not options.shuffle and sorted_by_class(sets["train"].labels)
        return Plan(counts, names, tuple(images.problems), by_class, recipe), sets

    def _try_some(self, sets: dict[str, Listed]) -> None:
        """Some of them can be read, and the disk has room for the rest."""
        train = sets["train"]
        places = np.unique(np.linspace(0, len(train) - 1, SAMPLE).astype(np.int64))
        lines = [(n, train.images.paths[place], 0) for n, place in enumerate(train.places[places].tolist())]
        tried = [image for images, _ in self._workers.convert(lines, summed=False) for image in images]
        sizes = [_on_disk(len(image.record)) for image in tried if image.record is not None]
        if not sizes:
            problem = tried[0].problems[0]
            raise BadInput(
                f"none of {len(tried)} images tried can be used, this one, for one: {problem.kind} ({problem.why})",
                file=self._options.root + problem.path,
                remedy="Paths in a list are relative to --root, with / between folders"
                if self._options.folder is None
                else "Give a folder with a folder of images for each class",
            )
        need = int(np.mean(sizes) * sum(map(len, sets.values())))
        room = free(self._store.part) + taken(self._store.part)  # what is there will go
        if need > room:
            raise BadInput(
                f"needs about {sized(need)} of disk, and {sized(room)} are free", file=self._options.out,
                remedy="Make room, resize the images, or store them with --encoded",
            )  # fmt: skip

    def _bar(self) -> Progress:
        columns = (BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        return Progress(TextColumn("{task.description:<12}"), *columns, console=self._console, transient=True)

    def _convert(self, name: str, total: int, bar: Progress) -> None:
        """Make the LMDB of the set `name`, from where it is on."""
        store, tally, options = self._store, self._store.tallies[name], self._options
        if not total:
            return
        store.open_set(name)
        task = bar.add_task(f"{name}_lmdb", total=total, completed=tally.lines)
        batch = _Batch.after(tally.lines)
        lines = read_lines(store.part / f"{name}.txt", tally.lines)
        for images, sums in self._workers.convert(lines, summed=name == "train"):
            if options.check_size:
                self._check_sizes([*(image for image in batch.images if image.record is not None)][:1] + images, tally)
            batch.add(images, sums)
            if batch.full:
                store.add(name, batch.images, batch.sums, options.form, options.keep_duplicates)
                batch = _Batch.after(tally.lines)
            bar.update(task, advance=len(images))
        if batch.images:
            store.add(name, batch.images, batch.sums, options.form, options.keep_duplicates)

    def _check_sizes(self, images: list[Converted], tally: Tally) -> None:
        known = self._store.tallies["train"].first or tally.first
        for image in images:
            if image.record is None:
                continue
            known = known or (printable(image.path), list(image.shape))
            if list(image.shape) != known[1]:
                raise BadInput(
                    f"channels, height and width are {_by(image.shape)}, and of {known[0]} {_by(known[1])}",
                    file=self._options.root + printable(image.path), field="--check-size",
                    remedy="Leave it out, or give --resize-height and --resize-width",
                )  # fmt: skip

    def _finish(self, plan: Plan, bar: Progress) -> None:
        """Read back what was made, and write the files beside it."""
        store, options = self._store, self._options
        store.close_sets()
        made = []
        for name in SETS:
            path, tally, fingerprint = store.part / f"{name}_lmdb", store.tallies[name], ""
            if tally.records:
                task = bar.add_task(f"reading {name}", total=tally.records)
                progress: Callable[[int, int], None] = lambda done, _, task=task: bar.update(task, completed=done)  # type: ignore[misc]  # noqa: E731
                fingerprint = open_records(path, progress, scan_lmdb).fingerprint
                bar.update(task, completed=tally.records)
            elif path.exists():
                shutil.rmtree(path)
            made.append(Set(name, plan.listed[name], tally, fingerprint))
        problems = tuple(store.problems())
        form = options.form
        remarks = remarks_of(store.tallies, plan.names, problems, form.gray, form.encodes, plan.by_class)
        means = tuple(store.sums.values(form.gray))
        report = Report(plan.recipe, tuple(made), plan.names, means, remarks, problems)
        write_whole(store.part / "report.txt", report.text())
        write_whole(store.part / "report.json", json.dumps(report.as_dict(), indent=1) + "\n")
        self._refuse(report)
        classes = "".join(f"{label} {name}\n" for label, name in sorted(plan.names.items()))
        write_whole(store.part / "classes.txt", classes)
        if (mean := store.sums.mean) is not None and store.sizes_agree:
            write_whole(store.part / "mean.binaryproto", mean_file(mean))

    def _refuse(self, report: Report) -> None:
        """The work is not what is wanted: nothing is left of it but the report, or it waits to be wanted after all."""
        bad = len(report.left_out) + sum(problem.kind == "mislabelled?" for problem in report.problems)
        file = self._store.part / "report.txt"
        if not report.sets[0].tally.records:
            self._store.clear(keep=("report.txt", "report.json", "recipe.json"))
            raise BadInput("no train image can be used", file=file, remedy="It says which and why: correct them")
        if self._options.strict and bad:
            self._store.refuse()
            raise BadInput(
                f"{bad:,} images are left out or in two classes (--strict)", file=file,
                remedy="It says which and why: correct them, or leave out --strict, and the LMDBs are made of the rest",
            )  # fmt: skip


def _on_disk(size: int) -> int:
    """Bytes of an LMDB that a record of `size` bytes takes: pages of its own, or a part of one."""
    return size + 100 if size < _PAGE // 2 else -(-(size + 16) // _PAGE) * _PAGE + 100


def _by(shape: tuple[int, ...] | list[int]) -> str:
    return "×".join(map(str, shape))
