"""Do trainings repeat their bits: two of them, one under the harness and one without it, and a resumed one."""

from __future__ import annotations

from collections.abc import Sequence

from harness.diagnosis.comparison import Comparison
from tools.gpu_checks.nets import Net
from tools.gpu_checks.place import Place
from tools.gpu_checks.results import Result, together
from tools.gpu_checks.trainings import compare_runs, native, recorded, repeats_its_bits, resumed
from tools.gpu_checks.weights import difference, weights_of

# what caused a difference, as harness/diagnosis/comparison.py names it
_IN = {
    "start": "before the first iteration",
    "data": "in the data",
    "forward": "in the forward pass",
    "data or forward": "in the data or the forward pass",
    "backward": "in the backward pass",
    "rate": "in the learning rate",
    "update": "in the update",
}


def repeats(place: Place) -> Result:
    """Train twice in the same way, and compare everything that was recorded."""
    return together([(net.name, _repeats(place, net)) for net in place.nets])


def same_as_caffe(place: Place) -> Result:
    """Compare the last weights of a run with those of `caffe train`."""
    return together([(net.name, _same_as_caffe(place, net)) for net in trained_on(place)])


def resumes(place: Place) -> Result:
    """Restart from the snapshot in the middle, and compare with the run that was not interrupted."""
    return together([(net.name, _resumes(place, net)) for net in trained_on(place)])


def trained_on(place: Place) -> Sequence[Net]:
    """Return the nets that are small enough to be trained several times."""
    return [net for net in place.nets if net.name != "googlenet"]


def _repeats(place: Place, net: Net) -> Result:
    compared = compare_runs(recorded(place, net), recorded(place, net, "second"))
    if compared.identical:
        return Result("passed", f"all bits of {net.iterations} iterations are the same.")
    return Result("failed", f"{first_difference(compared)}. Exactness is not promised on this card.")


def _same_as_caffe(place: Place, net: Net) -> Result:
    (model,) = (recorded(place, net) / "snapshots").glob(f"*_iter_{net.iterations}.caffemodel")
    ours, theirs = weights_of(model), weights_of(native(place, net, "native"))
    found = difference(ours, theirs)
    if found is None:
        return Result("passed", f"after {net.iterations} iterations the weights have the same bits.")
    again = difference(theirs, weights_of(native(place, net, "again")))
    if again is not None:
        return Result("undecided", f"{found}; but `caffe train` does not repeat its own bits either ({again}).")
    return Result("failed", f"{found}, while `caffe train` repeats its bits.")


def _resumes(place: Place, net: Net) -> Result:
    compared = compare_runs(recorded(place, net), resumed(place, net))
    if compared.common is None:
        return Result("failed", "the restart has recorded no iteration of the run.")
    if compared.identical:
        span = f"iterations {compared.common.first} to {compared.common.last}"
        return Result("passed", f"all bits of {span} are those of the uninterrupted run.")
    if not repeats_its_bits(place, net):
        return Result("undecided", f"{first_difference(compared)}; but two runs do not have the same bits either.")
    return Result("failed", f"{first_difference(compared)}, while two runs have the same bits.")


def first_difference(compared: Comparison) -> str:
    """Say where two runs first differ."""
    if compared.weights is None:
        other = ", ".join(f"{value.name} of iteration {value.iteration}" for value in compared.values)
        return f"the weights have the same bits, but not {other or 'the records that were read'}"
    where = _IN.get(compared.cause or "", "for an unknown reason")
    began = "" if compared.moment is None else f" of iteration {compared.moment}"
    arrays = [f"{a.elements:,} of {a.size:,} elements of {a.kind} {a.label} differ by up to {a.largest:.2g}"
              for a in compared.arrays]  # fmt: skip
    return "; ".join([f"the weights differ from iteration {compared.weights} on, beginning {where}{began}", *arrays])
