"""The window of another run stands in for a missing one only where both did the same, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.diagnosis.recorded.diagnose import diagnose
from harness.recording import Recording
from harness.recording.repeats import repeat_of
from tests.helpers.commands import restart, train
from tests.helpers.nets import solver_text


def test_a_repeat_is_recognised_by_digests_and_losses(small: Path) -> None:
    runs = small / "runs"
    solver = small / "solver.prototxt"
    solver.write_text(solver_text(small / "net.prototxt", small / "x", max_iter=24, snapshot=8, test_interval=24))
    train(solver, runs / "run")
    # the same weights before, other ones after; the same weights before, other data; and the same from 16 on
    restart(runs / "run", "--from", 16, "--set", "base_lr=0.5", "--watch", "16:22", "--out", runs / "a-faster")
    restart(runs / "run", "--from", 16, "--skip", "16:17", "--watch", "16:22", "--out", runs / "a-skipped")
    with Recording(runs / "run") as recording:
        with repeat_of(runs / "run", recording, 17) as repeat:
            assert repeat is None
        restart(runs / "run", "--from", 8, "--watch", "15:19", "--out", runs / "repeat")
        (runs / "notes").mkdir()
        (runs / "notes/run.json").write_text("{}")
        (runs / "notes/recording.h5").write_text("no recording")
        with repeat_of(runs / "run", recording, 17) as repeat:
            assert repeat is not None
            assert repeat.name == "repeat"
            assert repeat.iterations.tolist() == [15, 16, 17, 18]
            found = diagnose(recording, 7).with_windows_of(repeat)
            assert found.moments == (15, 17, 18)
            batch = found.batch(17)
            assert batch is not None
            assert batch.source == "window"
            assert batch.pixels is not None
            assert np.array_equal(batch.pixels, repeat.recording.input(17, "data"))
        with repeat_of(runs / "run", recording, 20) as repeat:
            assert repeat is None
