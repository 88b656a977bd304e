"""Make the LMDBs: plan, convert the images of each set, check the result, write the report, move it all to OUT."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence

import lmdb
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.atomic_write import write_whole
from harness.caffe_files.formatting import format_shape, printable
from harness.caffe_files.lmdb_file import open_records, scan_lmdb
from harness.errors import BadInput
from harness.imageset import Stopped
from harness.imageset.batch import Batch
from harness.imageset.counts import SETS, SetCounts
from harness.imageset.mean import mean_file
from harness.imageset.options import Options
from harness.imageset.ordering import OrderedImages, read_lines
from harness.imageset.output_directory import check_output, is_disk_full, resolve_output
from harness.imageset.plan import Plan, check_sample, make_plan
from harness.imageset.record import ConvertedImage
from harness.imageset.remarks import remarks_on
from harness.imageset.report import FinishedSet, Report
from harness.imageset.work_directory import WorkDirectory
from harness.imageset.workers import Workers
from harness.reports.console import Console


def make_lmdbs(options: Options, console: Console) -> str:
    """Make all results in OUT, continuing the work of an interrupted call; return a summary.

    Raises:
        BadInput: the images cannot be used, or OUT cannot.
        Stopped: a full disk, a worker that was killed.
    """
    work = WorkDirectory(resolve_output(options.out))
    try:
        # the workers are forked first, while this process is small
        with Workers(options.workers, options.root, options.image_format) as workers, work:
            return _Pipeline(options, work, workers, console).run()
    except (OSError, lmdb.Error) as error:
        full = is_disk_full(error, work.part)
        raise Stopped(
            f"{work.part}: {'the disk is full' if full else error}. {work.done:,} images are done: "
            f"{'free some space, and run' if full else 'run'} the same command to continue from there"
        ) from None


class _Pipeline:
    def __init__(self, options: Options, work: WorkDirectory, workers: Workers, console: Console) -> None:
        self._options, self._work, self._workers, self._console = options, work, workers, console

    def run(self) -> str:
        work = self._work
        if not work.complete:
            self._check_output()
        recipe = work.read_recipe()  # raises an error if the folder holds something else
        with self._console.status("looking for images…"):
            plan, sets = make_plan(self._options)
        # --strict has refused the images once; as it is given again, an image has changed
        refused = work.refused and self._options.strict
        if work.begun and recipe == plan.recipe and not refused:
            if not work.complete:
                self._resume(plan)
        else:
            self._begin(plan, sets, refused)
        del sets  # frees the memory of all those paths
        if not work.complete:
            with self._progress_bar() as bar:
                for name in SETS:
                    self._convert_set(name, plan.listed[name], bar)
                self._finish(plan, bar)
        work.finish()
        summary: str = json.loads((work.out / "report.json").read_text())["summary"]
        out = self._options.out
        return f"{summary}\n{'written to':<12} {out}; {out / 'report.txt'} lists every problem with an image"

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)

    def _check_output(self) -> None:
        check_output(self._work.out, self._work.part, self._options.folder, self._options.force)

    def _begin(self, plan: Plan, sets: dict[str, OrderedImages], refused: bool) -> None:
        work = self._work
        self._check_output()
        if work.begun:
            why = "refused by --strict" if refused else "begun with other options or images"
            self._print(f"The work in {work.part} was {why}: starting over")
        check_sample(self._options, sets, self._workers, work.part)
        work.begin(plan.recipe, {name: ordered.lines() for name, ordered in sets.items()}, plan.problems)

    def _resume(self, plan: Plan) -> None:
        work = self._work
        work.resume()
        left_out = sum(not problem.kept for problem in work.state.problems())
        left_out -= sum(not problem.kept for problem in plan.problems)
        text = f"Continuing in {work.part}: {work.done:,} of {sum(plan.listed.values()):,} images are done"
        if left_out:
            text += f". {left_out:,} of them are left out and will not be read again; to do so, remove {work.part}"
        self._print(text)

    def _progress_bar(self) -> Progress:
        columns = (BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        return Progress(TextColumn("{task.description:<12}"), *columns, console=self._console, transient=True)

    def _convert_set(self, name: str, total: int, bar: Progress) -> None:
        """Make the LMDB of the set `name`, from the first image on that is not done."""
        work, counts, options = self._work, self._work.counts[name], self._options
        if not total:
            return
        work.open_set(name)
        task = bar.add_task(f"{name}_lmdb", total=total, completed=counts.lines)
        batch = Batch.after(counts.lines)
        lines = read_lines(work.part / f"{name}.txt", counts.lines)
        for images, sums in self._workers.convert(lines, summed=name == "train"):
            if options.check_size:
                self._check_sizes([*(image for image in batch.images if image.record is not None)][:1] + images, counts)
            batch.add(images, sums)
            if batch.full:
                work.add(name, batch.images, batch.sums, options.image_format, options.keep_duplicates)
                batch = Batch.after(counts.lines)
            bar.update(task, advance=len(images))
        if batch.images:
            work.add(name, batch.images, batch.sums, options.image_format, options.keep_duplicates)

    def _check_sizes(self, images: Sequence[ConvertedImage], counts: SetCounts) -> None:
        first = self._work.counts["train"].first or counts.first
        for image in images:
            if image.record is None:
                continue
            first = first or (printable(image.path), list(image.shape))
            if list(image.shape) != first[1]:
                raise BadInput(
                    f"channels, height and width are {format_shape(image.shape)}, but those of {first[0]} are "
                    f"{format_shape(first[1])}",
                    file=self._options.root + printable(image.path), field="--check-size",
                    remedy="Omit it, or give --resize-height and --resize-width",
                )  # fmt: skip

    def _finish(self, plan: Plan, bar: Progress) -> None:
        """Read back the LMDBs, and write the files next to them."""
        work, image_format = self._work, self._options.image_format
        work.close_sets()
        sets = [FinishedSet(name, plan.listed[name], work.counts[name], self._verify(name, bar)) for name in SETS]
        problems = tuple(work.state.problems())
        remarks = remarks_on(work.counts, plan.names, problems, image_format, plan.by_class)
        mean_value = tuple(work.sums.values(image_format.gray))
        report = Report(plan.recipe, tuple(sets), plan.names, mean_value, remarks, problems)
        write_whole(work.part / "report.txt", report.text())
        write_whole(work.part / "report.json", json.dumps(report.as_dict(), indent=1) + "\n")
        self._refuse_if_bad(report)
        classes = "".join(f"{label} {name}\n" for label, name in sorted(plan.names.items()))
        write_whole(work.part / "classes.txt", classes)
        if (mean := work.sums.mean) is not None and work.sizes_agree:
            write_whole(work.part / "mean.binaryproto", mean_file(mean))

    def _verify(self, name: str, bar: Progress) -> str:
        """Read all records of a set back and return their fingerprint; remove an LMDB without records."""
        path, total = self._work.part / f"{name}_lmdb", self._work.counts[name].records
        if not total:
            if path.exists():
                shutil.rmtree(path)
            return ""
        task = bar.add_task(f"reading {name}", total=total)
        records = open_records(path, lambda done, _: bar.update(task, completed=done), scan_lmdb)
        bar.update(task, completed=total)
        return records.fingerprint

    def _refuse_if_bad(self, report: Report) -> None:
        """Raise an error if there are no records, or if --strict is given and there are problems.

        In the first case only the report is kept. In the second the work is kept, for a call without --strict.
        """
        bad = len(report.left_out) + sum(problem.kind == "mislabelled?" for problem in report.problems)
        file = self._work.part / "report.txt"
        if not report.sets[0].counts.records:
            self._work.clear(keep=("report.txt", "report.json", "recipe.json"))
            raise BadInput("no training image can be used", file=file, remedy="Correct the problems that it lists")
        if self._options.strict and bad:
            self._work.refuse()
            raise BadInput(
                f"{bad:,} images are left out or in two classes (--strict)", file=file,
                remedy="Correct the problems that it lists, or omit --strict to make the LMDBs from the other images",
            )  # fmt: skip
