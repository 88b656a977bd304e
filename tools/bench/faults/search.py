"""Find the strength at which a fault breaks a training, by training with plain pycaffe."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.faults.breaks import Break, breaks_early, find_break, is_healthy
from tools.bench.faults.data import Record, write_lmdb
from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planter, Planting
from tools.bench.faults.probe import Losses, Probe
from tools.bench.faults.training import Training, TrainingFiles

_ATTEMPTS = 8  # other data, places and iterations
_MOST = 300  # faults that are tried
_EARLY = 5  # iterations by which the smoothed loss may seem to rise before the event


@dataclass(frozen=True, eq=False)
class Planted:
    """A fault that breaks a training (`broke`), or, of a control, does not (None)."""

    planting: Planting
    broke: Break | None


class Search:
    """Searches with `probe`, in the directory `scratch`."""

    def __init__(self, probe: Probe, scratch: Path) -> None:
        self._probe, self._scratch = probe, scratch
        self._count = 0  # of the faults that were tried
        self._too_strong: set[Hashable] = set()
        self._written: Sequence[Record] | None = None
        self._trained: dict[int, tuple[Training, Path]] = {}  # by identity: the weights that a training ended with
        self._healthy: dict[int, tuple[Training, bool]] = {}  # by identity; it keeps the training alive

    def find(self, planter: Planter, net: Net, seed: int) -> Iterator[Planted]:
        """Yield faults of `planter` that break a training, each with other data, places and iterations.

        Each is among the weakest that do, or for a setting, the strongest that does late enough.
        """
        for attempt in range(_ATTEMPTS):
            if self._count > _MOST:
                return
            found = self._best(planter(net, seed + 1000 * attempt), seed % 3)
            if found is not None:
                yield found

    def _best(self, plantings: Iterable[Planting], beyond: int) -> Planted | None:
        """Return the first fault that breaks its training, or one up to `beyond` steps stronger.

        Of a ladder, it is the strongest that breaks late enough: a setting that is only just too high breaks a
        training by chance.
        """
        last: Planted | None = None
        for planting in plantings:
            if last is not None and planting.ladder != last.planting.ladder:
                return last
            found = self._judged(planting)
            if found is not None:
                last = found
                if planting.ladder is None and (not beyond or planting.recovers):
                    return found
                beyond -= 1
            elif last is not None and planting.ladder is None:
                return last
        return last

    def write(self, training: Training, home: Path) -> TrainingFiles:
        """Write a training into `home`, with the weights that it starts from."""
        return training.write(home, None if training.start is None else self._weights(training.start.trained))

    def losses(self, training: Training) -> Losses:
        start = None if training.start is None else self._weights(training.start.trained)
        files = training.write(self._scratch / "training", start, self._data(training))
        return self._probe.losses(files, training.net.iterations)

    def _data(self, training: Training) -> Path:
        """Return the data set of a training, which is written again only where it differs from the one before."""
        if self._written is not training.records:
            shutil.rmtree(self._scratch / "data", ignore_errors=True)
            write_lmdb(self._scratch / "data", training.records)
            self._written = training.records
        return self._scratch / "data"

    def _weights(self, training: Training) -> Path:
        if id(training) not in self._trained:
            path = self._scratch / f"{len(self._trained)}.caffemodel"
            self._probe.losses(training.write(self._scratch / "before"), training.net.iterations, path)
            self._trained[id(training)] = training, path
        return self._trained[id(training)][1]

    def _judged(self, planting: Planting) -> Planted | None:
        """Return the fault if it breaks the training (or, of a control, does not), which is healthy without it."""
        net = planting.training.net
        if planting.ladder is not None and planting.ladder in self._too_strong:
            return None
        if any(id(twin) in self._healthy and not self._is_healthy(twin) for twin in planting.without):
            return None  # known before
        self._count += 1
        losses = self.losses(planting.training)
        if planting.recovers or planting.flips is not None:
            fits = is_healthy(losses, net.chance, net.iterations)
            if fits and planting.at is not None and planting.flips is None:
                before = losses[planting.at - 40 : planting.at]
                fits = bool(losses[planting.at : planting.at + 8].max() > max(before.max() * 1.5, net.chance / 2))
            return Planted(planting, None) if fits else None
        broke = find_break(losses, net.chance, net.iterations)
        if broke is None:
            if planting.ladder is not None and breaks_early(losses, net.chance):
                self._too_strong.add(planting.ladder)
            return None
        if planting.at is not None and not -_EARLY <= broke.iteration - planting.at <= planting.within:
            return None
        fits = all(self._is_healthy(twin) for twin in planting.without) and all(map(self._breaks, planting.parts))
        return Planted(planting, broke) if fits else None

    def _breaks(self, training: Training) -> bool:
        return find_break(self.losses(training), training.net.chance, training.net.iterations) is not None

    def _is_healthy(self, training: Training) -> bool:
        if id(training) not in self._healthy:
            net = training.net
            self._healthy[id(training)] = (training, is_healthy(self.losses(training), net.chance, net.iterations))
        return self._healthy[id(training)][1]
