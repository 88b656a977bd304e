"""The evidence that a report states: outliers of a batch, a raised learning rate, unusual labels, filters."""

from __future__ import annotations

import numpy as np
import pytest

from harness.diagnosis.recorded.batch import Batch, worst_first
from harness.diagnosis.recorded.batch_evidence import batch_evidence, times
from harness.diagnosis.recorded.evidence_text import rate_evidence
from harness.diagnosis.recorded.heatmap import Heatmap, without_values_after
from harness.diagnosis.recorded.label_shares import LabelShare, unusual_labels
from harness.diagnosis.recorded.outliers import outlying, times_ordinary
from harness.reports.figures.window import mosaic
from harness.reports.names import change_name
from harness.schemas.predictions import Predictions
from harness.schemas.run_info import Change, Parent


def batch(*sizes: float, images: bool = True, before: float | None = None) -> Batch:
    """A batch at iteration 841 of records with these largest values."""
    highest = np.array(sizes)
    outliers = outlying(highest) if before is None else np.ones(len(sizes), bool)
    return Batch(
        iteration=841,
        blob="data",
        keys=(),
        labels=None,
        lowest=np.where(np.isfinite(highest), -highest / 2, np.nan),
        highest=highest,
        outliers=outliers,
        pixels=np.zeros((len(sizes), 1, 2, 2), np.float32) if images else None,
        times=times_ordinary(highest, outliers, np.array([before] if before else [])),
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            batch(2, 2.2, 2.98, 2.5, 60, 62.98),
            "2 of the 6 images of batch 841 hold values 21 times larger than the others",
        ),
        (batch(1, 1, 1, 363), "1 of the 4 images of batch 841 holds values 363 times larger than the others"),
        (
            batch(1, 1, 1, 12, images=False),
            "1 of the 4 records of batch 841 holds values 12 times larger than the others",
        ),
        (batch(50, 60, before=2), "all 2 images of batch 841 hold values 30 times larger than the batches before"),
        (batch(1, 1, 1, np.nan), "1 of the 4 images of batch 841 holds values that are NaN or infinite"),
        (batch(0, 0, 0, 5), "1 of the 4 images of batch 841 holds values other than 0"),
        (batch(1, 1.2, 1.4, 1.1), None),
    ],
)
def test_outliers_of_a_batch_in_words(found: Batch, said: str | None) -> None:
    assert batch_evidence(found) == said


def test_ratios_have_no_superfluous_digits() -> None:
    assert [times(ratio) for ratio in (2.449, 21.13, 363.4, 12345.6)] == ["2.4", "21", "363", "12,346"]


def test_outliers_come_before_images_with_a_larger_loss() -> None:
    loss = np.array([9.0, 0.1, 5.0, 0.2, np.nan])
    predictions = Predictions(loss, np.zeros(5, np.int64), np.ones(5), np.exp(-loss))
    found = batch(1, 363, 1.1, 90, 1)
    assert worst_first(found, predictions) == [1, 3, 0, 2, 4]
    assert worst_first(found, None)[:2] == [1, 3]


def test_a_raised_learning_rate_is_evidence_and_a_falling_one_is_not() -> None:
    iterations = np.arange(1000, 1100)
    rates = np.where(iterations < 1090, 0.01, 0.1)
    said = rate_evidence(iterations, rates, 95)
    assert said == "the learning rate rose from 0.01 to 0.1 at iteration 1,090"
    assert rate_evidence(iterations, rates, 89) is None
    assert rate_evidence(iterations, rates[::-1], 95) is None
    assert rate_evidence(iterations, np.linspace(0.001, 0.1, 100), 95) is None  # a warm-up
    assert rate_evidence(iterations, rates, 0) is None


def test_labels_that_chance_does_not_give() -> None:
    often, chance, new = LabelShare(7, 30, 3.2), LabelShare(1, 2, 3.2), LabelShare(4, 0, 3.2)
    assert unusual_labels([often, chance, new], 32) == (often,)
    ordinary = [LabelShare(label, count, 3.2) for label, count in enumerate((7, 5, 4, 4, 3, 3, 2, 2, 1, 1))]
    assert unusual_labels(ordinary, 32) == ()
    assert unusual_labels([LabelShare(1, 32, None)], 32) == ()  # the data set is not known


def test_nothing_finite_is_shown_after_a_nan() -> None:
    values = np.array([[1.0, 2.0, np.inf, 0.0, np.nan]])
    drawn = Heatmap("gradient", ("a",), np.arange(5), np.arange(1, 6), values, -20 * np.ones((1, 5)))
    cut = without_values_after(drawn, 2)
    assert cut.values.tolist()[0][:3] == [1.0, 2.0, np.inf]
    assert np.isnan(cut.values[0, 3:]).all()
    assert np.isnan(cut.distance[0, 2:]).all()
    assert cut.distance[0, :2].tolist() == [-20, -20]
    assert without_values_after(drawn, None) is drawn


def test_filters_side_by_side() -> None:
    filters = np.zeros((5, 3, 2, 2), np.float32)
    filters[0, 0] = 1  # blue: the channels are BGR
    filters[1] = -1
    filters[2, 0, 0, 0] = np.nan
    image = mosaic(filters, 1.0)
    assert image.shape == (1 + 2 * 3, 1 + 3 * 3, 3)
    assert image[1, 1].tolist() == [127, 127, 255]
    assert image[1, 4].tolist() == [0, 0, 0]
    assert image[1, 7].tolist() == [214, 0, 0]
    assert image[2, 8].tolist() == [127, 127, 127]
    assert np.unique(image[0], axis=0).tolist() == [[170, 190, 215]]  # a gap


def test_a_restart_is_named_by_its_change() -> None:
    lower = Change(where="solver", field="base_lr", old="0.1", new="0.01")
    clipped = Change(where="solver", field="clip_gradients", old="-1.0", new="10.0")
    assert change_name(Parent("runs/a", 800, changes=(lower, clipped))) == "base_lr=0.01, clip_gradients=10"
    assert change_name(Parent("runs/a", 800, skip="841:842", history="reset")) == "history=reset, skip=841:842"
    assert change_name(Parent("runs/a", 800)) == "nothing changed"
