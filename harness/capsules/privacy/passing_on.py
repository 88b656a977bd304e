"""Prepare a run directory that is packed for people who are not to see where it comes from, or what its images show."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.budget import Budget
from harness.capsules.packing.with_page import shrunk_manifest
from harness.capsules.privacy.anonymize import anonymize, blank_records
from harness.capsules.shrinking.candidates import Candidates
from harness.capsules.shrinking.trials import Stopped, Trials
from harness.errors import BadInput
from harness.recording.run_directory import read_info, write_info
from harness.replay import Replay
from harness.reports.text.grammar import count
from harness.schemas.capsule import Manifest
from harness.supervisor.signals import Interrupts

_TITLE = "a training"  # in place of the name of the run


@dataclass(frozen=True)
class PassingOn:
    """What is to be removed before a capsule is written; `say` receives sentences for the user.

    Attributes:
        anonymous: paths, names, keys and times.
        blank: the pixels of records that the break does not need.
    """

    anonymous: bool
    blank: bool
    interrupts: Interrupts
    say: Callable[[str], None]

    def __call__(self, directory: Path, manifest: Manifest) -> Manifest:
        """Change the minimal run directory `directory`, in which there is room beside it, and return its manifest.

        Raises:
            BadInput: nothing broke in it, or it does not break here.
            KeyboardInterrupt: the user has interrupted it.
        """
        work = directory.with_name("passing-on")
        work.mkdir()
        trials = Trials(work, Budget(), self.interrupts)
        try:
            if self.blank:
                manifest = self._blanked(directory, manifest, trials)
            if self.anonymous:
                anonymize(directory, work / "recording")
                manifest = msgspec.structs.replace(manifest, title=_TITLE, anonymous=True)
                self._check(directory, trials)
        except Stopped:
            raise KeyboardInterrupt from None
        return manifest

    def _blanked(self, directory: Path, manifest: Manifest, trials: Trials) -> Manifest:
        if manifest.broke is None:
            problem = "nothing breaks in these iterations, so that no record is needed for it"
            raise BadInput(problem, field="--blank", remedy="Leave it out")
        self.say("Blanking records, and replaying: the break must remain")
        candidates = Candidates(directory, trials)
        blank = blank_records(candidates)
        if blank is None:
            raise BadInput("the break is not the same when it is repeated here", field="--blank", remedy="Leave it out")
        os.replace(directory, trials.new_directory("as-it-was"))
        shutil.move(candidates.best, directory)
        write_info(directory, msgspec.structs.replace(read_info(directory), directory=str(directory)))
        every = sum(source.records for source in read_info(directory).data.values())
        said = f"The pixels of {blank:,} of {count(every, 'record')} are blank"
        self.say(f"{said} ({count(trials.spent.replays, 'replay')})")
        return msgspec.structs.replace(shrunk_manifest(directory, manifest, (said,)), blank=blank)

    def _check(self, directory: Path, trials: Trials) -> None:
        """Check that training has the same bits without names."""
        info = read_info(directory)
        done = trials.last_replay(Replay(directory, info.first, info.until))
        if done is None or done.verification.first_difference is not None:
            problem = "without names and paths, training has other bits"
            raise BadInput(problem, field="--anonymous", remedy="Leave it out, and report this")
