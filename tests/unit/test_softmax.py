"""The softmax of the predictions."""

from __future__ import annotations

import numpy as np
import pytest

from harness.supervisor.predict_client import softmax


def test_softmax_of_known_logits() -> None:
    logits = np.log(np.array([[1, 2, 7], [1, 2, 7], [8, 1, 1], [1, 1, 2]], np.float32))
    of = softmax(logits, np.array([2, 0, 5, 1]), ignore_label=1)
    assert np.allclose(of.label_probability, [0.7, 0.1, np.nan, np.nan], equal_nan=True)
    assert np.allclose(of.loss, [-np.log(0.7), -np.log(0.1), np.nan, np.nan], equal_nan=True)
    assert list(of.predicted) == [2, 2, 0, 2]
    assert np.allclose(of.probability, [0.7, 0.7, 0.8, 0.5])


def test_softmax_of_a_diverged_net() -> None:
    logits = np.array([[3e38, -3e38, 0], [np.nan, 0, 0], [np.inf, 0, 0]], np.float32)
    of = softmax(logits, np.array([1, 0, 0]))
    assert of.loss[0] == pytest.approx(87.3365, abs=1e-4)  # -log(FLT_MIN)
    assert (of.predicted[0], of.probability[0], of.label_probability[0]) == (0, 1, 0)
    assert list(of.predicted[1:]) == [-1, -1]
    assert np.isnan([of.loss[1:], of.probability[1:], of.label_probability[1:]]).all()
