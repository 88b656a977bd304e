"""The verdict of `readlog` on logs as people post them, and how strong its evidence is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from harness.caffe_files.log_header import LogHeader, read_header
from harness.caffe_log.reader import read_log
from harness.diagnosis.logged.examine import examine
from harness.readlog import main
from harness.reports.text.log_summary.summary import summarise
from harness.schemas.layout import Head
from tests.helpers.made_up_logs import LIMITS, as_json, examined, jump_of, log_text
from tests.helpers.posted_logs import LN10, LN1000, STAMP, TOP, noisy, passes, rows

Capture = pytest.CaptureFixture[str]

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
NOISY_THEN_LN20 = np.r_[(0.3 + 2.7 * np.exp(-np.arange(8) / 2)) * noisy(8, 1, 0.2, 1), 2.9957, 2.9951, 2.9962, 2.9955]
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
    "accuracy alone, stuck after the first pass": (
        passes({n: {"accuracy": 0.11 if n == 0 else 0.1} for n in (0, 500, 1000, 1500)}), UNIFORM, "hint", None),
    "noisy about ln 2 from the start": (
        rows([0.6987, 0.7210, 0.6655, 0.7043, 0.6841, 0.6911], step=20), UNIFORM, "hint", None),
    "learned, then ln 10": (rows([2.3, 1.1, 0.7, 0.5, LN10, LN10, LN10]), UNIFORM, "likely", 400),
    "learned with noise, then ln 20": (
        rows(NOISY_THEN_LN20, heads=[NOISY_THEN_LN20]), UNIFORM, "likely", 800),
    # not at chance level, although near
    "learned level of 0.69": (rows([2.3, 1.5, 1.1, 0.9, 0.75, 0.71, 0.68, 0.7, 0.67, 0.69]), HEALTHY, "likely", None),
    "mid-run, noisy about 0.69": (rows([0.71, 0.62, 0.78, 0.69, 0.66], first=20_000), HEALTHY, "hint", None),
    "slowly leaving ln 1000": (rows([6.93, 6.88, 6.81, 6.7, 6.55, 6.4]), HEALTHY, "likely", None),
    "mid-run, stable, after a higher first row": (
        rows([1.35, 1.2, 1.24, 1.17], first=30_000, step=20, line=BARE), HEALTHY, "hint", None),
    "flat, then two rows that fall": (
        rows([*wobbling(8, LN1000, 0.001), 6.7, 6.3], step=1000, line=BARE), HEALTHY, "likely", None),
    "mid-run, noisy about ln 10": (rows([2.41, 2.2, 2.35, 2.27, 2.18], first=50_000), HEALTHY, "hint", None),
    # saturated, or large from the start
    "87.3365 from the start": (rows([TOP, TOP, TOP]), SATURATED, "likely", None),
    "87.3365 once": (rows([TOP]), SATURATED, "likely", None),
    "GoogLeNet, the total at 1.6 times 87.3365": (rows([139.738] * 3), SATURATED, "likely", None),
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
    "always 0, in a later part": (rows([0.0] * 3, first=4000), UNKNOWN, None, None),
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


@pytest.mark.parametrize("count", [2, 12, 80])
def test_labels_out_of_range_are_no_saturated_softmax(count: int) -> None:
    """Three of four records cost 87.3365, the others about ln 10."""
    found = examined(rows(noisy(count, 0.8 * TOP + 0.2 * LN10, 0.02), step=20), LogHeader(classes=10))
    assert (found.verdict, found.why, found.jump) == ("unknown", "large start", None)
    assert any("labels lie in 0 … classes - 1" in sentence for sentence in summarise(found))


@pytest.mark.parametrize("weight", ["nan", "inf", "0", "-1"])
def test_odd_loss_weights_do_no_harm(weight: str) -> None:
    text = rows([2.31, 2.3, 2.305], heads=[[2.31, 2.3, 2.305]]).replace("(* 1 =", f"(* {weight} =")
    assert examined(text).verdict in (UNIFORM, UNKNOWN)


@pytest.mark.parametrize("name", POSTED)
def test_the_verdict_on_posted_logs(name: str) -> None:
    text, verdict, strength, jump = POSTED[name]
    found = examined(text)
    assert (found.verdict, found.strength, jump_of(found)) == (verdict, strength, jump), (found.why, found)


def header_of(net: str) -> str:
    """What Caffe prints before it trains `net`."""
    return (
        f"{STAMP} solver.cpp:45] Initializing solver from parameters: \nbase_lr: 0.01\n"
        f"{STAMP} net.cpp:49] Initializing net from parameters: \n{net}{STAMP} solver.cpp:279] Solving x\n"
    )


# -- nets that learn late, noise that is no rise, and chance level in noise --------------------------------------------


@pytest.mark.parametrize("share", [0.6, 0.8, 0.95])
@pytest.mark.parametrize("level", [0.6931, LN10, LN1000])
def test_a_net_that_begins_to_learn_late_is_healthy(share: float, level: float) -> None:
    """Many nets stay at chance level for thousands of iterations."""
    rows_, flat = np.arange(6000), int(6000 * share)
    losses = np.where(rows_ < flat, level, level * (1 - 0.00025 * (rows_ - flat)).clip(0.5))
    found = examined(log_text(losses * noisy(6000, 1, 0.003, 3), display=20))
    assert (found.verdict, found.jump) == (HEALTHY, None)
    assert not any("never learned" in sentence or "has not fallen" in sentence for sentence in summarise(found))


def test_a_slow_start_is_described_as_such() -> None:
    losses = (LN1000 - 0.13 * np.arange(3000) / 3000) * noisy(3000, 1, 0.0015, 2)
    found = examined(log_text(losses, display=20))
    assert (found.verdict, found.why, found.strength) == (HEALTHY, "late fall", "likely")
    assert "falls at the end of the log" in " ".join(summarise(found))


@pytest.mark.parametrize("first", [0, 20_000])
@pytest.mark.parametrize("count", [4, 6, 9, 12, 19, 26])
def test_noise_of_few_displays_is_no_rise(first: int, count: int) -> None:
    """Losses of batches of one image are often 20 times lower than their neighbours."""
    for seed in range(40):
        level = 0.3 + 2 * np.exp(-5 * np.arange(count) / count)
        losses = level * np.random.default_rng(seed).gamma(1.5, 0.67, count)
        found = examined(rows(losses, first=first, step=50, line=BARE))
        assert found.why not in ("rise", "step"), losses


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.08])
@pytest.mark.parametrize("classes", [2, 10])
def test_a_loss_that_stays_about_chance_level_in_noise(noise: float, classes: int) -> None:
    losses = np.log(classes) * (1 + noise * np.random.default_rng(5).standard_normal(5000))
    found = examined(log_text(losses, display=20))
    assert (found.verdict, found.heads[0].classes, found.jump) == (UNIFORM, classes, None)
    assert "displays show little" not in " ".join(summarise(found))


@pytest.mark.parametrize("before", [0.4, 3.0])
def test_a_noisy_level_that_a_loss_came_to_is_not_at_chance(before: float) -> None:
    """A loss of 1.1 with noise of a tenth is not ln 3 = 1.0986, where it was elsewhere before."""
    losses = np.r_[noisy(60 if before > 1.1 else 3000, before, 0.1, 1), noisy(5000, 1.1, 0.1, 2)]
    assert examined(log_text(losses, display=20)).verdict == (HEALTHY if before > 1.1 else DRIFT)


def test_a_text_says_that_a_loss_stays_only_where_that_was_seen() -> None:
    assert "stays" not in " ".join(summarise(examined(rows([6.93, 5.5, 4.2], step=1000))))
    assert "0.6 and stays there" in " ".join(summarise(examined(rows([2.3, 1.1, 0.7, *[0.6] * 12]))))


def test_a_loss_that_fell_and_rose_again_is_not_at_its_initial_level() -> None:
    found = examined(rows([2.46, 1.07, 0.72, 0.57, 0.48, 2.3, 2.31]))
    assert found.verdict == UNKNOWN
    assert "fell from 2.46 to 0.48 and is 2.31 at the end" in " ".join(summarise(found))


def test_two_displays_that_fall_are_not_at_one_level() -> None:
    assert examined(rows([8.12, 7.45, 6.74])).verdict == HEALTHY


# -- losses that leap or fall below zero, test losses that rise -------------------------------------------------------


def sawtooth(iterations: int, period: int, low: float, high: float, noise: float = 0.15) -> np.ndarray:
    phase = np.arange(iterations) % period / period
    return np.asarray((low + (high - low) * np.exp(-4 * phase)) * noisy(iterations, 1, noise))


@pytest.mark.parametrize(("period", "display"), [(100, 25), (500, 20), (1000, 20), (10_000, 100)])
@pytest.mark.parametrize("periods", [4, 11])
@pytest.mark.parametrize("average", [1, 20])
def test_losses_that_leap_with_a_regular_period(period: int, display: int, periods: int, average: int) -> None:
    losses = sawtooth(period * periods, period, 0.1, 3)
    found = examined(log_text(losses, display=display, average_loss=average))
    assert (found.verdict, found.jump) == (DRIFT, None)
    assert found.leaps is not None
    assert found.leaps.period == pytest.approx(period, rel=0.05)
    assert f"with a period of {found.leaps.period:,} iterations" in " ".join(summarise(found))


def test_losses_that_repeat_exactly_at_chance_level() -> None:
    """As of records sorted by class, displayed where the class changes."""
    pattern = np.tile([1.71188, 1.76606, 1.66038, 1.80722], 14)
    found = examined(rows(np.r_[1.66, 0.79, 1.78, 1.5, 1.89, pattern], step=25), LogHeader(classes=4))
    assert found.leaps is not None
    assert (found.verdict, found.leaps.period, found.jump) == (DRIFT, 100, None)


def test_a_loss_that_falls_in_steps_does_not_leap() -> None:
    for kept in (0.5, 0.7):
        losses = 2.3 * kept ** (np.arange(20_000) // 3000) * noisy(20_000, 1, 0.1)
        assert examined(log_text(losses, display=20)).leaps is None


@pytest.mark.parametrize(
    ("type", "losses", "verdict"),
    [
        ("SigmoidCrossEntropyLoss", [0.69, -0.2, -0.5, -0.55, -0.56, -0.55], DRIFT),
        ("EuclideanLoss", [3.0, 2.0, 1.2, 0.8, 0.7, 0.6], HEALTHY),
        ("MyLoss", [0.69, -0.2, -0.5, -0.55, -0.56, -0.55], HEALTHY),
        ("MyLoss", [0.69, -5, -11, -18, -25, -33], DRIFT),
    ],
)
def test_losses_below_zero(type: str, losses: list[float], verdict: str) -> None:
    net = f'name: "x"\nlayer {{\n  name: "loss"\n  type: "{type}"\n  bottom: "a"\n  bottom: "b"\n  top: "loss"\n'
    net += "  loss_weight: 1\n}\n"
    text = header_of(net) + rows(losses, heads=[losses])
    run = read_log(io.BytesIO(text.encode()), "log").runs[-1]
    found = examine(run, read_header(run.solver_text, run.net_text), LIMITS)
    assert found.verdict == verdict
    if verdict == DRIFT:
        assert "targets of a sigmoid cross-entropy lie in 0 … 1" in " ".join(summarise(found))


def test_a_test_loss_that_rises_while_the_training_loss_falls(tmp_path: Path, capsys: Capture) -> None:
    displays = rows(2.3 * np.exp(-np.arange(41) / 12) + 0.05).splitlines(keepends=True)
    for name, losses in (("over", [1.2, 0.8, 0.7, 0.75, 0.9, 1.1, 1.4, 1.6]), ("good", [1.2, 0.8, 0.7, 0.69] * 2)):
        text = ""
        for number, loss in enumerate(losses):
            text += passes({500 * number: {"loss": loss}}) + "".join(displays[5 * number : 5 * number + 5])
        (tmp_path / name).write_text(text)
        found = as_json(tmp_path / name, capsys=capsys)
        if name == "good":
            assert found["overfitting"] is None
            continue
        assert found["overfitting"]["best"] == {"iteration": 1000, "value": 0.7}
        assert found["overfitting"]["last"] == {"iteration": 3500, "value": 1.6}
        assert any("rose from 0.7 at iteration 1,000 to 1.6 at 3,500" in sentence for sentence in found["findings"])
        assert found["verdict"] == HEALTHY


# -- where the number of classes comes from ---------------------------------------------------------------------------


def layer(name: str, kind: str, bottom: str, top: str, more: str = "") -> str:
    bottoms = "".join(f'  bottom: "{blob}"\n' for blob in bottom.split())
    return f'layer {{\n  name: "{name}"\n  type: "{kind}"\n{bottoms}  top: "{top}"\n{more}}}\n'


def test_the_classes_of_a_net_that_the_log_cuts_off(tmp_path: Path, capsys: Capture) -> None:
    head = "  inner_product_param {\n    num_output: 196\n  }\n"
    net = 'name: "x"\nstate {\n  phase: TRAIN\n}\n'
    for number in (1, 2, 3):
        net += layer(f"ip{number}", "InnerProduct", "data", f"ip{number}", head)
        net += layer(f"l{number}", "SoftmaxWithLoss", f"ip{number} label", GOOGLENET[number - 1], "  loss_weight: 1\n")
    cut = net[: net.index('name: "l3"') + 20]
    (tmp_path / "log").write_text(header_of(cut + "\n") + three(12, 1.004 * np.log(196)))
    found = as_json(tmp_path / "log", capsys=capsys)
    assert (found["verdict"], found["strength"], found["never_learned"]) == (UNIFORM, "likely", True)
    assert [(h["classes"], h["about"], h["classes_from"], h["state"]) for h in found["heads"]] == [
        (196, False, "net", "uniform")
    ] * 3


def test_the_classes_of_a_net_in_the_format_before_2014() -> None:
    old = """name: "x"
