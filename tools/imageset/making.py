"""The way from options to LMDBs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.recording.errors import BadInput
from harness.recording.files import write_whole
from harness.solver.lmdbfile import open_records
from imageset.listing import of_folder, of_list
from imageset.mean import Sums, mean_file
from imageset.options import Options
from imageset.order import Listed, divided, read_lines, shuffled, sorted_by_class
from imageset.record import Converted, Problem, printable
from imageset.report import Report, Set, remarks_of
from imageset.store import OUTPUTS, SETS, Store, Tally
from imageset.workers import Workers

COMMIT = 1000  # images between two commits, as convert_imageset's…
COMMIT_BYTES = 1 << 28  # …or so many bytes of records
SAMPLE = 16  # images that are tried beforehand
_PAGE = 4096  # bytes: LMDB's
_FORMAT = 1  # of what is in OUT.part


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
    with (
        Workers(options.workers, options.root, options.form) as workers,  # before this process grows
        Store(options.out) as store,
    ):
        return _Making(options, store, workers, console).make()


@dataclass
class _Batch:
    """Images, one after the other, that are to be committed together."""

    images: list[Converted] = field(default_factory=list)
    sums: Sums = field(default_factory=Sums)
    size: int = 0

    def add(self, images: list[Converted], sums: Sums) -> None:
        self.images += images
        self.sums.merge(sums)
        self.size += sum(len(image.record or b"") for image in images)

    @property
    def full(self) -> bool:
        return len(self.images) >= COMMIT or self.size >= COMMIT_BYTES


class _Making:
    def __init__(self, options: Options, store: Store, workers: Workers, console: Console) -> None:
        self._options, self._store, self._workers, self._console = options, store, workers, console

    def make(self) -> str:
        store = self._store
        if not store.complete:
            self._check_out()
        begun_as = store.begun_as  # or something else is in the way
        plan, sets = self._plan()
        if not (store.begun and begun_as == plan.recipe and (store.complete or self._resume(plan))):
            self._check_out()
            if store.begun:
                self._say(f"{store.part} was begun with other options or images: starting anew")
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
        return summary

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _check_out(self) -> None:
        out = self._options.out
        folder = self._options.folder
        if out.exists() and not out.is_dir():
            raise BadInput("not a folder", file=out, remedy="Give another place")
        if folder is not None and folder.resolve() in (out.resolve(), *out.resolve().parents):
            raise BadInput(f"lies in {folder}, where it would be a class", file=out, remedy="Give a place outside")
        there = [name for name in OUTPUTS if (out / name).exists()]
        if there and not self._options.force:
            raise BadInput(
                f"{', '.join(there)} there already", file=out, remedy="Give another folder, or --force to replace them"
            )

    def _resume(self, plan: Plan) -> bool:
        if not self._store.resume():
            return False
        done = sum(tally.lines for tally in self._store.tallies.values())
        self._say(f"Going on in {self._store.part}: {done:,} of {sum(plan.listed.values()):,} images are done")
        return True

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
        free = shutil.disk_usage(self._store.part).free
        if need > free:
            raise BadInput(
                f"needs about {need / 1e9:,.1f} GB of disk, and {free / 1e9:,.1f} GB are free", file=self._options.out,
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
        batch = _Batch()
        lines = read_lines(store.part / f"{name}.txt", tally.lines)
        for images, sums in self._workers.convert(lines, summed=name == "train"):
            if options.check_size:
                self._check_sizes([*batch.images[:1], *images], tally)
            batch.add(images, sums)
            if batch.full:
                store.add(name, batch.images, batch.sums, options.form, options.keep_duplicates)
                batch = _Batch()
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
                fingerprint = open_records(path, progress).fingerprint
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
            (store.part / "mean.binaryproto").write_bytes(mean_file(mean))

    def _refuse(self, report: Report) -> None:
        """Nothing is left of the work but the report, where it is not what is wanted."""
        bad = len(report.left_out) + sum(problem.kind == "mislabelled?" for problem in report.problems)
        none = not report.sets[0].tally.records
        if none or (self._options.strict and bad):
            self._store.clear(keep=("report.txt", "report.json", "recipe.json"))
            raise BadInput(
                "no train image can be used" if none else f"{bad:,} images are left out or in two classes (--strict)",
                file=self._store.part / "report.txt",
                remedy="It says which and why: correct them" + ("" if none else ", or leave out --strict"),
            )


def _on_disk(size: int) -> int:
    """Bytes of an LMDB that a record of `size` bytes takes: pages of its own, or a part of one."""
    return size + 100 if size < _PAGE // 2 else -(-(size + 16) // _PAGE) * _PAGE + 100


def _by(shape: tuple[int, ...] | list[int]) -> str:
    return "×".join(map(str, shape))
