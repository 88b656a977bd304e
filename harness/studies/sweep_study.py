"""The study of a sweep: legs in a directory, and sweep.json, which says what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness import __version__
from harness.errors import BadInput
from harness.schemas.leg import Leg
from harness.schemas.run_info import RunInfo
from harness.schemas.sweep import Sweep, SweepLeg
from harness.studies.comparing import best_of
from harness.studies.words import Named, Words, numbered_name


def planned(empty: Sweep, earlier: Sweep | None, wanted: Sequence[Named], until: int) -> Sweep:
    """Add the legs `wanted`, which end before iteration `until`, to the sweep `empty`, after those of `earlier`.

    A leg that is among the earlier ones keeps its name.
    """
    legs = {leg.words: leg for leg in earlier.legs} if earlier else {}
    for each in wanted:
        names = {leg.name for leg in legs.values()}
        name = legs[each.words].name if each.words in legs else numbered_name(each.name, names)
        legs[each.words] = SweepLeg(name=name, words=each.words, until=until)
    return msgspec.structs.replace(empty, legs=tuple(legs.values()), harness=__version__)


def check_same(earlier: Sweep, sweep: Sweep, study: Path) -> None:
    """Check that an earlier sweep in the directory `study` restarts the same run from the same iteration.

    Raises:
        BadInput: it does not.
    """
    if Path(earlier.parent).name != Path(sweep.parent).name or earlier.start != sweep.start:
        raise BadInput(
            f"holds restarts of {earlier.parent} from iteration {earlier.start:,}, not of {sweep.parent} from "
            f"{sweep.start:,}",
            file=study,
            remedy="Give another --out",
        )


def leg_of(sweep: Sweep, study: Path, words: Words) -> Leg:
    """Return the leg with these words as an engine takes it."""
    leg = next(leg for leg in sweep.legs if leg.words == words)
    return Leg(sweep.parent, sweep.start, leg.until, words, str(study / leg.name))


def with_leg(sweep: Sweep, leg: SweepLeg, info: RunInfo) -> Sweep:
    """Return a sweep with what became of a leg, and the best one then. `info` is run.json of the parent."""
    legs = tuple(leg if each.words == leg.words else each for each in sweep.legs)
    return msgspec.structs.replace(sweep, legs=legs, best=best_of(legs, sweep.criterion, info))
