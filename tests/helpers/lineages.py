"""A lineage of real runs: a run, a restart with a change, an unchanged one of that, and another with changes."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.commands import restart, train
from tests.helpers.nets import small_net, solver_text


def write_lineage(home: Path, data: Path) -> None:
    """Write the runs `first` and `study/1`, `2` and `3` into the directory `home`.

    `first` has iterations 0 … 39; `1` begins at 20 with another learning rate and ends at 34; `2` continues it at 30,
    before its end, with nothing changed, to 49; `3` continues that at 40 with a lower momentum and no history, to 54.
    There are snapshots and test passes every ten iterations, and a window 24:26 in `1`, 38:42 in `2`.
    """
    home.mkdir()
    (home / "net.prototxt").write_text(small_net(data))
    solver = solver_text(home / "net.prototxt", home / "s", snapshot=10, test_interval=10, test_iter=2)
    (home / "solver.prototxt").write_text(solver)
    study = home / "study"
    train(home / "solver.prototxt", home / "first", "--until", 40)
    changed = ("--set", "base_lr=0.002", "--watch", "24:26")
    restart(home / "first", "--from", 20, *changed, "--until", 35, "--out", study / "1")
    restart(study / "1", "--from", 30, "--watch", "38:42", "--until", 50, "--out", study / "2")
    more = ("--set", "momentum=0.8", "--set-layer", "conv1/3x3:param[0].lr_mult=0.5", "--history", "reset")
    restart(study / "2", "--from", 40, *more, "--until", 55, "--out", study / "3")
