"""Find the strength at which a fault breaks a training, by training with plain pycaffe."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from harness.atomic_write import write_whole
from tools.bench.faults.breaks import Break, find_break, is_healthy
from tools.bench.faults.data import Record, write_lmdb
from tools.bench.faults.judging import Strength, bisected, is_clear, judge
from tools.bench.faults.nets import Net
from tools.bench.faults.planting import Planter, Planting
from tools.bench.faults.probe import Losses, Probe
from tools.bench.faults.training import StartWeights, Training, TrainingFiles

_ATTEMPTS = 8  # other data, places and iterations
_MOST, _MOST_EXPENSIVE = 300, 30  # faults that are tried


@dataclass(frozen=True, eq=False)
class Planted:
    """A fault that breaks a training (`broke`), or, of a control, does not (None)."""

    planting: Planting
    broke: Break | None


class Search:
    """Searches with `probe`, in the directory `scratch`; `kept` has weights that other faults start from as well."""

    def __init__(self, probe: Probe, scratch: Path, kept: Path) -> None:
        self._probe, self._scratch, self._kept = probe, scratch, kept
        self._count = 0  # of the faults that were tried
        self._too_strong: set[Hashable] = set()
        self._written: Sequence[Record] | None = None
        self._trained: dict[int, tuple[Training, Path]] = {}  # by identity: the weights that a training ended with
        self._healthy: dict[int, tuple[Training, bool]] = {}  # by identity; it keeps the training alive

    def find(self, planter: Planter, net: Net, seed: int) -> Iterator[Planted]:
        """Yield faults of `planter` that break a training, each with other data, places and iterations.

        Each is among the weakest that do, or for a setting, the strongest that does late enough.
        """
        most = _MOST_EXPENSIVE if net.warm_up else _MOST
        for attempt in range(_ATTEMPTS):
            if self._count > most:
                return
            plantings = planter(net, seed + 1000 * attempt)
            found = self._bisected(plantings, most) if net.warm_up else self._best(plantings, seed % 3)
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

    def _bisected(self, plantings: Iterable[Planting], most: int) -> Planted | None:
        """Return the fault that bisecting the strength in one family after the other finds first."""
        for _, found in groupby(plantings, lambda planting: (planting.ladder, planting.family)):
            family = list(found)
            planted = self._in_family(family[::-1] if family[0].recovers else family)
            if planted is not None or self._count > most:
                return planted
        return None

    def _in_family(self, family: Sequence[Planting]) -> Planted | None:
        """Return the weakest fault of ascending ones that is right; of a ladder, or of controls, the strongest."""
        breaks: dict[int, Break | None] = {}

        def strength(number: int) -> Strength:
            found, breaks[number] = self._strength(family[number])
            if found is Strength.RIGHT and not self._parts_break(family[number]):
                return Strength.TOO_WEAK
            return found

        number = bisected(len(family), strength, family[0].ladder is not None or family[0].recovers)
        if number is None or not self._is_healthy_without(family[number]):
            return None
        return Planted(family[number], breaks[number])

    def write(self, training: Training, home: Path) -> TrainingFiles:
        """Write a training into `home`, with the weights that it starts from."""
        return training.write(home, None if training.start is None else self._weights(training.start))

    def losses(self, training: Training) -> Losses:
        return self._probe.losses(self._files(training), training.net.iterations)

    def _files(self, training: Training) -> TrainingFiles:
        start = None if training.start is None else self._weights(training.start)
        return training.write(self._scratch / "training", start, self._data(training))

    def _data(self, training: Training) -> Path:
        """Return the data set of a training, which is written again only where it differs from the one before."""
        if self._written is not training.records:
            shutil.rmtree(self._scratch / "data", ignore_errors=True)
            write_lmdb(self._scratch / "data", training.records)
            self._written = training.records
        return self._scratch / "data"

    def _weights(self, start: StartWeights) -> Path:
        """Return the caffemodel with weights to start from, before they are damaged."""
        training = start.trained
        if id(training) not in self._trained:
            kept = self._kept / start.kept if start.kept else None
            path = self._scratch / f"{len(self._trained)}.caffemodel"
            if kept is None or not kept.exists():
                self._probe.losses(training.write(self._scratch / "before"), training.net.iterations, path)
            if kept is not None and not kept.exists():
                write_whole(kept, path.read_bytes())
            self._trained[id(training)] = training, path if kept is None else kept
        return self._trained[id(training)][1]

    def _judged(self, planting: Planting) -> Planted | None:
        """Return the fault if it breaks the training (or, of a control, does not), which is healthy without it."""
        if planting.ladder is not None and planting.ladder in self._too_strong:
            return None
        if any(id(twin) in self._healthy and not self._is_healthy(twin) for twin in planting.without):
            return None  # known before
        strength, broke = self._strength(planting)
        if strength is Strength.TOO_STRONG and planting.ladder is not None:
            self._too_strong.add(planting.ladder)
        fits = strength is Strength.RIGHT and self._is_healthy_without(planting) and self._parts_break(planting)
        return Planted(planting, broke) if fits else None

    def _strength(self, planting: Planting) -> tuple[Strength, Break | None]:
        self._count += 1
        if not planting.training.net.warm_up:
            return judge(planting, self.losses(planting.training))
        files = self._files(planting.training)
        iterations = planting.training.net.iterations
        losses = self._probe.losses(files, iterations, is_clear=lambda losses: is_clear(planting, losses))
        return judge(planting, losses)

    def _is_healthy_without(self, planting: Planting) -> bool:
        """Whether the training is healthy without the fault; with two causes, with either of them alone."""
        return all(map(self._is_healthy, planting.without))

    def _parts_break(self, planting: Planting) -> bool:
        """Whether the training breaks with each part of the fault."""
        net = planting.training.net
        return all(find_break(self.losses(part), net.chance, net.iterations) is not None for part in planting.parts)

    def _is_healthy(self, training: Training) -> bool:
        if id(training) not in self._healthy:
            net = training.net
            self._healthy[id(training)] = (training, is_healthy(self.losses(training), net.chance, net.iterations))
        return self._healthy[id(training)][1]
