"""The output of a run: the live panel on a real terminal, plain lines elsewhere, and the overview figure."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording
from harness.reports.figures import overview
from tests.helpers.commands import RUN, train
from tests.helpers.nets import solver_text
from tests.helpers.terminals import run_on_terminal


def test_the_panel_shows_the_progress_of_the_run(small: Path) -> None:
    (small / "solver.prototxt").write_text(solver_text(small / "net.prototxt", small / "native", max_iter=3000))
    options = ("--solver", small / "solver.prototxt", "--out", small / "run", "--watch", "2500:2510")
    done = run_on_terminal(sys.executable, RUN, *options, columns=110, stdout=subprocess.DEVNULL)
    assert done.code == 0
    screen = " ".join(done.stdout.split())  # wherever its lines were broken
    assert "3000/3000" in screen
    assert "loss3/loss3" in screen
    assert "ln(classes) = 1.609" in screen  # five classes
    assert re.search(r"2500:2510 opens in [\d,]+ iterations", screen)
    assert "2500:2510 complete" in screen
    assert "‖update‖ / ‖weight‖" in screen
    assert re.search(r"for 3,000 iterations, .* for 10 iterations in the window 2500:2510", screen)
    assert "Done: iteration 3000" in screen


def test_without_a_terminal_there_are_plain_lines_and_the_result_on_stdout(small: Path) -> None:
    done = train(small / "solver.prototxt", small / "run")
    assert "\x1b" not in done.stderr
    assert re.search(r"iteration 60/60  loss \S+  loss1/loss1 \S+ loss3/loss3 \S+  lr \S+  gradient", done.stderr)
    assert "net #0: loss1/loss1" in done.stderr
    assert done.stdout.strip() == str(small / "run")


def test_the_overview_draws_every_head_and_layer(small: Path) -> None:
    train(small / "solver.prototxt", small / "run")
    with Recording(small / "run") as recording:
        figure = overview(recording, diagnose(recording, 7, read_limits()))
        figure.savefig(small / "overview.png")
        legend = figure.axes[0].get_legend()
        assert legend is not None
        labels = [text.get_text() for text in legend.get_texts()]
        assert labels == ["total, each iteration", "total, smoothed", "loss1/loss1 (weight 0.3)", "loss3/loss3"]
        notes = [text.get_text() for text in figure.axes[0].texts]
        assert notes == ["chance level 1.609 (5 classes)", "chance level 2.092 (total)"]
        assert [tick.get_text() for tick in figure.axes[2].get_yticklabels()] == [
            p.layer for p in recording.params if p.index == 0
        ]
    assert (small / "overview.png").stat().st_size > 10_000
