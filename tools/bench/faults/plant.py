"""Plant one fault: search its strength, record the run, find out what is true of it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tools.bench.faults.bit_flip import NotFlipped
from tools.bench.faults.kinds import KINDS
from tools.bench.faults.nets import NETS
from tools.bench.faults.probe import Probe
from tools.bench.faults.recording import NotRecorded, record
from tools.bench.faults.search import Search
from tools.bench.faults.truth import NotAsPlanted, find_truth
from tools.bench.faults.truth_file import NAME, Truth, read_truth, write_truth

RUN = "run"


class NotPlanted(Exception):
    """No strength of a fault breaks the training as it should."""


def plant(net: str, kind: str, seed: int, home: Path) -> Truth:
    """Plant a fault in the directory `home`, unless that has one: data set, net, solver, `run`, and truth.json.

    Raises:
        NotPlanted: no strength of it gives an example of it.
    """
    if (home / NAME).exists():
        return read_truth(home)
    reasons = []
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch, Probe() as probe:
        search = Search(probe, Path(scratch), home.parent)
        for found in search.find(KINDS[kind], NETS[net], seed):
            files = search.write(found.planting.training, home)
            try:
                record(files, found.planting, home / RUN)
                truth = find_truth(found.planting, (net, kind, seed), home / RUN)
            except (NotAsPlanted, NotFlipped, NotRecorded) as reason:
                reasons.append(str(reason))
                continue
            shutil.rmtree(home / RUN / "experiments", ignore_errors=True)  # explain starts with nothing
            write_truth(home, truth)
            return truth
    raise NotPlanted(f"{net}-{kind}-{seed}: " + ("; ".join(reasons) or "nothing breaks"))
