"""What is said of an arm that was replayed once more."""

from __future__ import annotations

from dataclasses import replace

from harness.experiments import Repeated
from harness.explaining.repeated import lines_of
from harness.schemas.arm import Arm, ArmResult, RateScaled

ARM = Arm(840, 2, (RateScaled(0.1, 840),))
ONE = ArmResult(arm=ARM, ended="completed", loss=(1.5, 1.25), digest=(1, 2), final_digest=255)


def test_the_same_bits() -> None:
    assert list(lines_of(Repeated(ONE, ONE, None, ("not said",)))) == [
        "Iterations 840 to 841: rate × 0.1 from iteration 840 on",
        "        840  loss 1.5",
        "        841  loss 1.25",
        "The same weights, losses and outputs at 2 iterations; the digest of the weights after them is "
        "00000000000000ff, as the first time",
    ]


def test_other_bits_with_the_reasons_of_both_replays() -> None:
    first = ArmResult(arm=ARM, ended="completed", loss=(1.5, 1.5), not_exact=("OpenBLAS kernels of Haswell",))
    repeated = Repeated(first, ONE, 841, ("two threads",))
    assert list(lines_of(repeated))[2:] == [
        "        841  loss 1.25  (first time 1.5)",
        "Not the same: from iteration 841 on, weights, loss or outputs differ",
        "Known reason: two threads",
        "Known reason, of the first replay: OpenBLAS kernels of Haswell",
    ]
    died = ArmResult(arm=ARM, ended="died", why="Check failed.", loss=())
    assert list(lines_of(replace(repeated, again=died, first_difference=None)))[-3] == (
        "Not the same: the first replay ended “completed”, this one “died”. Check failed."
    )
