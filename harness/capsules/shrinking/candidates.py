"""Run directories that may break as a capsule does: make them, try them, and keep those that do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from harness.caffe_files.lmdb_file import open_records
from harness.capsules.packing.cut_recording import write_cut
from harness.capsules.shrinking.courses import Reference, read_course
from harness.capsules.shrinking.reductions import Reduction, data_sets, reduce_run
from harness.capsules.shrinking.trials import Trials
from harness.errors import BadInput
from harness.recording.run_directory import read_info
from harness.replay import Replay
from harness.schemas.run_info import RunInfo
from harness.training_data.lmdb_scan import scan_apart


class Candidates:
    """Changed copies of the run directory `run` of a capsule that breaks.

    Attributes:
        reference: the break that is to remain.
        onset: its onset.
        base: the run directory to which changes are made.
        best: the last one that broke alike; its recording is that of a replay of it.

    Raises:
        BadInput: its data are damaged, or its recording does not show the onset.
    """

    def __init__(self, run: Path, trials: Trials) -> None:
        self._original, self._trials = run, trials
        for data in data_sets(read_info(run)):
            if data.kind == "Data":  # a damaged one would kill this process
                open_records(run / data.name, scan=scan_apart)
        course = read_course(run)
        if course.onset is None:
            raise BadInput(
                "the iterations are too few to show the onset, by which what is tried is judged",
                remedy="Pack more iterations: --length, or without it to the end of the damage",
            )
        self.onset = course.onset
        self.reference = Reference(course, read_info(run).until)
        self.base = self.best = run

    def build_on_best(self) -> None:
        """Have further changes made to the best one so far."""
        if self.base not in (self.best, self._original):
            shutil.rmtree(self.base)
        self.base = self.best

    def attempt(self, reduction: Reduction) -> bool:
        """Try changes of the base. Returns whether it breaks alike.

        Raises:
            Stopped, KeyboardInterrupt: as `Trials.check`.
        """
        out = self._trials.new_directory("run")
        reduce_run(self.base, reduction, out)
        return self.keep(out)

    def keep(self, run: Path) -> bool:
        """Replay `run`. If it breaks alike, it becomes the best one, with the recording of the replay; else it goes.

        Raises:
            Stopped, KeyboardInterrupt: as `Trials.check`.
        """
        info = read_info(run)
        done = self._trials.replay(Replay(run, info.first, info.until, stop_at_difference=False))
        if done is None:
            shutil.rmtree(run)
            return False
        recorded = self._trials.new_directory("recording")
        recorded.mkdir()
        write_cut(done.directory, _with_end_of(info, read_info(done.directory)), recorded)
        shutil.rmtree(done.directory)
        if not self.reference.breaks_alike(read_course(recorded), info.first, info.until):
            shutil.rmtree(recorded)
            shutil.rmtree(run)
            return False
        move_recording(recorded, run)
        before, self.best = self.best, run
        if before not in (self._original, self.base):
            shutil.rmtree(before)
        return True


def _with_end_of(info: RunInfo, repeated: RunInfo) -> RunInfo:
    """Return `info` with the final weights of the run that repeated it."""
    ended, now = info.ended, repeated.ended
    if ended is None or now is None:
        return info
    ended = msgspec.structs.replace(ended, iteration=now.iteration, weight_digest=now.weight_digest)
    return msgspec.structs.replace(info, ended=ended)


def move_recording(source: Path, run: Path) -> None:
    """Move recording.h5 and run.json from the directory `source` to `run`."""
    for path in list(source.iterdir()):
        os.replace(path, run / path.name)
    source.rmdir()
