"""Rescue one planted run, or try the baselines on it: what the campaign runs as a process of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.bench.faults.names import Fault
from tools.bench.faults.nets import NETS
from tools.bench.rescue.asking import ask
from tools.bench.rescue.baselines import compare


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.rescue.one", description=__doc__)
    parser.add_argument("step", choices=("rescue", "compare"))
    parser.add_argument("fault", type=Fault.parse, metavar="NET-KIND-SEED")
    parser.add_argument("home", type=Path, metavar="DIR", help="the directory of the fault")
    args = parser.parse_args()
    step = ask if args.step == "rescue" else compare
    step(args.home, NETS[args.fault.net])
    return 0


if __name__ == "__main__":
    sys.exit(main())
