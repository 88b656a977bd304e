"""Every command that is printed starts properly when it is pasted into a shell in another directory."""

from __future__ import annotations

import html
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.recording import Recording
from tests.helpers.commands import caffe_train
from tests.helpers.nets import small_net, solver_text
from tests.helpers.paths import BIN
from tests.helpers.processes import Finished, command

pytestmark = pytest.mark.usefixtures("one_blas_thread")

HARNESS = BIN / "caffe-harness"
BREAKS = 20  # the iteration at which the schedule raises the rate by 500


@dataclass(frozen=True)
class Place:
    """A folder with a solver whose net has a relative path, and an empty directory in which commands are pasted."""

    home: Path
    elsewhere: Path

    def call(self, *arguments: object, code: int = 0) -> Finished:
        done = command(HARNESS, *arguments, cwd=self.home, env={"PATH": "/usr/bin:/bin"})
        assert done.code == code, done.stderr
        return done

    def paste(self, line: str) -> Finished:
        """Run a line in a shell that knows neither the harness nor the folder, but has the same settings of BLAS."""
        blas = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("OPENBLAS_")]
        done = command("env", "-i", "PATH=/usr/bin:/bin", *blas, "bash", "-c", line, cwd=self.elsewhere)
        assert done.code in (0, 3), f"{line}\n{done.stderr}"  # 3: it breaks again, and stops at the first NaN
        return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Place:
    home, elsewhere = tmp_path_factory.mktemp("it's a home"), tmp_path_factory.mktemp("elsewhere")
    (home / "net.prototxt").write_text(small_net(digit_data))
    fields = {"lr_policy": '"step"', "gamma": 500, "stepsize": BREAKS, "power": None, "max_iter": 60, "display": 4}
    text = solver_text(Path("net.prototxt"), Path("native"), **fields, snapshot=10, test_interval=None, test_iter=None)
    (home / "solver.prototxt").write_text(text)
    return Place(home, elsewhere)


@pytest.fixture(scope="module")
def run(place: Place) -> Finished:
    """A run that breaks, as `runs/broken`, and keeps no window."""
    no_window = ("--black-box-mib", 0)
    return place.call("run", "--solver", "solver.prototxt", "--until", 50, *no_window, "--out", "runs/broken", code=3)


def commands(text: str) -> list[str]:
    """The lines that are commands."""
    return list(
        dict.fromkeys(line.strip() for line in text.splitlines() if re.match(r"\s+(cd |\S*caffe-harness)", line))
    )


def test_the_commands_of_a_run_that_broke(place: Place, run: Finished) -> None:
    assert run.stderr.count("Onset:") == 1
    printed = commands(run.stderr)
    kinds = [re.findall(r"explain|report|rescue|rewind|--set", line)[0] for line in printed]
    assert {"explain", "report", "rescue", "rewind", "--set"} == set(kinds)
    with Recording(place.home / "runs/broken") as recording:
        assert not recording.windows
        last = int(recording.iterations[-1])
    place.paste(printed[kinds.index("rewind")])
    with Recording(place.home / "runs/broken") as recording:
        assert {BREAKS, last} <= set(recording.window_iterations)
    assert place.paste(printed[kinds.index("--set")]).stdout == f"{place.home}/runs/broken-base_lr=0.001\n"
    place.paste(f"{printed[kinds.index('explain')]} --budget 100")
    assert (place.home / "runs/broken/explain.json").is_file()
    place.paste(f"{printed[kinds.index('rescue')]} --until 30")
    assert (place.home / "runs/broken-rescue/rescue.json").is_file()
    place.paste(printed[kinds.index("report")])
    assert (place.home / "runs/broken/report.html").is_file()


def test_the_commands_of_a_report(place: Place, run: Finished) -> None:
    place.call("report", "runs/broken")
    page = (place.home / "runs/broken/report.html").read_text()
    printed = [html.unescape(text) for text in re.findall(r"<code>([^<]*restart [^<]*)</code>", page)]
    assert len(printed) > 1
    assert any("clip_gradients" in line for line in printed)
    for line in printed:
        if "--watch" not in line and "base_lr" not in line:  # as the run itself printed
            place.paste(f"{line} --until 25")


def test_the_command_for_the_log_of_a_run(place: Place, run: Finished) -> None:
    found = json.loads(place.call("readlog", "runs/broken", "--json").stdout)
    report, again = (suggestion["command"] for suggestion in found["commands"])
    assert report in commands(run.stderr)  # and is pasted there
    assert "--from 20 --watch" in again
    place.paste(again)


@pytest.mark.parametrize("given", [True, False])
def test_the_command_for_a_log_of_caffe_resumes_from_the_newest_good_snapshot(place: Place, given: bool) -> None:
    """Whether the solver is named or found by what the log prints of it."""
    log = place.home / "native.log"
    if not log.exists():
        log.write_text(caffe_train(Path("solver.prototxt"), cwd=place.home))
    done = place.call("readlog", log, *(("--solver", "solver.prototxt") if given else ()))
    (line,) = commands(done.stdout)
    assert "native_iter_20.solverstate" in line
    assert "--until" in line
    with Recording(place.home / place.paste(line).stdout.strip()) as again:
        assert again.iterations[0] == 20
        assert BREAKS in again.window_iterations
