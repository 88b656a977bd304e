"""Learning rate policies."""

from __future__ import annotations

import pytest

from harness.caffe_files.lr_policy import learning_rate
from harness.caffe_files.messages import pb
from harness.errors import BadInput


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(BadInput, match=r"lr_policy = multstep: no such policy. Did you mean multistep"):
        learning_rate(pb.SolverParameter(lr_policy="multstep"), 3, 0)
