"""Make a capsule smaller: leave out iterations, records and learning layers that its break does not need."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from rich_argparse import RawDescriptionRichHelpFormatter

from harness.budget import parse_budget
from harness.capsule_commands.open import add_trust
from harness.capsule_commands.progress import showing_progress
from harness.capsules.file.capsule_file import check_new, unpack
from harness.capsules.packing.with_page import finish, shrunk_manifest
from harness.capsules.shrinking.shrink import NoBreak, Shrinker
from harness.capsules.shrinking.trials import Trials
from harness.command_parser import CommandParser
from harness.errors import BadInput, RecordingFailed
from harness.exit_codes import Exit
from harness.invocation import next_command, path_argument
from harness.output import print_result
from harness.processes import return_large_blocks
from harness.quantities import file_size
from harness.reports.console import Console, complain
from harness.reports.shrinking import Shrinking, spent_text
from harness.schemas.capsule import Manifest
from harness.supervisor.signals import Interrupts

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_TEXT = """
Each step is tried by a real replay, and kept if the same break remains: the onset at most one iteration away, all heads
at the same levels. The break needs what is left only in the sense that nothing more could be left out one at a time:
where half of the culprit records is enough, an arbitrary half is left. `explain` looks for causes.

 1. iterations: end earlier, and begin later
 2. records: one record takes the place of as many others as possible, each under its own key
 3. history: the solver's history (momentum) is 0
 4. layers: as many as possible are frozen (learning rate 0)
 5. numbers: weights and history are rounded to fewer bits
 6. earlier iterations: fewer recorded ones, which only diagnosis reads

The shrunk capsule records what it does itself, so that `run` of it says "same bits" again. Ctrl-C, or the end of the
budget, keeps the smallest capsule so far.

Exit codes: 0 done, 1 the result could not be written, 2 bad input, 3 the capsule does not break on this machine,
130 interrupted (the smallest capsule so far was written).
"""


def add_parser(actions: _SubParsersAction[CommandParser]) -> None:
    """Add the arguments of this sub-command."""
    parser = actions.add_parser(
        "shrink",
        help="make a capsule smaller, as long as it still breaks",
        description=f"{__doc__}\n{_TEXT}",
        formatter_class=RawDescriptionRichHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="F", help="a capsule; it is not changed")
    parser.add_argument("--out", type=Path, metavar="G", help="default: F-small.capsule beside F")
    parser.add_argument(
        "--budget",
        metavar="LIMIT",
        help="end after a time (90s, 10m, 2h) or a number of trained iterations (500)",
    )
    add_trust(parser)
    parser.set_defaults(main=main)


def main(args: argparse.Namespace) -> int:
    """Run with the parsed arguments, and return the exit code."""
    budget = parse_budget(args.budget)
    out = args.out or args.file.with_name(f"{args.file.name.removesuffix('.capsule')}-small.capsule")
    check_new(out)
    return_large_blocks()
    interrupts = Interrupts("continue")
    with tempfile.TemporaryDirectory(prefix="caffe-harness-") as name, interrupts.handled(lambda: None):
        work = Path(name)
        try:
            with showing_progress("Unpacking") as progress:
                manifest = unpack(args.file, work / "capsule", trust=args.trust, progress=progress)
            if manifest.broke is None:
                raise BadInput("its recording shows no break", file=args.file, remedy="Shrink a capsule of a break")
            return _shrink(args.file, manifest, Trials(work, budget, interrupts), out)
        except NoBreak:
            complain(
                f"{args.file}: it does not break on this machine as it was recorded, so nothing can be tried. "
                f"{next_command('capsule')} run {path_argument(args.file)} shows what differs"
            )
            return Exit.DIVERGED
        except OSError as error:
            raise RecordingFailed(f"{out}: cannot be written ({error.strerror})") from None


def _shrink(file: Path, manifest: Manifest, trials: Trials, out: Path) -> int:
    console, before = Console(stderr=True), file.stat().st_size
    with Shrinking(console, before) as shown:
        trials.notify = lambda: shown.tick(_spent(trials))
        shrinker = Shrinker(trials.work / "capsule", trials, _Reporter(shown, trials, manifest))
        whole = shrinker.search()
        same = shrinker.verify() if not trials.interrupted else None
    finish(shrinker.smallest, shrunk_manifest(shrinker.smallest, manifest, shrinker.changes), out)
    size = out.stat().st_size
    sentences = [f"{file_size(before)} → {file_size(size)} ({size / before:.0%}): {_spent(trials)}."]
    if trials.interrupted:
        sentences.append("Interrupted: not everything was tried.")
    elif not whole:
        sentences.append("The budget is spent: not everything was tried.")
    if same is not None:
        bits = "the recorded bits" if same else "other bits than recorded: training here does not repeat its bits"
        sentences.append(f"Trained once more, its weights had {bits}.")
    for sentence in sentences:
        console.print(Text(sentence, style="bold yellow" if trials.interrupted else "bold green"), soft_wrap=True)
    print_result(str(out))
    return Exit.INTERRUPTED if trials.interrupted else Exit.DONE


class _Reporter:
    """Shows a search with the sizes of the capsules that it finds."""

    def __init__(self, shown: Shrinking, trials: Trials, manifest: Manifest) -> None:
        self._shown, self._trials, self._manifest = shown, trials, manifest

    def trying(self, phase: str, what: str) -> None:
        self._shown.trying(phase, what, _spent(self._trials))

    def found(self, phase: str, what: str, run: Path, changes: tuple[str, ...]) -> None:
        self._shown.found(phase, what, self._size(run, changes), _spent(self._trials))

    def _size(self, run: Path, changes: tuple[str, ...]) -> int:
        """Return the bytes of the capsule of a run directory."""
        copy = self._trials.new_directory("packed")
        shutil.copytree(run, copy, copy_function=os.link)
        out = copy.with_name(f"{copy.name}.capsule")
        finish(copy, shrunk_manifest(copy, self._manifest, changes), out)
        size = out.stat().st_size
        out.unlink()
        shutil.rmtree(copy)
        return size


def _spent(trials: Trials) -> str:
    spent = trials.spent
    return spent_text(spent.replays, spent.iterations, spent.seconds)
