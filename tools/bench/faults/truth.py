"""Find out what is true of a planted run, by replays in which something is undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from harness.experiments.control import compare
from harness.schemas.arm import Arm, ArmResult, WeightsJittered
from tools.bench.faults.breaks import Break, capped, find_break
from tools.bench.faults.harmless import harmless
from tools.bench.faults.planting import Planting
from tools.bench.faults.recording import recorded_losses, recorded_rates
from tools.bench.faults.replays import replayed
from tools.bench.faults.truth_file import Truth, Undo
from tools.bench.faults.undos import Remedy, remedies

_REPEATS = 3  # the first one without a jitter
_JITTER = 1e-6
_END = 30  # iterations at the end of a replay that make its level
_EARLIER = (20, 40, 60)  # iterations before a break without an event at which a replay may begin
_SLACK = 5  # iterations after the break that count as its own


class NotAsPlanted(Exception):
    """A run did not break as planted, or undoing what was planted does not heal it."""


def find_truth(planting: Planting, name: tuple[str, str, int], run: Path) -> Truth:
    """Judge a recorded run by its losses, and undo one thing after the other.

    Raises:
        NotAsPlanted: it is no example of what was planted.
    """
    net, losses = planting.training.net, recorded_losses(run)
    broke = find_break(losses, net.chance, net.iterations)
    records = tuple(planting.training.records[number].key for number in planting.records)
    truth = Truth(*name, planting.what, planting.kinds, records=records, layers=planting.layers, at=planting.at)
    if planting.recovers:
        if broke is not None:
            raise NotAsPlanted(f"{run} broke")
        return truth
    if broke is None:
        raise NotAsPlanted(f"{run} did not break")
    if planting.flips is not None:
        return _of_machine(truth, planting, broke, run)
    for start in _starts(planting, broke):
        undos, control = _undone(planting, broke, start, run)
        if _is_example(planting, undos):
            break
    else:
        raise NotAsPlanted(f"{run}: {_counts(undos)}")
    return _with(truth, planting, broke, undos, control, run)


def _starts(planting: Planting, broke: Break) -> Iterator[int]:
    """Yield iterations from which replays may start, the nearest one first."""
    if planting.at is not None:
        yield planting.at
    else:
        yield from (broke.iteration - back for back in _EARLIER)


def _counts(undos: Sequence[Undo]) -> str:
    return ", ".join(f"{undo.name}: {undo.breaks} of {undo.runs} break" for undo in undos)


def _is_example(planting: Planting, undos: Sequence[Undo]) -> bool:
    """Whether the control breaks and what was planted heals; of a setting, that other data do not."""
    control, *tried = undos
    planted = [undo for undo in tried if set(undo.kinds) & set(planting.kinds)]
    replayed = [undo for undo in planted if undo.changes]  # none undoes weights from which training started
    if control.heals or not any(undo.heals for undo in replayed or planted):
        return False
    others = [undo for undo in tried if set(undo.kinds) & {"record", "data-shift"}]
    return planting.at is not None or not any(undo.heals for undo in others)


def _with(truth: Truth, planting: Planting, broke: Break, undos: Sequence[Undo], control: bool, run: Path) -> Truth:
    kinds = planting.kinds
    healing = {kind for undo in undos if undo.heals for kind in undo.kinds}
    if kinds == ("data-shift",) and "record" in healing:
        kinds = (*kinds, "record")
    if kinds == ("layer-lr",) and "other-layer" in healing:
        kinds = (*kinds, "learning-rate")
    last = broke.iteration + _SLACK
    if planting.at is None:
        within = (0, last)
    elif planting.records and len(planting.kinds) == 1:
        numbers = [number // planting.training.net.batch for number in planting.records]
        within = (min(numbers), max(numbers))
    else:
        within = (planting.at, max(last, planting.at))
    net = planting.training.net
    innocent = harmless(run, planting.records, net.batch, net.snapshot_every) if planting.records else []
    return msgspec.structs.replace(
        truth,
        harmless=tuple(planting.training.records[number].key for number in innocent),
        kinds=kinds,
        iterations=within,
        broke=broke.iteration,
        healthy=broke.healthy,
        broken=broke.broken,
        start=undos[0].start,
        control=control,
        undos=tuple(undos),
    )


def _of_machine(truth: Truth, planting: Planting, broke: Break, run: Path) -> Truth:
    """Replay the run unchanged from the snapshot before the flip: it has other digests, and does not break."""
    assert planting.flips is not None
    net = planting.training.net
    start = planting.flips // net.snapshot_every * net.snapshot_every
    same = Remedy("the same once more", ("machine",), ())
    arms = [_arm(same, start, net.iterations - start, seed) for seed in range(_REPEATS)]
    found = replayed(arms, start, run)
    first = compare(run, found[arms[0].key]).first_difference
    breaks = sum(breaks_again(found[arm.key], broke, net.chance) for arm in arms)
    undo = Undo(same.name, same.kinds, start, net.iterations - start, (), len(arms), breaks)
    if first is None or not undo.heals:
        raise NotAsPlanted(f"{run}: {_counts([undo])}")
    return msgspec.structs.replace(
        truth,
        at=first,
        iterations=(first - 1, broke.iteration + _SLACK),
        broke=broke.iteration,
        healthy=broke.healthy,
        broken=broke.broken,
        start=start,
        control=False,
        undos=(undo,),
    )


def _undone(planting: Planting, broke: Break, start: int, run: Path) -> tuple[list[Undo], bool]:
    """Undo one thing after the other from `start` on; the first is the control. Tells whether that is identical."""
    net = planting.training.net
    horizon = min(net.iterations - start, net.horizon)
    rates = recorded_rates(run)
    after = float(rates[min(broke.iteration, len(rates) - 1)])
    before = float(rates[0])
    tried = [
        Remedy("nothing", ("control",), ()),
        *remedies(planting, start, horizon, before, after),
    ]
    arms = {remedy.name: [_arm(remedy, start, horizon, seed) for seed in range(_REPEATS)] for remedy in tried}
    before_start = start // net.snapshot_every * net.snapshot_every  # a snapshot: no other replay has to go there
    found = replayed([arm for repeats in arms.values() for arm in repeats], before_start, run)
    undos = []
    whole = Undo("trained without it", planting.kinds, 0, net.iterations, (), len(planting.without), 0)
    for remedy in tried:
        results = [found[arm.key] for arm in arms[remedy.name]]
        breaks = sum(breaks_again(result, broke, net.chance) for result in results)
        changes = tuple(repr(change) for change in remedy.changes)
        undos.append(Undo(remedy.name, remedy.kinds, start, horizon, changes, len(results), breaks))
    if planting.without:
        undos.append(whole)
    return undos, compare(run, found[arms["nothing"][0].key]).identical


def _arm(remedy: Remedy, start: int, horizon: int, seed: int) -> Arm:
    jitter = (WeightsJittered(_JITTER),) if seed else ()
    return Arm(start, horizon, (*remedy.changes, *jitter), seed)


def breaks_again(result: ArmResult, broke: Break, chance: float) -> bool:
    """Whether the losses at the end of a replay are nearer to the broken level than to the healthy one."""
    if result.ended != "completed":
        return True
    losses = capped(np.array(result.loss[-_END:]), chance)
    return float(np.median(losses)) > broke.limit(chance)
