"""Rescue the planted runs of `python -m tools.bench faults`, and judge by their losses what became of them.

Each run is rescued as a user would do it; its whole training is then healthy at its end or not. The baselines: roll
back to the last good snapshot and divide the learning rate by ten, up to five times; and random search among changes of
all kinds, each tested as rescue does. What is there is not made again: after an interruption (Ctrl-C), the same command
continues.

A run is curable if something heals it that a restart can express. `--only` takes nets, kinds, seeds, or patterns of
names, as in --only lenet 'batchnorm-units-*'.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich_argparse import RawDescriptionRichHelpFormatter

from tools.bench.faults import truth_file
from tools.bench.faults.campaign import INTERRUPTED, Campaign, add_arguments, carried_out, wanted_faults
from tools.bench.faults.names import Fault
from tools.bench.rescue.result_file import BASELINES, RESULT, read_baselines, read_rescued
from tools.bench.rescue.scoring import Score, score
from tools.bench.rescue.table import markdown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench rescue", description=__doc__, formatter_class=RawDescriptionRichHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--table", action="store_true", help="show the table of what there is: nothing is rescued")
    args = parser.parse_args(arguments)
    work, wanted = args.work.resolve(), wanted_faults(parser, args.only)
    planted = [fault for fault in wanted if (work / str(fault) / truth_file.NAME).exists()]
    if not planted:
        parser.error(f"{work} has none of these runs: plant them with python -m tools.bench faults --work {work}")
    campaign = Campaign("tools.bench.rescue.one", work, args.jobs)

    def steps() -> bool:
        failed = campaign.make("rescue", RESULT, planted)
        broken = [fault for fault in planted if not truth_file.read_truth(work / str(fault)).is_control]
        return failed | campaign.make("compare", BASELINES, broken)

    code = 0 if args.table else carried_out(steps)
    if code != INTERRUPTED and (scores := list(_scores(planted, work))):
        print(markdown(scores), end="")
    return code


def _scores(planted: Sequence[Fault], work: Path) -> Iterator[Score]:
    for fault in planted:
        home = work / str(fault)
        rescued = read_rescued(home)
        if rescued is not None:
            yield score(truth_file.read_truth(home), rescued, read_baselines(home))
