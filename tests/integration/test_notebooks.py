"""The notebooks, executed as by a user on the run of the demo and on runs of another net."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import papermill
import pytest
from jupyter_client.manager import KernelManager

from harness.recording import Recording
from harness.recording.result_files import write_sweep
from harness.schemas.sweep import Sweep, SweepLeg
from harness.supervisor.predict_client import predictions
from harness.training_data.read import read_records
from tests.helpers.commands import train
from tests.helpers.demo_runs import RESCUED
from tests.helpers.explanations import encoded, record_explanation
from tests.helpers.nets import small_net, solver_text
from tests.helpers.notebooks import NOTEBOOKS, Shown, read_notebook, shown
from tests.helpers.paths import ROOT

BREAK = 841  # of the demo
# ipykernel itself does what will be deprecated when it shuts down
WARNINGS = "error,ignore::PendingDeprecationWarning"


@pytest.fixture
def _a_user_without_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without settings and without kernels except that of this Python."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH", "MPLBACKEND", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # a bare `python` or `python3` there has no harness


Execute = Callable[..., Shown]


@pytest.fixture
def execute(tmp_path: Path, _a_user_without_jupyter: None) -> Execute:
    """Execute a notebook with parameters, started in the directory `cwd`; a warning is an error."""

    def of(name: str, cwd: Path = NOTEBOOKS, **parameters: object) -> Shown:
        out = tmp_path / "out.ipynb"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONWARNINGS", WARNINGS)
            papermill.execute_notebook(
                NOTEBOOKS / f"{name}.ipynb", out, parameters, kernel_name="python3", cwd=cwd, progress_bar=False
            )
        return shown(read_notebook(out))

    return of


@pytest.mark.usefixtures("_a_user_without_jupyter")
def test_the_kernel_is_this_python() -> None:
    assert KernelManager(kernel_name="python3").format_kernel_cmd()[0] == sys.executable


# -- the demo's run ---------------------------------------------------------------------------------------------------


def test_post_mortem_of_the_demo(execute: Execute, demo: Path) -> None:
    """It finds the fault that is planted according to prototxt/glyphs280/README.md."""
    with Recording(demo) as recording:
        losses, gradients = recording.series("loss"), recording.stat("gradient_l2").values
        heads = predictions(recording, BREAK)
    seen = execute("post_mortem", run=str(demo))
    assert seen.pictures == ["curves", "layers", "spectra", "batch"]
    assert "uniform" in seen.text["status"]
    onset = re.search(r"iteration \*\*841\*\*: loss ([\d.]+) ", seen.text["onset"])
    assert onset is not None
    assert float(onset[1]) == pytest.approx(np.median(losses[BREAK - 40 : BREAK]), rel=1e-3)
    row = next(line for line in seen.text["around"].splitlines() if line.startswith("| **841** |"))
    assert float(row.split("|")[5]) == pytest.approx(np.linalg.norm(gradients[BREAK]), rel=1e-3)
    assert float(row.split("|")[6]) > 100  # times the baseline
    assert seen.text["forward"].splitlines()[2].startswith("| `data` |")
    assert "conv1/3x3_s1/0" in seen.text["elements"]
    assert "16 of the 32 images" in seen.text["oddities"]
    assert re.search(r"`00026920_\S+\.tif` to `00026935_\S+\.tif`", seen.text["oddities"])
    assert "In 52 of 52 param blobs" in seen.text["identity"]
    assert seen.text["momentum"].splitlines()[3].endswith("| 1.00 | 0.90 |")  # momentum repeats the update
    worse = 0.0
    for line, head in zip(seen.text["answers"].splitlines()[2:], heads, strict=True):
        before, after, right, left = (float(cell) for cell in line.split("|")[2:6])
        assert before == pytest.approx(head.before.loss.mean(), rel=1e-3)
        assert after == pytest.approx(head.after.loss.mean(), rel=1e-3)
        assert left < right
        worse += head.weight * (after - before)
    assert worse > 0
    assert "--set base_lr=0.0005" in seen.text["next"]
    assert "--skip 841:842" in seen.text["next"]


def test_restarts_of_the_demo(execute: Execute, demo: Path, rescues: dict[str, Path]) -> None:
    """Both are next to the demo, are found there, and keep learning."""
    seen = execute("restart_study", cwd=ROOT, run=os.path.relpath(demo, ROOT))
    slower, clipped = rescues["base_lr=0.0005"], rescues["clip_gradients=10"]
    assert seen.pictures == ["losses"]
    assert re.search(rf"`{slower.name}`: .*base_lr 0.005 → 0.0005", seen.text["runs"])
    outcome = cells(seen.text["survived"])
    assert outcome[demo.name][2:] == ["no", "uniform", "841"]
    assert outcome[slower.name][2:] == outcome[clipped.name][2:] == ["**yes**", "healthy", "none"]
    cost = cells(seen.text["cost"])
    assert cost[slower.name][1:3] == [f"800 … {RESCUED - 1:,}", "41"]
    back = recovery(demo, slower)
    assert cost[slower.name][4] == (f"for {back} iterations" if back else "to the end")
    assert cost[demo.name][4] == "to the end"
    loss = {run: float(row[5]) for run, row in cost.items()}
    assert loss[demo.name] == pytest.approx(1.6 * math.log(280), rel=0.01)
    assert max(loss[slower.name], loss[clipped.name]) < 2.5
    lengths = {run: float(row[2]) for run, row in cells(seen.text["updates"]).items()}
    assert lengths[demo.name] > 5 * lengths[slower.name]
    assert lengths[demo.name] > 5 * lengths[clipped.name]
    assert list(cells(seen.text["choice"]))[:2] == [clipped.name, slower.name]
    assert f"python harness/restart.py {os.path.relpath(clipped, ROOT)}" in seen.text["go_on"]


def test_restarts_can_be_named_and_those_of_a_sweep_are_read(
    execute: Execute, demo: Path, rescues: dict[str, Path], tmp_path: Path
) -> None:
    one, other = rescues["clip_gradients=10"], rescues["base_lr=0.0005"]
    (tmp_path / other.name).symlink_to(other)
    legs = (SweepLeg(name=other.name, words=(), until=1600, run=other.name), SweepLeg(name="new", words=(), until=1600))
    write_sweep(tmp_path, Sweep(parent=str(demo), start=800, span=40, legs=legs))
    seen = execute("restart_study", run=str(demo), restarts=[os.path.relpath(one, ROOT)], study=str(tmp_path))
    assert list(cells(seen.text["survived"])) == [demo.name, one.name, f"{tmp_path.name}/{other.name}"]


def recovery(parent: Path, run: Path) -> int | None:
    """Iterations from the break on until the median loss of a display interval is back at 1.2 times that before it."""
    with Recording(parent) as before, Recording(run) as after:
        level = np.median(before.series("loss")[BREAK - 40 : BREAK])
        losses, first = after.series("loss"), int(after.iterations[0])
    late = [
        end
        for end in range(BREAK, first + len(losses))
        if np.median(losses[end - 39 - first : end + 1 - first]) > 1.2 * level
    ]
    return None if late[-1] == first + len(losses) - 1 else late[-1] + 1 - BREAK


def cells(table: str) -> dict[str, list[str]]:
    """The rows of a table by their first cell, a run's name."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): row for row in rows}


