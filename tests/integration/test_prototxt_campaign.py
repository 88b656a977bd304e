"""A small part of the campaign of mutated solvers and nets (`python -m tools.campaigns prototxt`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.exit_codes import Exit
from tools.campaigns import prototxt
from tools.campaigns.base_nets import Base, bases, data_directory
from tools.campaigns.campaign import Case

pytestmark = pytest.mark.usefixtures("one_blas_thread")


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Restore what a case changes."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def failures(cases: list[Case]) -> list[str]:
    return [f"{case.number}: {case.kind}: {case.failure}" for case in cases if case.failure]


@pytest.mark.parametrize("base", [base for base in bases() if base.quick], ids=lambda base: base.name)
def test_the_bases_themselves_are_planned(tmp_path: Path, base: Base) -> None:
    for what, text in (("solver", base.solver), ("net", base.net)):
        text = text.replace("{net}", f"{tmp_path}/net.prototxt").replace("{data}", str(data_directory()))
        (tmp_path / f"{what}.prototxt").write_text(text)
    assert prototxt.refusal_of(tmp_path) is None


def test_mutated_solvers_and_nets_are_planned_or_refused() -> None:
    cases = [prototxt.check(number) for number in range(1, 300) if number % prototxt.WHOLE_WAY]
    assert not failures(cases)
    assert min(sum(case.outcome == outcome for case in cases) for outcome in ("planned", "refused")) > 80


def test_mutated_solvers_and_nets_end_as_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototxt, "WHOLE_WAY", 1)
    assert not failures([prototxt.check(number) for number in (3, 5, 8)])


def test_a_mutated_net_that_caffe_cannot_build_is_bad_input(tmp_path: Path) -> None:
    """The campaign itself sees the difference between a refusal that Caffe shares and one that it does not."""
    net = bases()[5].net.replace("{data}", str(data_directory()))
    (tmp_path / "solver.prototxt").write_text(bases()[5].solver.replace("{net}", f"{tmp_path}/net.prototxt"))
    (tmp_path / "net.prototxt").write_text(net.replace("axis: 0", "axis: 9"))
    case = prototxt.whole_way(0, "an axis", tmp_path, None)
    assert case.failure is None
    assert case.outcome == f"exit {int(Exit.BAD_INPUT)} while building, Caffe fails as well"
    (tmp_path / "net.prototxt").write_text(net)
    assert prototxt.trained_by_caffe(tmp_path)[0]
