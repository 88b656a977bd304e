"""Plant faults into trainings, have explain.py find them, and compare what it says with what is true.

Each fault is a data set, a net and a solver, trained as any other and recorded, healthy at first and broken for good;
replays in which one thing is undone tell what is true of it. Each has a directory NET-KIND-SEED in the work directory,
with its files, the recorded run, truth.json and result.json. What is there is not made again: after an interruption
(Ctrl-C), the same command continues.

All of it takes hours. `--only` takes nets, kinds, seeds, or patterns of names, as in --only lenet 'batchnorm-units-*'.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich_argparse import RawDescriptionRichHelpFormatter

from tools.bench.faults import result_file, truth_file
from tools.bench.faults.campaign import INTERRUPTED, Campaign, add_arguments, carried_out, wanted_faults
from tools.bench.faults.names import Fault
from tools.bench.faults.scoring import Score, score
from tools.bench.faults.table import markdown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench faults", description=__doc__, formatter_class=RawDescriptionRichHelpFormatter
    )
    add_arguments(parser)
    add = parser.add_argument
    add("--plant", action="store_true", help="plant only: nothing is explained")
    add("--table", action="store_true", help="show the table of what there is: nothing is planted or explained")
    args = parser.parse_args(arguments)
    work, wanted = args.work.resolve(), wanted_faults(parser, args.only)
    work.mkdir(parents=True, exist_ok=True)
    campaign = Campaign("tools.bench.faults.one", work, args.jobs)

    def steps() -> bool:
        failed = campaign.make("plant", truth_file.NAME, wanted)
        if not args.plant:
            planted = [fault for fault in wanted if (work / str(fault) / truth_file.NAME).exists()]
            failed |= campaign.make("explain", result_file.NAME, planted)
        return failed

    code = 0 if args.table else carried_out(steps)
    if code != INTERRUPTED and (scores := list(_scores(wanted, work))):
        print(markdown(scores), end="")
    return code


def _scores(wanted: Sequence[Fault], work: Path) -> Iterator[Score]:
    for fault in wanted:
        home = work / str(fault)
        result = result_file.read_result(home)
        if result is not None:
            yield score(truth_file.read_truth(home), result)
