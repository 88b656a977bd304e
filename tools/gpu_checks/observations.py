"""Is what the harness reads of a training what plain pycaffe reads: arrays, statistics and digests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from harness.recording import Recording
from tools.gpu_checks.exactness import trained_on
from tools.gpu_checks.nets import Net
from tools.gpu_checks.place import Place
from tools.gpu_checks.probed import Probed
from tools.gpu_checks.results import Result, together
from tools.gpu_checks.trainings import recorded, repeats_its_bits, solver_of

TOLERANCE = 1e-6  # relative, of statistics
Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


def probes(place: Place) -> Result:
    """Compare what the probes compute where the weights are with what the CPU computes from copies of them."""
    return together([(net.name, _probes(place, net)) for net in place.nets])


def windows(place: Place) -> Result:
    """Compare the arrays, norms and digests of a window with those of a training in plain pycaffe."""
    return together([(net.name, _window(place, net)) for net in trained_on(place)])


def _probes(place: Place, net: Net) -> Result:
    steps = min(5, net.iterations)
    said = place.python("-P", "-m", "tools.gpu_checks.probe", solver_of(place, net), str(steps), _gpu(place))
    return judge_probes(msgspec.json.decode(said.splitlines()[-1], type=Probed))


def judge_probes(seen: Probed) -> Result:
    """Judge what probe.py has seen."""
    if seen.digest != seen.cpu_digest:
        return Result("failed", f"the digest of the weights is {seen.digest}, but {seen.cpu_digest} of copies of them.")
    if not seen.deviation <= TOLERANCE:  # NaN as well
        return Result("failed", f"{seen.where} deviates by {seen.deviation:.2g}, which is more than {TOLERANCE:g}.")
    return Result("passed", f"the digest is that of copies of the weights; {seen.count:,} statistics deviate from "
                  f"those of copies by {seen.deviation:.1g} at most.")  # fmt: skip


def _window(place: Place, net: Net) -> Result:
    run, plain = recorded(place, net), _plain(place, net)
    found = difference_from(run, plain)
    if found is None:
        arrays, at = sum(not name.startswith("digest") for name in plain), net.window
        words = f"{arrays} arrays of iterations {at.start} to {at.stop - 1} have the same bits"
        return Result("passed", f"{words}; norms are within {TOLERANCE:g}, and digests are the CPU's.")
    if not repeats_its_bits(place, net):
        return Result("undecided", f"{found}; but two runs do not have the same bits either.")
    return Result("failed", f"{found}.")


def difference_from(run: Path, plain: Arrays) -> str | None:
    """Say how a recording differs from what plain pycaffe has read (names as in plain.py); None if it does not."""
    with Recording(run) as recording:
        for name, expected in plain.items():
            kind, iteration, label = name.split("/", 2)
            found = _difference(recording, kind, int(iteration), label, expected)
            if found is not None:
                return f"{found} in iteration {iteration}"
    return None


def _difference(recording: Recording, kind: str, iteration: int, label: str, expected: Array) -> str | None:
    (row,) = np.flatnonzero(recording.iterations == iteration)
    if kind == "digest":
        seen = recording.series("digest")[row]
        return None if seen == expected else f"the digest is {seen:016x}, but {expected:016x} of what pycaffe reads"
    if kind == "input":
        array = recording.input(iteration, label)
        norm = None
    else:
        layer, _, index = label.rpartition("/")
        array = getattr(recording, kind)(iteration, layer, int(index))
        norms = recording.stat(f"{kind}_l2")
        norm = float(norms.values[row, norms.labels.index(label)])
    if array.tobytes() != expected.tobytes():
        other = int((array.view(np.uint32) != expected.view(np.uint32)).sum())
        return f"{other:,} of {array.size:,} elements of {kind} {label} differ"
    true = float(np.linalg.norm(expected.astype(np.float64)))
    if norm is not None and not np.isclose(norm, true, rtol=TOLERANCE, atol=0):
        return f"{kind}_l2 of {label} is {norm:.9g}, but {true:.9g} of what pycaffe reads"
    return None


def _plain(place: Place, net: Net) -> dict[str, Array]:
    out = place.home / net.name / "plain.npz"
    if not out.exists():
        program = ("-P", "-m", "tools.gpu_checks.plain", solver_of(place, net), str(net.window), out, _gpu(place))
        place.python(*program)
    with np.load(out) as arrays:
        return dict(arrays)


def _gpu(place: Place) -> str:
    return "cpu" if place.gpu is None else str(place.gpu)