layers { name: "d" type: DATA top: "d" top: "l" data_param { batch_size: 6 } include { phase: TRAIN } }
layers { name: "ip" type: INNER_PRODUCT bottom: "d" top: "ip" inner_product_param { num_output: 7 } blobs_lr: 1 }
layers { name: "s" type: SOFTMAX_LOSS bottom: "ip" bottom: "l" top: "s" }
layers { name: "e" type: EUCLIDEAN_LOSS bottom: "ip" bottom: "l" top: "e" include { phase: TEST } }"""
    header = read_header(None, old)
    assert (header.batch, header.heads, header.loss_types) == (6, (Head("s", 1.0, 7),), {"s": "SoftmaxWithLoss"})


@pytest.mark.parametrize(
    ("classes", "text", "source", "words"),
    [
        (10, rows([2.31, 2.3, 2.305], heads=[[2.31, 2.3, 2.305]]), "given", "classes as given by --classes"),
        (None, rows([2.31, 2.3, 2.305], heads=[[2.31, 2.3, 2.305]]), "inferred", "classes inferred from the plateau"),
    ],
)
def test_the_output_says_where_the_classes_come_from(
    classes: int | None, text: str, source: str, words: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "log").write_text(text)
    options = ("--classes", classes) if classes else ()
    found = as_json(tmp_path / "log", *options, capsys=capsys)
    assert (found["heads"][0]["classes"], found["heads"][0]["classes_from"]) == (10, source)
    assert words in " ".join(found["findings"])
    assert main([str(tmp_path / "log"), *map(str, options)]) == 0
    assert f"10 classes ({'--classes' if classes else 'by the losses'})" in capsys.readouterr().out


def test_the_total_of_several_heads_is_named_as_such() -> None:
    text = POSTED["GoogLeNet, the total alone"][0]
    assert "The total is at 1.6·ln 1000 = 11.052" in " ".join(summarise(examined(text)))
