"""What a person sees: the live panel on a real terminal, plain lines elsewhere, the figures."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from harness.diagnosis.live.limits import read_limits
from harness.diagnosis.recorded.post_mortem import post_mortem
from harness.recording import Recording
from harness.reports.figures import overview
from tests.helpers.commands import train
from tests.helpers.nets import solver_text
from tests.helpers.paths import ROOT


def on_a_terminal(*arguments: object) -> tuple[int, str]:
    """Run the harness on a pseudo-terminal of 110 columns; its exit code, and all that it drew."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "harness/run.py"), *map(str, arguments)],
        stdin=slave, stdout=subprocess.DEVNULL, stderr=slave,
        env=dict(os.environ) | {"COLUMNS": "110", "LINES": "40", "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    drawn = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        drawn += part
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode(errors="replace"))
    return process.wait(), " ".join(text.split())  # wherever its lines were broken


def test_the_panel_shows_the_run(small: Path) -> None:
    (small / "solver.prototxt").write_text(solver_text(small / "net.prototxt", small / "native", max_iter=3000))
    code, screen = on_a_terminal("--solver", small / "solver.prototxt", "--out", small / "run", "--watch", "2500:2510")
    assert code == 0
    assert "3000/3000" in screen
    assert "loss3/loss3" in screen
    assert "ln(classes) = 1.609" in screen  # five classes
    assert re.search(r"2500:2510 opens in [\d,]+ iterations", screen)
    assert "2500:2510 complete" in screen
    assert "‖update‖ / ‖weight‖" in screen
    assert re.search(r"for 3,000 iterations, .* for 10 iterations in the window 2500:2510", screen)
    assert "Done: iteration 3000" in screen


def test_elsewhere_there_are_plain_lines_and_the_result_on_stdout(small: Path) -> None:
    done = train(small / "solver.prototxt", small / "run")
    assert "\x1b" not in done.stderr
    assert re.search(r"iteration 60/60  loss \S+  loss1/loss1 \S+ loss3/loss3 \S+  lr \S+  gradient", done.stderr)
    assert "net #0: loss1/loss1" in done.stderr
    assert done.stdout.strip() == str(small / "run")


def test_the_overview_draws_every_head_and_layer(small: Path) -> None:
    train(small / "solver.prototxt", small / "run")
    with Recording(small / "run") as recording:
        figure = overview(recording, post_mortem(recording, 7, [], read_limits()))
        figure.savefig(small / "overview.png")
        labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert labels == ["total, smoothed", "loss1/loss1, weight 0.3", "loss3/loss3, weight 1"]
        notes = [text.get_text() for text in figure.axes[0].texts]
        assert notes == ["ln 5 = 1.609", "all heads at chance: 2.092"]
        assert [tick.get_text() for tick in figure.axes[2].get_yticklabels()] == [
            p.layer for p in recording.params if p.index == 0
        ]
    assert (small / "overview.png").stat().st_size > 10_000
