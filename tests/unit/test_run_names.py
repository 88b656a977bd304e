"""The directory of a restart is named after what it changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.supervisor.run_names import free_directory, restart_name


@pytest.mark.parametrize(
    ("run", "changes", "start", "name"),
    [
        ("demo", ["clip_gradients=10"], None, "demo-clip_gradients=10"),
        ("demo", [], 800, "demo-from-800"),
        ("demo", ["base_lr=5e-4", "momentum=0.5"], None, "demo-base_lr=5e-4-momentum=0.5"),
        ("demo", ["base_lr = 0.001"], 700, "demo-base_lr=0.001-from-700"),
        ("demo", ["loss*/classifier:lr_mult=1"], None, "demo-loss_classifier.lr_mult=1"),
        ("demo", ["inception_*:param[0].lr_mult=0"], None, "demo-inception.param_0.lr_mult=0"),
        ("demo", ["*:lr_mult=0"], None, "demo-lr_mult=0"),
        ("demo", ['type="Adam"', "stepvalue=1,2"], None, "demo-type=Adam-stepvalue=1,2"),
        ("demo", ["clip_gradients="], None, "demo-clip_gradients=default"),
        ("demo", ["skip-841-843", "history-reset"], None, "demo-skip-841-843-history-reset"),
        ("my run", ["seed=3"], None, "my_run-seed=3"),
        ("--x", ["seed=3"], None, "x-seed=3"),
        ("глифы", ["seed=3"], None, "глифы-seed=3"),
        ("$(id)", ["type=$(touch x);/y"], None, "_id_-type=_touchx_y"),
    ],
)
def test_names(run: str, changes: list[str], start: int | None, name: str) -> None:
    assert restart_name(run, changes, start) == name


@pytest.mark.parametrize("run", ["demo", "ü" * 100, "." * 9, "\udcff\n/x"])
def test_names_are_short_and_need_no_quotes(run: str) -> None:
    name = restart_name(run, [f"layer{n}/3x3:lr_mult={n}" for n in range(40)] + ["a b\n\x1b'\"\\;&|<>#~`!{}"], 5)
    assert re.fullmatch(r"\w[\w.=+,-]*", name)
    assert len(name.encode()) <= 120


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    assert free_directory(tmp_path, "demo-seed=3") == tmp_path / "demo-seed=3"
    (tmp_path / "demo-seed=3").mkdir()
    (tmp_path / "demo-seed=3-2").symlink_to("nowhere")
    assert free_directory(tmp_path, "demo-seed=3") == tmp_path / "demo-seed=3-3"
