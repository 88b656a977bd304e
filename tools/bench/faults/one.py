"""Plant one fault, or have one explained: what the campaign runs as a process of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.bench.faults.asking import ask
from tools.bench.faults.names import Fault
from tools.bench.faults.nets import NETS
from tools.bench.faults.plant import NotPlanted, plant


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.faults.one", description=__doc__)
    parser.add_argument("step", choices=("plant", "explain"))
    parser.add_argument("fault", type=Fault.parse, metavar="NET-KIND-SEED")
    parser.add_argument("home", type=Path, metavar="DIR", help="the directory of the fault")
    args = parser.parse_args()
    fault = args.fault
    try:
        if args.step == "plant":
            plant(fault.net, fault.kind, fault.seed, args.home)
        else:
            ask(args.home, NETS[fault.net])
    except NotPlanted as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
