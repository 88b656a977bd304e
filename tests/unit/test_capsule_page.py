"""The page in a capsule: one file, no scripts, and a curve whatever the losses are."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.quantities import file_size
from harness.reports.html.capsule_page import CapsulePage, Command, Level, Member, Records, capsule_page
from harness.reports.html.loss_curve import loss_curve
from harness.reports.html.plot import Plot


def page(**fields: object) -> CapsulePage:
    values: dict[str, object] = {
        "name": "a <b>.capsule",
        "headline": "Training broke at iteration 7",
        "details": ("loss 1 → 9",),
        "breaks": True,
        "net": "net, 2 param blobs, 10 weights",
        "solver_type": "SGD",
        "first": 2,
        "until": 12,
        "onset": 7,
        "curve": None,
        "levels": (Level("loss", 1.0, float("nan"), None),),
        "commands": (Command("caffe-harness capsule run x", "trains"),),
        "members": (Member("run.json", "the run", 1234),),
        "data": (Records("data (Data)", 32, 1000),),
        "shrunk": (),
        "anonymous": False,
        "blank": 3,
        "versions": (("Caffe", "1.0.0"),),
    }
    return CapsulePage(**(values | fields))  # type: ignore[arg-type]


def test_the_page_is_one_small_file_without_scripts() -> None:
    html = capsule_page(page())
    assert len(html) < 40_000
    assert "<script" not in html
    assert "a &lt;b&gt;.capsule" in html
    assert re.findall(r"(?:src|href)=\"(?!data:)", html) == []


def test_it_says_what_is_private_in_it() -> None:
    known, anonymous = capsule_page(page()), capsule_page(page(anonymous=True, shrunk=("Momentum is zero",)))
    assert "It is not anonymous" in known
    assert "It was made anonymous" in anonymous
    assert "The pixels of 3 of these records are blank" in known
    assert "This capsule was made smaller" in anonymous
    assert "This capsule was made smaller" not in known


def curve(losses: list[float], chance: float | None = None) -> Plot | None:
    values = np.array(losses, np.float64)
    return loss_curve(np.arange(10, 10 + len(values)), values, 12, 14, chance)


@given(
    st.lists(st.floats(width=32), max_size=30),
    st.one_of(st.none(), st.floats(0, 1e6)),
)
def test_any_losses_give_a_curve_inside_its_box(losses: list[float], chance: float | None) -> None:
    found = curve(losses, chance)
    if found is None:
        assert np.isfinite(losses).sum() < 2
        return
    for line in found.lines:
        for point in line.points.split(" "):
            assert all(0 <= float(part) <= 100 for part in point.split(","))
    assert all(0 <= tick.at <= 100 for tick in (*found.across, *found.down))


def test_losses_of_many_orders_are_drawn_on_a_logarithmic_scale() -> None:
    found = curve([1, 2, 1, 1e5, 1e9])
    assert found is not None
    assert found.is_log
    assert [tick.text for tick in found.down] == ["1", "100", "10,000", "10⁶", "10⁸"]
    flat = curve([1, 2, np.nan, 3, 2], chance=2.5)
    assert flat is not None
    assert not flat.is_log
    assert len(flat.lines) == 2  # a gap where the loss is not finite
    assert flat.levels[0].at == pytest.approx(25, abs=3)


def test_sizes_have_units() -> None:
    assert [file_size(n) for n in (0, 999, 1000, 45_600, 999_400, 1_840_000, 1_118_000_000)] == [
        "0 bytes", "999 bytes", "1.0 kB", "45.6 kB", "999.4 kB", "1.8 MB", "1,118.0 MB",
    ]  # fmt: skip
