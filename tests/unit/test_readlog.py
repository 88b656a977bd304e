"""readlog.py on the log of the case and on synthetic logs of runs whose onset is known to the iteration."""

from __future__ import annotations

import csv
import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.caffe_files.log_header import LogHeader, read_header
from harness.caffe_files.messages import pb
from harness.caffe_log.model import Series
from harness.diagnosis.logged.dating import records_of, watch_window
from harness.diagnosis.logged.findings import OnsetEstimate
from harness.diagnosis.logged.schedule import read_schedule
from harness.readlog import main
from harness.reports.text.log_summary.summary import summarise
from harness.schemas.layout import Head
from harness.schemas.window import Window
from tests.helpers.made_up_logs import as_json, examined, falling, jump_of, log_text, steady, then
from tests.helpers.paths import CASE

pytestmark = pytest.mark.usefixtures("one_blas_thread")

SATURATED = 87.3365

# -- logs as Caffe prints them ----------------------------------------------------------------------------------------


# -- the log of the case ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("log", ["case.log", "question.zh.txt"])
def test_the_verdict_on_the_case(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(CASE.with_name(log), "--images", 278000, "--batch", 32, capsys=capsys)
    assert found["verdict"] == "uniform-softmax"
    assert found["jump_iteration"] == 119040
    assert (found["onset"]["low"], found["onset"]["high"]) == (119001, 119040)
    assert abs(found["onset"]["estimate"] - 119006) <= 1
    assert found["suggested_watch"] == "118900:119100"
    assert [(h["name"], h["weight"], h["classes"], h["state"]) for h in found["heads"]] == [
        ("loss1/loss1", 0.3, 280, "uniform"),
        ("loss2/loss1", 0.3, 280, "uniform"),
        ("loss3/loss3", 1, 280, "uniform"),
    ]
    assert [h["loss"] for h in found["heads"]] == [5.63485, 5.63484, 5.62972]
    data = found["data"]
    assert (round(data["epoch"], 1), data["first_record"], data["last_record"]) == (13.7, 194032, 195311)
    assert len(found["runs"]) == 1
    assert {key: value for key, value in found.items() if key != "runs"} == found["runs"][0]


def test_missing_facts_can_be_given_by_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solver = tmp_path / "quick_solver.prototxt"
    solver.write_text(
        'net: "elsewhere.prototxt" display: 40 average_loss: 40 base_lr: 0.001 lr_policy: "poly" power: 0.5 '
        "max_iter: 800000"
    )
    found = as_json(CASE, "--classes", 280, "--solver", solver, capsys=capsys)
    assert {h["classes_from"] for h in found["heads"]} == {"given"}
    assert found["schedule"]["agrees_with_solver"] is True
    assert main([str(CASE), "--classes", "280", "--solver", str(solver)]) == 0
    said = capsys.readouterr().out
    assert "each of 280 classes" in said
    assert "classes as given by --classes" in said
    assert "assumed" not in said
    assert f"--solver {solver} --watch 118900:119100" in said
    solver.write_text(solver.read_text().replace("power: 0.5", "power: 1"))
    found = as_json(CASE, "--solver", solver, capsys=capsys)
    assert found["schedule"]["agrees_with_solver"] is False
    assert any("but the solver's policy (poly) gives" in sentence for sentence in found["findings"])


# -- logs that caffe train writes here --------------------------------------------------------------------------------


# -- when -------------------------------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_the_onset_is_found_to_the_iteration(data: st.DataObject) -> None:
    classes = data.draw(st.sampled_from([5, 10, 280, 1000]), "classes")
    weights = data.draw(st.sampled_from([(1.0,), (0.3, 0.3, 1.0)]), "weights")
    display = data.draw(st.sampled_from([1, 10, 40, 100]), "display")
    average = data.draw(st.sampled_from([1, display, 2 * display, 5 * display]), "average_loss")
    known = data.draw(st.booleans(), "average_loss known")
    count = data.draw(st.integers(25, 60), "displays") * display + 1
    onset = data.draw(st.integers(count // 2, count * 3 // 4), "onset")
    seed = data.draw(st.integers(0, 1000), "seed")
    uniform = math.log(classes)
    share = data.draw(st.sampled_from([0.1, 0.3, 0.5]), "share of ln(classes) that it has learned")
    losses = falling(count, uniform, share * uniform, 0.05, seed, len(weights))
    losses[onset:] = steady(count - onset, uniform, 0.002, seed, len(weights))
    facts = LogHeader(display=display, average_loss=average, classes=classes) if known else LogHeader()
    found = examined(log_text(losses, weights, average_loss=average, display=display), facts)
    assert found.verdict == "uniform-softmax"
    assert {h.classes for h in found.heads} <= set(range(round(0.98 * classes), round(1.02 * classes) + 1))
    assert found.onset is not None
    assert found.onset.low <= onset <= found.onset.high
    assert found.onset.low <= found.onset.estimate <= found.onset.high
    shown = -(-onset // display) * display
    assert jump_of(found) in (shown, shown + display)
    if known and average >= display > 1:  # the mean at that display has good and bad losses in it
        assert abs(found.onset.estimate - onset) <= max(3, average / 12)


@pytest.mark.parametrize("onset", [1961, 1965, 1980, 1999, 2000])
def test_an_onset_anywhere_in_a_display_interval_is_found(onset: int) -> None:
    losses = falling(3001, 9, 2.5, 0.03, heads=3)
    losses[onset:] = steady(3001 - onset, math.log(280), 0.001, heads=3)
    text = log_text(losses, (0.3, 0.3, 1.0), average_loss=40, display=40)
    found = examined(text, LogHeader(average_loss=40)).onset
    assert found is not None
    assert (found.low, found.high) == (1961, 2000)
    assert abs(found.estimate - onset) <= 1
    blind = examined(log_text(losses, (0.3, 0.3, 1.0), average_loss=40, display=40, outputs=False), LogHeader()).onset
    assert blind is not None
    assert blind.low <= onset <= blind.high


def test_an_average_loss_of_one_is_inferred_from_the_log() -> None:
    losses = falling(2001, 5.6, 2.0)
    losses[1500:] = steady(501, math.log(280))
    found = examined(log_text(losses, display=20)).onset
    assert found is not None
    assert not found.assumed


@pytest.mark.parametrize(
    ("low", "high", "display", "window"),
    [(119001, 119040, 40, (118900, 119100)), (5, 5, 1, (4, 6)), (1, 7, 7, (0, 20)), (901, 1000, 100, (800, 1100))],
)
def test_the_window_to_watch(low: int, high: int, display: int, window: tuple[int, int]) -> None:
    assert watch_window(OnsetEstimate(low, low, high, None, None, False), display) == Window(*window)


def test_the_records_of_the_onset() -> None:
    onset = OnsetEstimate(95, 90, 99, None, None, False)
    first = records_of(onset, LogHeader(images=1000, batch=10), 0)
    assert first is not None
    assert (first.epoch, first.first, first.last, first.count) == (0.9, 900, 999, 100)
    around = records_of(onset, LogHeader(images=950, batch=10), 0)
    assert around is not None
    assert (around.first, around.last) == (900, 49)
    doubled = records_of(onset, LogHeader(images=10_000, batch=10, iter_size=2), 0)
    assert doubled is not None
    assert (doubled.first, doubled.last) == (1800, 1999)
    resumed = records_of(onset, LogHeader(images=1000, batch=10), 80)
    assert resumed is not None
    assert (resumed.first, resumed.last, resumed.resumed) == (100, 199, 80)
    assert records_of(onset, LogHeader(images=1000), 0) is None


def test_the_first_epoch_is_distinguished_from_a_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = falling(601, 2.3, 0.5)
    losses[400:] = steady(201, math.log(10))
    (tmp_path / "log").write_text(log_text(losses, display=20))
    words = as_json(tmp_path / "log", "--images", 100_000, "--batch", 10, capsys=capsys)["findings"]
    assert any("for the first time" in s for s in words)
    resume = "I0515 08:44:41.838122  1279 caffe.cpp:241] Resuming from x_iter_1000.solverstate\n"
    (tmp_path / "log").write_text(resume + log_text(losses, display=20, first=1000))
    found = as_json(tmp_path / "log", "--images", 100_000, "--batch", 10, capsys=capsys)
    assert found["jump_iteration"] == 1400
    assert found["data"]["first_record"] == 3810
    assert any("starts again at record 0 when it resumes" in s for s in found["findings"])


# -- verdicts ---------------------------------------------------------------------------------------------------------


def spiked() -> np.ndarray:
    losses = falling(4001, 2.3, 0.4)
    losses[2000:2021] *= 15
    return losses


def swinging() -> np.ndarray:
    return falling(6001, 2.3, 0.5) * np.exp(np.sin(np.arange(6001) / 6001 * 2 * np.pi * 8))[:, None]


def said_one_class(classes: int, count: int = 2001) -> np.ndarray:
    """The losses of a batch of 32 in which images of one class have loss 0 and all others the largest loss."""
    hits = np.random.default_rng(4).binomial(32, 1 / classes, count)
    return (SATURATED * (1 - hits / 32))[:, None]


VERDICTS: dict[str, tuple[np.ndarray, int, str]] = {
    # losses, display, verdict
    "falls": (falling(4001, 2.3, 0.3), 20, "healthy"),
    "falls, batch of one": (falling(4001, 2.3, 0.5, noise=1.0), 20, "healthy"),
    "falls, every iteration": (falling(5001, 6.9, 2.0, noise=0.3), 1, "healthy"),
    "Euclidean": (falling(4001, 160_000, 40, noise=0.3), 20, "healthy"),
    "negative": (falling(4001, 5, 0.5) - 3, 20, "healthy"),
    "always level, at no known price of knowing nothing": (steady(4001, 0.2, 0.3), 20, "unknown"),
    "a spike": (spiked(), 20, "healthy"),
    "one display is high at the end": (then(falling(4001, 2.3, 0.4), 3999, steady(9, 2.3)), 20, "healthy"),
    "back from 87": (then(falling(4001, 2.3, 0.3), 0, np.full((300, 1), SATURATED)), 20, "healthy"),
    "four displays": (falling(61, 2.3, 0.1), 20, "healthy"),
    "always 0": (np.zeros((4001, 1)), 20, "unknown"),
    "two displays": (falling(21, 2.3, 0.3), 20, "healthy"),
    "still at the start": (steady(201, math.log(10)), 20, "uniform-softmax"),
    "never learned": (steady(4001, math.log(10)), 20, "uniform-softmax"),
    "never learned, 1000 classes": (steady(4001, math.log(1000)), 20, "uniform-softmax"),
    "never learned, from 87": (
        then(steady(4001, math.log(10)), 0, np.full((30, 1), SATURATED)), 20, "uniform-softmax"),
    "collapsed": (then(falling(4001, 2.3, 0.4), 3000, steady(4001, math.log(10))), 20, "uniform-softmax"),
    "collapsed through 40": (
        then(then(falling(4001, 2.3, 0.4), 3000, np.full((40, 1), 40.0)), 3040, steady(4001, math.log(10))), 20,
        "uniform-softmax"),
    "saturated": (then(falling(4001, 2.3, 0.4), 3000, np.full((4001, 1), SATURATED)), 20, "saturated-softmax"),
    "says one of two": (said_one_class(2), 20, "saturated-softmax"),
    "says one of ten": (then(falling(2001, 2.3, 0.4), 1000, said_one_class(10)), 20, "saturated-softmax"),
    "worse for good": (then(falling(4001, 2.3, 0.4), 3000, steady(4001, 5.1, 0.3)), 20, "drift/oscillation"),
    "rises slowly": (falling(4001, 2.3, 0.4) + np.linspace(0, 2, 4001)[:, None], 20, "drift/oscillation"),
    "swings": (swinging(), 20, "drift/oscillation"),
    "NaN": (then(falling(4001, 2.3, 0.4), 3000, np.full((4001, 1), np.nan)), 20, "nan"),
    "infinite": (then(falling(4001, 2.3, 0.4), 3000, np.full((4001, 1), np.inf)), 20, "nan"),
    "NaN from the start": (np.full((101, 1), np.nan), 20, "nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_on_each_kind_of_run(name: str) -> None:
    losses, display, verdict = VERDICTS[name]
    for average in (1, display):
        for outputs in (True, False):
            if name.startswith("says one") and average > 1 and not outputs:
                continue  # a mean of what is counted is no multiple of anything
            found = examined(log_text(losses, average_loss=average, display=display, outputs=outputs))
            assert found.verdict == verdict, (average, outputs, found)
            healthy = verdict in ("healthy", "unknown")
            assert not (healthy and (found.jump is not None or found.onset is not None))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.data())
def test_noise_is_healthy(data: st.DataObject) -> None:
    display = data.draw(st.sampled_from([1, 20, 100]), "display")
    average = data.draw(st.sampled_from([1, display, 5 * display]), "average_loss")
    noise = data.draw(st.sampled_from([0.02, 0.1, 0.2, 0.3]), "noise")
    count = data.draw(st.integers(30, 300), "displays") * display
    start = data.draw(st.sampled_from([0.7, 2.3, 6.9, 5000.0]), "start")
    end = start * data.draw(st.sampled_from([0.01, 0.2, 0.6]), "share of it that is left")
    losses = falling(count, start, end, noise, data.draw(st.integers(0, 1000), "seed"))
    outputs = data.draw(st.booleans(), "outputs")
    found = examined(log_text(losses, average_loss=average, display=display, outputs=outputs))
    assert found.verdict in ("healthy", "unknown")
    assert (found.jump, found.onset) == (None, None)


@pytest.mark.parametrize("classes", [2, 10, 280])
def test_verdicts_with_known_classes(classes: int) -> None:
    uniform = math.log(classes)
    facts = LogHeader(heads=(Head("loss", 1.0, classes),), average_loss=1, max_iter=4000)

    def verdict(losses: np.ndarray) -> str:
        return examined(log_text(losses, display=20), facts).verdict

    assert verdict(falling(4001, uniform, 0.3 * uniform, noise=0.5)) == "healthy"
    assert verdict(steady(4001, 0.4 * uniform, 0.2)) == "healthy"
    assert verdict(steady(4001, uniform, 0.05)) == "uniform-softmax"
    assert verdict(steady(501, uniform, 0.05)) == "unknown"
    assert verdict(then(falling(4001, uniform, 0.6 * uniform), 2000, steady(4001, 1.02 * uniform))) == "uniform-softmax"
    assert (
        verdict(then(falling(4001, uniform, 0.2 * uniform), 2000, steady(4001, 0.7 * uniform))) == "drift/oscillation"
    )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(width=32), st.sampled_from([0.0, 2.302585, SATURATED, math.nan, math.inf])),
        min_size=1, max_size=40,
    ),
    st.sampled_from([(1.0,), (0.3,), (-1.0,)]),
    st.sampled_from([None, 1, 2, 280]),
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_every_series_has_a_verdict(
    drawn: list[tuple[float, float]], weights: tuple[float], classes: int | None
) -> None:
    for column in (0, 1):
        found = examined(log_text(np.array([d[column] for d in drawn]), weights), LogHeader(classes=classes))
        assert summarise(found)
        assert found.onset is None or found.onset.low <= found.onset.estimate <= found.onset.high


@pytest.mark.filterwarnings("error")
def test_a_total_beyond_the_largest_number_for_its_head() -> None:
    """A damaged log: a head of small weight, which some displays do not show, and a total near the largest float."""
    text = log_text(np.array([[2.0], [2.1]]), (0.3,))
    head = next(line for line in text.splitlines(keepends=True) if "Train net output" in line)
    assert "loss = 0.63\n" in text
    assert summarise(examined(text.replace(head, "", 1).replace("loss = 0.63\n", "loss = 1.7e308\n")))


def test_one_head_of_three_collapses() -> None:
    losses = falling(4001, 5.6, 1.5, heads=3)
    losses[3000:, 0] = steady(1001, math.log(280))[:, 0]
    heads = tuple(Head(f"loss{k + 1}/loss", w, 280) for k, w in enumerate((0.3, 0.3, 1.0)))
    found = examined(log_text(losses, (0.3, 0.3, 1.0), display=20), LogHeader(heads=heads, average_loss=1))
    assert found.verdict == "uniform-softmax"
    assert [h.state for h in found.heads] == ["uniform", "learning", "learning"]
    assert jump_of(found) == 3000
    assert found.onset is not None
    assert found.onset.low <= 3000 <= found.onset.high


def test_one_nan_makes_the_displayed_mean_nan_but_not_the_run() -> None:
    losses = falling(4001, 2.3, 0.4)
    losses[1000] = np.nan
    found = examined(
        log_text(losses, average_loss=20, display=20).replace(
            "Iteration 1000, loss = nan", "Iteration 1000, loss = nan"
        )
    )
    assert found.verdict == "healthy"
    assert found.nans is not None
    assert found.nans.lasting


def test_spikes_and_a_return_from_saturation_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text(log_text(spiked(), display=20))
    assert any("transient spike at iteration 2,000" in s for s in as_json(tmp_path / "log", capsys=capsys)["findings"])
    (tmp_path / "log").write_text(log_text(VERDICTS["back from 87"][0], display=20))
    assert any(
        "was saturated (87.3365) from iteration 0 to 280 and recovered" in s
        for s in as_json(tmp_path / "log", capsys=capsys)["findings"]
    )


def test_a_jump_before_nan_is_the_onset() -> None:
    losses = falling(4001, 2.3, 0.4, noise=0.05)
    losses[3000:3060] = 87.3365
    losses[3060:] = np.nan
    found = examined(log_text(losses, display=20))
    assert (found.verdict, jump_of(found)) == ("nan", 3000)
    assert found.nans is not None
    assert (found.nans.first, found.nans.saturated) == (3060, True)


# -- short, noisy, growing, resumed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4, 6, 8, 9, 12, 20])
@pytest.mark.parametrize("kind", ["gamma", "lognormal"])
def test_a_short_excerpt_of_a_noisy_run_is_no_drift(count: int, kind: str) -> None:
    wrong = 0
    for seed in range(60):
        random = np.random.default_rng(1000 * count + seed)
        losses = 0.5 * (random.gamma(2, 0.5, count) if kind == "gamma" else random.lognormal(0, 0.5, count))
        text = log_text(np.repeat(losses, 100), display=100, first=1000)
        wrong += examined(text).verdict not in ("healthy", "unknown")
    assert wrong <= 1


@pytest.mark.parametrize(
    ("losses", "verdict", "jump"),
    [
        ([2.1, 1.9, 2.0, 60, 55, 70], "drift/oscillation", 3),  # far above all noise
        ([2.1, 1.9, 2.0, 4.4, 4.1, 4.6], "drift/oscillation", 3),
        ([2.1, 1.9, 2.0, SATURATED, SATURATED], "saturated-softmax", 3),
        ([0.9, 0.5, 0.4, 2.30259, 2.30259, 2.30259], "uniform-softmax", 3),
        ([1.6e5, 1e9, 3e9], "drift/oscillation", 1),
        ([3.6e-8, 1.3, 0], "unknown", None),
        ([1.1e-5, 7e-6, 7.4e-6], "unknown", None),
    ],
)
def test_a_few_displays_suffice_for_a_clear_case(losses: list[float], verdict: str, jump: int | None) -> None:
    found = examined(log_text(np.array(losses)))
    assert found.verdict == verdict
    assert jump_of(found) == jump


@pytest.mark.parametrize("average", [1, 20])
@pytest.mark.parametrize("rate", [0.002, 0.005, 0.02, 0.2])
@pytest.mark.parametrize("dies", [False, True])
def test_an_exploding_loss_is_dated_at_its_start(rate: float, average: int, *, dies: bool) -> None:
    losses = falling(8001, 2.3, 0.5, 0.1)
    losses[5007:] *= np.exp(np.minimum(np.arange(2994) * rate, 80))[:, None]
    if dies:
        losses[7000:] = np.nan
    found = examined(log_text(losses, average_loss=average, display=20))
    assert found.verdict == ("nan" if dies else "drift/oscillation")
    assert found.jump is not None
    assert found.onset is not None
    assert found.onset.low <= 5007 <= found.onset.high <= found.jump.iteration
    assert 5007 <= found.jump.iteration <= 5007 + math.log(4.5) / rate + 20 + average
    assert found.jump.before == pytest.approx(0.5, rel=0.3)


@pytest.mark.parametrize("average", [1, 20, 200])
@pytest.mark.parametrize("display", [20, 100])
def test_the_interval_from_the_total_alone_contains_the_onset(average: int, display: int) -> None:
    for seed in range(4):
        onset = 7001 + 23 * seed
        losses = then(falling(12_001, 6.9, 2.2, 0.12, seed), onset, steady(12_001, math.log(1000), 0.003))
        found = examined(log_text(losses, average_loss=average, display=display, outputs=False))
        assert found.onset is not None
        assert found.onset.low <= onset <= found.onset.high
        assert found.onset.bad is None


def test_the_final_loss_is_that_after_the_jump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = examined(log_text(then(falling(5001, 2.3, 0.3), 4961, np.full((99, 1), SATURATED)), display=20))
    assert (found.verdict, jump_of(found), found.trend.end) == ("saturated-softmax", 4980, SATURATED)
    (tmp_path / "log").write_text(log_text(then(falling(5001, 2.3, 0.3), 4985, steady(99, 2.3)), display=20))
    found_now = as_json(tmp_path / "log", capsys=capsys)
    assert found_now["verdict"] == "healthy"
    assert any("far above the others, but too recent to judge" in s for s in found_now["findings"])


@pytest.mark.parametrize("displays", [4, 10, 150])
@pytest.mark.parametrize(("level", "classes"), [(2.302585, 10), (7.5, None)])
def test_a_temporary_level_is_reported(displays: int, level: float, classes: int | None) -> None:
    losses = falling(8001, 2.3, 0.5)
    losses[3000 : 3000 + 20 * displays] = level
    found = examined(log_text(losses, display=20))
    assert found.verdict == "healthy"
    assert [(e.first, e.last, e.classes) for e in found.deviations.excursions] == [
        (3000, 2980 + 20 * displays, classes)
    ]
    assert found.deviations.excursions[0].level == pytest.approx(level, rel=1e-4)
    assert not found.deviations.spikes
    assert any(f"The loss was at {level:.4g}" in s and "returned to" in s for s in summarise(found))


@pytest.mark.parametrize("noise", [0.1, 0.3, 0.7])
def test_noise_makes_no_excursions(noise: float) -> None:
    for seed in range(5):
        assert not examined(log_text(falling(8001, 2.3, 0.5, noise, seed), display=20)).deviations.excursions


@pytest.mark.parametrize(("classes", "first"), [(2, 0), (10, 0), (1000, 0), (10, 5000)])
def test_displays_equal_to_a_logarithm_give_the_exact_classes(classes: int, first: int) -> None:
    losses = np.full(401, math.log(classes))
    losses[0] *= 1.004
    found = examined(log_text(losses, display=100, first=first))
    assert (found.verdict, found.heads[0].classes, found.heads[0].approximate) == ("uniform-softmax", classes, False)


def test_a_resumed_run_at_chance_level() -> None:
    resume = "I0515 08:44:41.838122  1279 caffe.cpp:241] Resuming from x_iter_5000.solverstate\n"
    found = examined(resume + log_text(steady(3001, math.log(280), 0.003), display=20, first=5000))
    assert (found.verdict, found.why, found.lifecycle.resumed_at) == ("uniform-softmax", "never learned", 5000)
    assert any("was at chance level when it was resumed at iteration 5,000" in s for s in summarise(found))
    found = examined(resume + log_text(steady(3001, 1.2, 0.1), display=20, first=5000))
    assert found.verdict == "healthy"
    assert any("does not show its chance level" in s for s in summarise(found))


def test_warm_restarts_are_attributed_to_the_schedule() -> None:
    cycle = np.exp(-np.arange(4000) / 700)
    losses = (0.3 + np.tile(0.9 * cycle, 5))[:, None] * steady(20_000, 1, 0.1)

    def rate(iteration: int) -> float:
        return 0.025 * (1 + math.cos(math.pi * (iteration % 4000) / 4000)) + 1e-5

    found = examined(log_text(losses, display=20, lr=rate))
    assert (found.verdict, found.trend.cycles, found.deviations.excursions) == ("healthy", 4, ())
    assert examined(log_text(losses[:17_000], display=20, lr=rate)).jump is None
    assert examined(log_text(losses, display=20)).verdict == "drift/oscillation"


def of_passes(passes: dict[int, dict[str, float]]) -> str:
    """Test passes as Caffe prints them; a name that contains `loss` is a loss."""
    lines = []
    for iteration, outputs in passes.items():
        lines.append(f"I0515 08:44:41.838122  1279 solver.cpp:337] Iteration {iteration}, Testing net (#0)")
        for place, (name, value) in enumerate(outputs.items()):
            weight = f" (* 1 = {value:g} loss)" if "loss" in name else ""
            lines.append(
                f"I0515 08:44:41.838122  1279 solver.cpp:404]     Test net output #{place}: {name} = {value:g}{weight}"
            )
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("passes", "verdict", "words"),
    [
        ({9: {"a/loss": 1.84, "b/loss": 6.90962, "c/loss": 6.90966}}, "uniform-softmax", "b/loss and c/loss are at ln"),
        ({0: {"top": 0.001, "loss": 6.95}, 9: {"top": 0.001, "loss": 6.9078}}, "uniform-softmax", "ln 1000 = 6.908"),
        ({0: {"top": 0.1, "loss": 2.3}, 9: {"top": 0.1, "loss": math.nan}}, "nan", "loss is not finite"),
        ({0: {"top": 0.1, "loss": 2.3}, 9: {"top": 0.1, "loss": SATURATED}}, "saturated-softmax", "is saturated"),
        ({9: {"top": 0.25, "loss": 3.62}}, "unknown", "Test output top: 0.25 at iteration 9."),
        ({0: {"top": 0.1, "loss": 1.8}, 9: {"top": 0.1, "loss": 38}}, "unknown", "rose from 1.8 to 38"),
    ],
)
def test_test_passes_alone_give_a_verdict(passes: dict[int, dict[str, float]], verdict: str, words: str) -> None:
    found = examined(of_passes(passes))
    assert found.verdict == verdict
    said = " ".join(summarise(found))
    assert words in said
    assert "display: 0" not in said


def test_a_run_that_died_before_its_first_display() -> None:
    solving = "I0515 08:44:41.838122  1279 solver.cpp:279] Solving net\n"
    found = examined(solving + "F0515 08:44:42.838122  1279 syncedmem.cpp:56] Check failed: error (2 vs. 0)\n")
    assert (found.verdict, found.coverage.displays) == ("unknown", 0)
    assert any("The process died: Check failed" in s for s in summarise(found))


# -- words ------------------------------------------------------------------------------------------------------------


def said_of(losses: np.ndarray, weights: Sequence[float] = (1.0,), facts: LogHeader = LogHeader(), **how: Any) -> str:  # noqa: B008
    return " ".join(summarise(examined(log_text(losses, weights, **how), facts)))


def test_heads_that_never_learned_and_heads_that_did_are_named() -> None:
    losses = falling(6001, 6.9, 1.9, heads=3)
    losses[:, 1:] = steady(6001, math.log(1000), 0.001, heads=2)
    said = said_of(losses, (0.3, 0.3, 1.0), average_loss=40, display=40)
    assert "loss2/loss and loss3/loss stayed at chance level" in said
    assert "while loss1/loss learned" in said
    assert "the net never learned" not in said


def test_a_head_that_still_depends_on_its_input_is_reported() -> None:
    losses = falling(4001, 5.6, 1.5, heads=2)
    losses[3000:, 1] = steady(1001, math.log(280))[:, 0]
    said = said_of(losses, (0.3, 1.0), display=20)
    assert "look at the layers that only loss2/loss has" in said
    assert "start again from a snapshot" not in said


def test_nan_in_one_head_only() -> None:
    losses = falling(4001, 2.3, 0.4, heads=2)
    losses[3000:, 0] = np.nan
    said = said_of(losses, (0.3, 1.0), display=20)
    assert "Not finite: loss1/loss. Still finite: loss2/loss (" in said
    assert "no loss is finite after that" not in said


def test_a_nan_total_with_constant_losses() -> None:
    losses = steady(4001, 680.0, 0.03)
    text = re.sub(r"loss = [\d.]+$", "loss = -nan", log_text(losses, display=20), flags=re.MULTILINE)
    found = examined(text)
    assert found.nans is not None
    assert (found.verdict, found.nans.poisoned) == ("nan", True)
    assert "one NaN never leaves Caffe's running mean" in " ".join(summarise(found))


def test_classes_that_contradict_the_log_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(CASE, "--classes", 10, capsys=capsys)
    assert (found["verdict"], {h["classes"] for h in found["heads"]}) == ("uniform-softmax", {280})
    assert any("--classes 10 does not fit" in s for s in found["findings"])


@pytest.mark.parametrize(
    ("losses", "words", "never"),
    [
        (falling(4001, 2.3, 0.4, 0.05) - np.linspace(0, 0.3, 4001)[:, None], "is still falling", "stays there"),
        (falling(4001, 2.3, 0.4), "stays there", "still falling"),
        (steady(4001, 0.25, 0.05), "does not show its chance level", "below chance level"),
        (falling(41, 2.0, 1.9, 0.02), "3 displays are too few", "1 displays"),
        (falling(11, 2.0, 1.9, 0.02), "1 display is too little", "1 displays"),
        (then(falling(4001, 2.3, 0.4), 3000, np.full((4001, 1), 1e9)), "jumped", "neither ln(classes)"),
        (
            then(falling(4001, 2.3, 0.4), 3000, steady(4001, 5.1, 0.3)),
            "neither ln(classes)",
            "start again from a snapshot",
        ),
    ],
)
def test_the_sentences_of_the_findings(losses: np.ndarray, words: str, never: str) -> None:
    said = said_of(losses, display=20)
    assert words in said
    assert never not in said


def test_one_non_finite_display() -> None:
    text = log_text(falling(4001, 2.3, 0.4), display=20)
    said = " ".join(summarise(examined(re.sub("Iteration 2000, loss = .*", "Iteration 2000, loss = nan", text))))
    assert "One display was not finite, at iteration 2,000; the loss recovered." in said


def test_the_display_that_dates_the_onset_is_named() -> None:
    losses = then(falling(4001, 2.3, 0.4), 3000, steady(4001, math.log(10)))
    found = examined(log_text(losses, display=20))
    onset = OnsetEstimate(2993, 2981, 3000, 200, 27.0, assumed=False, at=3020, likely=True)
    assert found.jump is not None
    later, at_jump = replace(found.jump, onset=onset), replace(found.jump, onset=replace(onset, at=3000))
    assert "its value at iteration 3,020 shows that about 27" in " ".join(summarise(replace(found, jump=later)))
    assert "its value at the jump shows" in " ".join(summarise(replace(found, jump=at_jump)))


@pytest.mark.parametrize("displays", [25, 60])
def test_a_collapse_within_a_falling_mean_is_found(displays: int) -> None:
    for seed in range(6):
        count = 20 * displays + 1
        onset = count * 3 // 5 + 7 * seed
        losses = then(falling(count, 5.6, 2.0, 0.1, seed), onset, steady(count, math.log(280)))
        found = examined(log_text(losses, average_loss=200, display=20, outputs=False)).onset
        assert found is not None
        assert found.low <= onset <= found.high


def test_a_window_estimated_from_the_noise_is_not_called_the_display_interval() -> None:
    losses = then(falling(12_001, 6.9, 2.2, 0.2), 9013, steady(12_001, math.log(1000)))
    found = examined(log_text(losses, display=20, average_loss=400))
    assert found.onset is not None
    assert found.onset.low <= 9013 <= found.onset.high
    said = " ".join(summarise(found))
    assert "assumed: the display interval" not in said
    assert "estimated from the noise" in said


@pytest.mark.parametrize(("images", "all_of_them"), [(1000, True), (1_000_000, False)])
def test_a_range_of_all_records_is_stated(images: int, *, all_of_them: bool) -> None:
    losses = then(falling(4001, 2.3, 0.4), 3000, steady(4001, math.log(10)))
    said = said_of(losses, facts=LogHeader(images=images, batch=64), display=20)
    assert ("all 1,000 records" in said) == all_of_them


# -- the learning rate ------------------------------------------------------------------------------------------------

POLICIES: dict[str, dict[str, Any]] = {
    "fixed": {},
    "step": {"gamma": 0.1, "stepsize": 900},
    "multistep": {"gamma": 0.5, "stepvalue": [700, 1500]},
    "poly": {"power": 0.5, "max_iter": 3000},
    "poly 1": {"power": 1, "max_iter": 3000},
    "poly 2": {"power": 2, "max_iter": 450_000},
    "poly 0.9": {"power": 0.9, "max_iter": 5000},
    "inv": {"gamma": 0.0001, "power": 0.75},
    "exp": {"gamma": 0.999},
    "sigmoid": {"gamma": -0.005, "stepsize": 1000},
}


def rates(name: str, base: float = 0.01) -> tuple[pb.SolverParameter, Series]:
    """A solver, and its learning rates as Caffe prints them."""
    solver = pb.SolverParameter(base_lr=base, lr_policy=name.split()[0], **POLICIES[name])
    iterations = np.arange(0, 2400, 20)
    rate = read_header(str(solver), None).rate
    assert rate is not None
    return solver, Series(iterations, np.array([float(f"{rate(int(i)):g}") for i in iterations]))


@pytest.mark.parametrize("name", POLICIES)
def test_the_rates_agree_with_their_solver(name: str) -> None:
    solver, shown = rates(name)
    header = read_header(str(solver), None)
    found = read_schedule(shown, LogHeader(rate=header.rate, policy=header.policy))
    assert found is not None
    assert found.agrees is True
    spoilt = Series(shown.iterations, shown.values * np.where(shown.iterations >= 1200, 1.001, 1))
    found = read_schedule(spoilt, LogHeader(rate=header.rate, policy=header.policy))
    assert found is not None
    assert found.differs is not None
    assert found.differs[0] == 1200


@pytest.mark.parametrize("name", [n for n in POLICIES if n not in ("sigmoid",)])
def test_the_policy_is_inferred(name: str) -> None:
    solver, shown = rates(name)
    found = read_schedule(shown, LogHeader())
    assert found is not None
    assert found.policy == name.split()[0].removeprefix("multi")
    assert found.base_lr == pytest.approx(solver.base_lr, rel=1e-6)
    if name.startswith("poly"):
        assert found.power == pytest.approx(solver.power)
        assert found.max_iter == solver.max_iter
    if solver.lr_policy in ("step", "multistep", "inv", "exp"):
        assert found.gamma == pytest.approx(solver.gamma, rel=1e-3)


def test_a_rise_of_the_rate_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = then(falling(4001, 2.3, 0.4), 3000, steady(4001, math.log(10)))
    (tmp_path / "log").write_text(log_text(losses, display=20, lr=lambda i: 0.1 if i >= 2980 else 0.01))
    found = as_json(tmp_path / "log", capsys=capsys)
    assert found["schedule"]["rises"] == [{"iteration": 2980, "from": 0.01, "to": 0.1}]
    assert any("from 0.01 to 0.1 at iteration 2,980: just before the jump" in s for s in found["findings"])


def test_few_rates_that_fit_several_policies_give_none() -> None:
    iterations = np.arange(1_851_300, 1_851_800, 100)
    shown = Series(iterations, np.array([float(f"{0.0003 * (1 - i / 4.6e6):g}") for i in iterations]))
    found = read_schedule(shown, LogHeader())
    assert found is not None
    assert found.policy is None
    one = read_schedule(Series(iterations[:1], shown.values[:1]), LogHeader())
    assert one is not None
    assert one.only_one
    said = said_of(falling(11, 2.0, 1.9), display=20)
    assert "The learning rate was displayed once: 0.001." in said


def test_a_warm_up_is_one_rise() -> None:
    shown = Series(np.arange(0, 500, 10), np.minimum(0.001 * 1.1 ** np.arange(50), 0.01))
    found = read_schedule(shown, LogHeader())
    assert found is not None
    assert found.rises == ((10, 0.001, 0.01),)


# -- the prototxt in the log ------------------------------------------------------------------------------------------


def test_headers_of_forks_and_truncated_headers() -> None:
    solver = 'base_lr: 0.1\nlr_policy: "fixed"\nplateau_winsize: 7\ndisplay: 5\naverage_loss: 3\nsolver_mode: QUANTUM\n'
    net = """name: "x" layer { name: "d" type: "Data" top: "d" top: "l" data_param { batch_size: 6 backend: ZARR } }
layer { name: "t" type: "Data" top: "d" top: "l" include { phase: TEST } data_param { batch_size: 9 } }
layer { name: "ip" type: "InnerProduct" bottom: "d" top: "ip" inner_product_param { num_output: 7 quantize: true } }
layer { name: "s" type: "SoftmaxWithLoss" bottom: "ip" bottom: "l" top: "s" fancy_param { a: 1 } }"""
    found = read_header(solver, net.replace(" backend: ZARR", "\nbackend: ZARR\n"))
    assert (found.display, found.average_loss, found.policy) == (5, 3, "fixed")
    assert (found.batch, found.heads) == (6, (Head("s", 1.0, 7),))
    for cut in range(0, len(net), 7):
        read_header(solver[:cut], net[:cut])
    assert read_header(None, "not a net {").heads == ()


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a log and files that are no logs."""
    monkeypatch.chdir(tmp_path)
    Path("case.log").write_bytes(CASE.read_bytes())
    Path("empty.log").touch()
    Path("other.log").write_text("one\ntwo\nthree\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.log"], "nowhere.log"),
        (["empty.log"], "no training run in it, in 0 lines"),
        (["other.log"], "no training run in it, in 3 lines"),
        (["."], "a directory without a solver.log"),
        (["case.log", "--plot", "case.gif"], ".png or .svg"),
        (["nowhere.log", "--plot", "case.pdf"], ".png or .svg"),
        (["case.log", "--csv", "other.log"], ".csv"),
        (["case.log", "--csv", "--json"], "--csv"),
        (["case.log", "--solver", "nowhere.prototxt"], "nowhere.prototxt"),
        (["case.log", "--rules", "nowhere.toml"], "nowhere.toml"),
        (["case.log", "--plot", "nowhere/case.png"], "cannot be written"),
        (["case.log", "other.log", "--follow"], "--follow"),
    ],
)
def test_bad_input_is_one_clear_error(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(arguments) == 2
    done = capsys.readouterr()
    assert words in done.err
    assert "Iteration 40, loss" in done.err or "no training run" not in done.err
    assert sorted(p.name for p in home.iterdir()) == ["case.log", "empty.log", "other.log"]
    assert not done.out


def test_several_runs_and_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.log").write_text(
        log_text(falling(2001, 2.3, 0.4), display=20) + log_text(falling(61, 2.3, 0.4), display=20)
    )
    found = as_json(tmp_path / "two.log", CASE, capsys=capsys)
    assert [(Path(r["log"]).name, r["run"]) for r in found["runs"]] == [("two.log", 1), ("two.log", 2), ("case.log", 1)]
    assert found["verdict"] == "uniform-softmax"
    assert main([str(tmp_path / "two.log"), str(CASE), "--plot", str(tmp_path / "x.png")]) == 0
    said = capsys.readouterr().out
    assert "two.log, run 2" in said


def test_a_log_without_displays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stamp = "I0515 08:44:41.838122  1279 solver.cpp"
    lines = [
        f"{stamp}:337] Iteration {i}, Testing net (#0)\n{stamp}:404]     Test net output #0: top-1 = 0.{i}"
        for i in (1, 2)
    ]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    found = as_json(tmp_path / "log", "--plot", tmp_path / "log.svg", capsys=capsys)
    assert (found["verdict"], found["displays"], found["iterations"]) == ("unknown", 0, [1, 2])
    assert "Test output top-1: 0.1 at iteration 1, 0.2 at 2." in found["findings"]


def test_limits_from_a_file_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text(log_text(steady(1001, math.log(10)), display=20))
    (tmp_path / "rules.toml").write_text("[loss_not_decreasing]\niterations = 5000\n")
    assert as_json(tmp_path / "log", capsys=capsys)["strength"] == "clear"
    assert as_json(tmp_path / "log", "--rules", tmp_path / "rules.toml", capsys=capsys)["strength"] == "likely"
    (tmp_path / "rules.toml").write_text("[uniform_collapse]\nenabled = false\n")
    assert as_json(CASE, "--rules", tmp_path / "rules.toml", capsys=capsys)["verdict"] == "drift/oscillation"
    assert as_json(tmp_path / "log", "--rules", tmp_path / "rules.toml", capsys=capsys)["verdict"] == "unknown"


def test_pictures_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(CASE), "--plot", str(tmp_path / "case.png")]) == 0
    picture = cv2.imread(str(tmp_path / "case.png"))
    assert picture is not None
    assert picture.shape[1] > 1000
    assert main([str(CASE), "--plot", str(tmp_path / "case.svg")]) == 0
    texts = " ".join(e.text or "" for e in ET.parse(tmp_path / "case.svg").iter() if e.tag.endswith("text"))
    for words in ("chance level 5.635 (280 classes)", "chance level 9.016 (total)", "jump at 119,040", "loss3/top-1"):
        assert words in texts
    for name, (losses, display, _) in VERDICTS.items():
        if name in ("falls, every iteration", "NaN", "NaN from the start", "Euclidean", "negative", "two displays"):
            (tmp_path / "log").write_text(log_text(losses, display=display))
            assert main([str(tmp_path / "log"), "--plot", str(tmp_path / "again.svg")]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"case.png", "case.svg", "again.svg", "log"}


def test_the_table_of_displays_as_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(CASE), "--csv"]) == 0
    printed = capsys.readouterr().out
    assert main([str(CASE), "--csv", str(tmp_path / "case.csv")]) == 0
    assert "verdict" in capsys.readouterr().out
    assert (tmp_path / "case.csv").read_text() == printed
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["iteration"] for row in rows] == ["40", "119000", "119040", "161040"]
    assert rows[2] | {"log": ""} == {
        "log": "", "run": "1", "iteration": "119040", "loss": "8.3068", "lr": "0.000922605", "loss1/loss1": "5.77026",
        "loss2/loss1": "5.76971", "loss3/loss3": "5.70022",
    }  # fmt: skip


def test_damaged_lines_and_a_fatal_error_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = log_text(falling(2001, 2.3, 0.4), display=20).replace(
        "Iteration 400, loss = ", "Iteration 400, loss = 0.x", 1
    )
    (tmp_path / "log").write_text(
        text + "F0515 08:50:00.000000  1279 syncedmem.hpp:33] Check failed: *ptr host allocation\n"
    )
    said = " ".join(as_json(tmp_path / "log", capsys=capsys)["findings"])
    assert "1 damaged line could not be used" in said
    assert "The process died: " in said
