"""Run a robustness campaign, or continue one.

    .venv/bin/python -m tools.campaigns NAME [--cases N] [--only CASE]... [--jobs N] [--journal FILE]

Ctrl-C stops it; the same command continues. Exit code 1 if any case failed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from rich.progress import Progress

from tools.campaigns.campaign import Campaign, default_jobs, read_journal, run, summary

ROOT = Path(__file__).resolve().parents[2]
# modules of this package, each with a CAMPAIGN
NAMES = ("capsules", "kills", "logs", "prototxt", "rewinds", "run_directories")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument(
        "--cases", type=int, metavar="N", help="run cases 0 … N-1 (default: those of docs/benchmarks.md)"
    )
    parser.add_argument(
        "--only", type=int, action="append", metavar="CASE", help="run this case, whatever the journal says"
    )
    parser.add_argument(
        "--jobs", type=int, default=default_jobs(), metavar="N", help="at a time (default: %(default)s)"
    )
    parser.add_argument("--journal", type=Path, metavar="FILE", help="default: runs/campaigns/NAME.jsonl")
    args = parser.parse_args()
    campaign: Campaign = importlib.import_module(f"tools.campaigns.{args.name}").CAMPAIGN
    if args.only:
        cases = [campaign.check(number) for number in args.only]
        for case in cases:
            print(f"{case.number}: {case.kind}: {case.outcome}{f': {case.failure}' if case.failure else ''}")
        return int(any(case.failure for case in cases))
    journal = args.journal or ROOT / f"runs/campaigns/{args.name}.jsonl"
    numbers = range(campaign.cases if args.cases is None else args.cases)
    try:
        with Progress() as bar:
            known = sum(number in numbers for number in read_journal(journal))
            task = bar.add_task(args.name, total=len(numbers), completed=known)
            for case in run(campaign, numbers, journal, args.jobs):
                bar.update(task, advance=1)
                if case.failure:
                    bar.console.print(f"case {case.number}: {case.kind}: {case.outcome}", markup=False)
    except KeyboardInterrupt:
        print("Interrupted; the same command continues.", file=sys.stderr)
    cases = [case for number, case in read_journal(journal).items() if number in numbers]
    print("\n".join(summary(cases)))
    print(f"{len(cases)} of {len(numbers)} cases, {sum(case.failure is not None for case in cases)} failed")
    return int(any(case.failure for case in cases))


if __name__ == "__main__":
    sys.exit(main())