# -- another net ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> dict[str, Path]:
    """Runs of the small net, with dropout, shared and frozen params: a healthy one with and without a window, and one
    that runs into NaN and stops."""
    home = tmp_path_factory.mktemp("others")
    net = home / "net.prototxt"
    net.write_text(small_net(digit_data))
    found = {}
    for name, rate, options in (
        ("watched", 0.01, ["--watch", "30:34"]),
        ("plain", 0.01, []),
        ("nan", 1e6, ["--on-alarm", "stop"]),
    ):
        solver = home / f"{name}.prototxt"
        solver.write_text(solver_text(net, home / name, base_lr=rate))
        found[name] = home / "runs" / name
        train(solver, found[name], *options, code=None)
        assert (found[name] / "recording.h5").is_file()
    return found


def test_a_healthy_run_with_a_window(execute: Execute, others: dict[str, Path]) -> None:
    seen = execute("post_mortem", run=os.path.relpath(others["watched"], NOTEBOOKS))
    assert seen.pictures == ["curves", "layers", "spectra", "batch"]
    assert "There is no onset" in seen.text["onset"]
    assert re.search(r"iteration \*\*3[0-3]\*\*", seen.text["onset"])
    assert "In 10 of 10 param blobs" in seen.text["identity"] or "takes a window" in seen.text["identity"]
    assert seen.text["answers"].count("`loss") == 2
    assert "nothing to fix" in seen.text["next"]


