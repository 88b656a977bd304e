"""The verdict of `readlog` on logs as people post them, and how strong its evidence is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.made_up_logs import examined, jump_of
from tests.helpers.posted_logs import LN10, LN1000, TOP, noisy, passes, rows

NVCAFFE = "I0819 12:00:14.408243 16082 solver.cpp:350] Iteration {} (6.1 iter/s, 6.5s/40 iter), 64.6/170.6ep, loss = {}"
BARE = "Iteration {}, loss = {}"
GOOGLENET = ("loss1/loss1", "loss2/loss1", "loss3/loss3")


def wobbling(count: int, level: float, by: float = 0.003) -> np.ndarray:
    return np.asarray(level * (1 + by * np.cos(np.arange(count) * 2.4)))


def three(count: int, level: float) -> str:
    heads = [wobbling(count, level, 0.001), wobbling(count, level, 0.002), wobbling(count, level, 0.001)]
    return rows(1.6 * wobbling(count, level, 0.001), step=40, heads=heads, names=GOOGLENET, weights=(0.3, 0.3, 1.0))


HEALTHY, UNIFORM, SATURATED, NAN = "healthy", "uniform-softmax", "saturated-softmax", "nan"
DRIFT, UNKNOWN = "drift/oscillation", "unknown"
FALLS = [2.3, 1.6, 1.2, 0.9, 0.8, 0.72, 0.66, 0.61]

# name: log, verdict, strength, jump
POSTED: dict[str, tuple[str, str, str | None, int | None]] = {
    # at chance level from the first display on
    "three rows at ln 10": (rows([2.3027, 2.3021, 2.3031]), UNIFORM, "likely", None),
    "two rows at ln 10": (rows([2.31, 2.3]), UNIFORM, "hint", None),
    "ten rows at ln 2": (rows(wobbling(10, 0.6931, 0.004)), UNIFORM, "likely", None),
    "ln 2 after a first value of 0.9": (rows([0.9, 0.694, 0.693, 0.6932, 0.6931]), UNIFORM, "likely", None),
    "ln 1000 after 31": (rows([31.2, 7.05, 6.92, 6.91, 6.909, 6.906, 6.908]), UNIFORM, "likely", None),
    "ln 1000, far into the run": (rows([6.9079, 6.9077, 6.9078, 6.9078], first=78_000), UNIFORM, "likely", None),
    "ln 21, nvcaffe": (rows([3.05, 3.045, 3.0444], step=40, line=NVCAFFE), UNIFORM, "likely", None),
    "GoogLeNet, three heads": (three(12, LN1000), UNIFORM, "likely", None),
    "GoogLeNet, the total alone": (rows(1.6 * wobbling(6, LN1000, 0.001)), UNIFORM, "likely", None),
    "ln 10, and guesses": (
        rows([2.33, 2.29, 2.31]) + passes({200: {"accuracy": 0.1, "loss": 2.31}}), UNIFORM, "likely", None),
    "ln 5 from 87": (rows([TOP, TOP, 1.612, 1.608, 1.61, 1.609]), UNIFORM, "likely", None),
    "old Caffe, a score": (
        f"{rows([6.9063, 6.9072], first=78_000, step=20)}I0127 08:53:57.6 37204 solver.cpp:90] Testing net\n"
        "I0127 08:56:01.3 37204 solver.cpp:117] Test score # 0: 0.001\n"
        "I0127 08:56:01.3 37204 solver.cpp:117] Test score # 1: 6.90977\n", UNIFORM, "likely", None),
    "tests alone, guessing": (
        passes({n: {"accuracy": 0.1, "loss": 2.3026} for n in (0, 500, 1000)}), UNIFORM, "likely", None),
    "accuracy alone, always 1 / 5": (
        passes({n: {"accuracy": 0.2} for n in (0, 500, 1000)}), UNIFORM, "hint", None),
    "learned, then ln 10": (rows([2.3, 1.1, 0.7, 0.5, LN10, LN10, LN10]), UNIFORM, "likely", 400),
    # not at chance level, although near
    "learned level of 0.69": (rows([2.3, 1.5, 1.1, 0.9, 0.75, 0.71, 0.68, 0.7, 0.67, 0.69]), HEALTHY, "likely", None),
    "mid-run, noisy about 0.69": (rows([0.71, 0.62, 0.78, 0.69, 0.66], first=20_000), HEALTHY, "hint", None),
    "slowly leaving ln 1000": (rows([6.93, 6.88, 6.81, 6.7, 6.55, 6.4]), HEALTHY, "likely", None),
    "mid-run, noisy about ln 10": (rows([2.41, 2.2, 2.35, 2.27, 2.18], first=50_000), HEALTHY, "hint", None),
    # saturated, or large from the start
    "87.3365 from the start": (rows([TOP, TOP, TOP]), SATURATED, "likely", None),
    "87.3365 once": (rows([TOP]), SATURATED, "likely", None),
    "87.3365 later": (rows([2.3, 1.9, 1.5, TOP, TOP, TOP]), SATURATED, "likely", 300),
    "75 from the start: labels": (rows([75.07, 77.27]), UNKNOWN, None, None),
    "60 from the start, longer": (rows([61.2, 58.3, 63.1, 60.2, 59.9, 61.7, 60.3]), UNKNOWN, None, None),
    # not finite
    "NaN at once": (rows([np.nan]), NAN, "clear", None),
    "NaN from the start, three rows": (rows([np.nan] * 3), NAN, "clear", None),
    "NaN later": (rows([2.3, 1.8, np.nan, np.nan]), NAN, "clear", 200),
    "-nan": (BARE.format(0, "2.3") + "\n" + BARE.format(100, "-nan") + "\n", NAN, "clear", 100),
    "inf": (BARE.format(0, "2.3") + "\n" + BARE.format(100, "inf") + "\n", NAN, "clear", 100),
    "NaN after growth": (rows([0.7, 0.71, 30, 4e5, np.nan, np.nan]), NAN, "clear", 200),
    "NaN in the tests": (passes({0: {"accuracy": 0.1, "loss": np.nan}}), NAN, "likely", None),
    # worse, without a known level
    "1e+37": (rows([2.3, 2.2, 1e37]), DRIFT, "hint", 200),
    "explodes": (rows([1.2, 1.1, 1.3, 40, 8e3, 2e6]), DRIFT, "likely", 300),
    "from the first display on": (rows([1.6e5, 1e9, 3e12]), DRIFT, "likely", 100),
    "a step up": (rows([0.52, 0.48, 0.5, 1.4, 1.35, 1.38]), DRIFT, "likely", 300),
    "rises one by one": (rows([0.5, 0.62, 0.71, 0.8, 0.95, 1.1]), DRIFT, "hint", None),
    "noise at a high level": (
        rows([3.2, 3.0, 3.2, 3.3, 3.2], first=37_600, heads=[[3.5, 2.2, 2.7, 4.7, 2.1]]), DRIFT, "hint", None),
    "noise, and guesses": (
        rows([0.43, 0.12, 0.68, 0.63, 0.64, 0.68, 0.86, 0.63], first=1000, step=400)
        + passes({4200: {"accuracy": 0.58}}), DRIFT, "hint", None),
    "swings": (rows(np.tile([0.4, 0.5, 2.0, 2.4], 12)), DRIFT, "clear", None),
    "sigmoid targets of 0 and 255": (rows([-42_890, -150_000, -270_000, -400_000]), DRIFT, "likely", None),
    "falls below zero": (rows([0.69, -3, -9, -16, -22, -30]), DRIFT, "likely", None),
    # nothing to learn
    "always 0": (rows([0.0] * 10), UNKNOWN, None, None),
    "1e-8 from the start": (rows([1.2e-8, 1.1e-8, 1.2e-8]), UNKNOWN, None, None),
    "one row, a new net": (rows([2.3026]), UNKNOWN, None, None),
    "one row, unknown": (rows([3.7], first=100), UNKNOWN, None, None),
    "no row": (passes({0: {"accuracy": 0.3}}), UNKNOWN, None, None),
    # healthy
    "two rows, falling": (rows([2.3, 0.7]), HEALTHY, "hint", None),
    "five rows, falling": (rows(FALLS[:5]), HEALTHY, "hint", None),
    "eight rows, falling": (rows(FALLS), HEALTHY, "likely", None),
    "many rows, falling": (rows(2.3 * np.exp(-np.arange(60) / 12) + 0.1), HEALTHY, "clear", None),
    "five low rows of a later part": (rows([0.04, 0.06, 0.05, 0.03, 0.05], first=9000), HEALTHY, "hint", None),
    "nvcaffe, a later part": (
        rows([1.9, 2.1, 1.8, 2.0, 1.95], first=8000, step=40, line=NVCAFFE), HEALTHY, "hint", None),
    "falls to 0": (rows([0.69, 0.2, 0.01, 1e-5, 0, 0]), HEALTHY, "likely", None),
    "Euclidean": (rows([160_000, 31_000, 9000, 4200, 3900, 3600]), HEALTHY, "likely", None),
    "in scientific notation": (rows([1.2e-2, 4.1e-3, 9.8e-4, 8.1e-4]), HEALTHY, "hint", None),
    "legitimately negative": (rows([1.0, -0.4, -1.1, -1.5, -1.6, -1.63, -1.64, -1.64, -1.65]), HEALTHY, "likely", None),
    "GAN, two heads": (
        rows(wobbling(12, 1.4, 0.1), first=5000, heads=[wobbling(12, 0.6, 0.2), wobbling(12, 0.8, 0.1)],
             names=("d_loss", "g_loss"), weights=(1.0, 1.0)), HEALTHY, "hint", None),
    "detection, four heads": (
        rows(noisy(10, 0.9, 0.4), first=20_000, step=20,
             heads=[noisy(10, level, 0.5, k) for k, level in enumerate((0.3, 0.2, 0.3, 0.1))],
             names=("bbox_loss", "cls_loss", "rpn_cls_loss", "rpn_loss_bbox"), weights=(1.0,) * 4),
        HEALTHY, "hint", None),
    "one test pass": (passes({3000: {"loss1/top-1": 0.88, "loss1/loss1": 0.28}}), HEALTHY, "hint", None),
    "tests that improve": (
        passes({0: {"accuracy": 0.1, "loss": 2.31}, 500: {"accuracy": 0.45, "loss": 1.5}}), HEALTHY, "hint", None),
    "accuracy alone, rising": (passes({0: {"acc": 0.1}, 500: {"acc": 0.5}, 900: {"acc": 0.55}}), HEALTHY, "hint", None),
}  # fmt: skip


@pytest.mark.parametrize("name", POSTED)
def test_the_verdict_on_posted_logs(name: str) -> None:
    text, verdict, strength, jump = POSTED[name]
    found = examined(text)
    assert (found.verdict, found.strength, jump_of(found)) == (verdict, strength, jump), (found.why, found)