def test_a_healthy_run_without_a_window(execute: Execute, others: dict[str, Path]) -> None:
    seen = execute("post_mortem", run=os.path.relpath(others["plain"], ROOT))
    assert seen.pictures == ["curves", "layers"]
    missing = re.fullmatch(
        r"(?s)Iteration (\d+) is in no window.*rewind \S+ --watch (\d+):(\d+)\n```", seen.text["spectra"]
    )
    assert missing
    moment, first, stop = map(int, missing.groups())
    assert first <= moment < stop <= 60
    for cell in ("elements", "predictions", "momentum", "answers"):
        assert seen.text[cell] == "Not recorded: see section 4."


def test_a_run_into_nan(execute: Execute, others: dict[str, Path]) -> None:
    seen = execute("post_mortem", run=str(others["nan"]))
    assert "not finite" in seen.text["status"]
    assert "The onset is iteration" in seen.text["onset"]
    assert "--set base_lr=" in seen.text["next"]  # the black box has kept the window that would be suggested else


def test_a_run_without_restarts(execute: Execute, others: dict[str, Path]) -> None:
    seen = execute("restart_study", run=str(others["plain"]))
    assert "no restarts yet" in seen.text["runs"]
    assert "nothing to choose" in seen.text["go_on"]


# -- the cause of a break --------------------------------------------------------------------------------------------


def test_why_a_run_broke(execute: Execute, others: dict[str, Path]) -> None:
    """The notebook shows what explain.json says, and what its curves say."""
    run = others["plain"]
    keys = [record.key for record in read_records(run, 40).layers[0].records]
    explanation = record_explanation(40, keys[2:5], "conv1/3x3", first_index=2)
    (run / "explain.json").write_bytes(encoded(explanation))
    try:
        seen = execute("why_it_broke", run=os.path.relpath(run, ROOT))
    finally:
        (run / "explain.json").unlink()
    assert seen.pictures == ["trials", "pictures", "margins", "when", "orders"]
    assert f"**{explanation.verdict.sentence}**" in seen.text["verdict"]
    assert "(8 of 8 replays)" in seen.text["verdict"]
    assert "3 of 3 unchanged replays break" in seen.text["control"]
    assert len(seen.text["table"].splitlines()) == 2 + len(explanation.arms)
    parts = cells(seen.text["part"])
    assert parts["3 records of 40 replaced"] == ["3 records of 40 replaced", "41"]
    assert parts["rate × 0.41"][1] == "–"
    assert list(cells(seen.text["records"])) == keys[2:5]
    assert explanation.arms[3].command in seen.text["again"]


# -- the log of the case ----------------------------------------------------------------------------------------------


def test_the_notebook_of_the_case(execute: Execute) -> None:
    seen = execute("case_119040")
    assert seen.pictures == ["read"]
    assert "**uniform-softmax**" in seen.text["sentences"]
    assert "119,040" in seen.text["sentences"]
    assert f"ln 280 × 1.6 = {math.log(280):.4f} × 1.6 = **9.016**" in seen.text["heads"]
    for line in seen.text["rate"].splitlines()[2:]:
        iteration, displayed = (float(cell.replace(",", "")) for cell in line.split("|")[1:3])
        assert 0.001 * math.sqrt(1 - iteration / 800_000) == pytest.approx(displayed, rel=1e-5)
    m = 40 * (8.3068 - 2.70265) / (9.01994 - 2.70265)
    assert f"= {m:.1f} | {119_040 - m + 1:,.0f} |" in seen.text["date"]
    assert "| 13.70 |" in seen.text["epochs"]
    assert "**13 times**" in seen.text["earlier"]
    assert "--watch 118996:119050" in seen.text["commands"]


def test_the_notebook_of_the_case_with_another_number_of_images(execute: Execute) -> None:
    assert "**14 times**" in execute("case_119040", images=260_000).text["earlier"]


# -- as they are committed --------------------------------------------------------------------------------------------
