"""Printed commands do what they say when they are copied into a shell; those of real runs are in cli/test_pasted.py."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.invocation import next_command, path_argument
from harness.reports.suggestions import BrokenRun, after_divergence, report_command
from harness.schemas.captures import CAPTURES
from harness.schemas.onset import GradientNorms
from harness.schemas.outcome import OutlyingRecords
from harness.schemas.rewind import NoRewind, Rewind
from harness.schemas.window import Window

NAMES = [
    "plain",
    "with space",
    "it's",
    '"q"',
    "$(touch pwned)",
    "a;b",
    "-x",
    "--set",
    "tab\tname",
    "new\nline",
    "*",
    "ü",
    "~",
]


def broken(run: Path, **fields: object) -> BrokenRun:
    usual: dict[str, object] = {"first": 0, "until": 500, "onset": 70, "last_good": 50, "in_window": False}
    return BrokenRun(run=run, **(usual | {"base_lr": 0.1} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_elsewhere_reads_a_path_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text("content")
    monkeypatch.chdir(tmp_path)
    shown = subprocess.run(
        ["sh", "-c", f"cat {path_argument(name)}"], cwd="/", capture_output=True, text=True, check=True
    )
    assert shown.stdout == "content"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_suggested_commands_are_quoted(name: str, tmp_path: Path) -> None:
    run = tmp_path / name
    everything = broken(run, gradients=GradientNorms(3, 100), outlying=OutlyingRecords(1, 8, (name,)))
    for suggestion in (*after_divergence(everything), report_command(run)):
        words = suggestion.command.removeprefix(next_command("restart")).removeprefix(next_command("report"))
        script = f'shift_to() {{ printf %s "$1"; }}; shift_to {words}'
        shown = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert shown.stdout == str(run), suggestion.command
    assert not list(tmp_path.iterdir())


def changes(run: BrokenRun) -> list[str]:
    """The option of each suggested restart, and what it sets."""
    return [" ".join(shlex.split(s.command.split(" /run")[1])[:2]) for s in after_divergence(run)]


def test_suggestions_are_ranked_by_evidence() -> None:
    run = Path("/run")
    rate, clip, skip, look = "--set base_lr=0.01", "--set clip_gradients=9", "--skip 70:71", "--watch 65:110"
    assert changes(broken(run)) == [look, rate]
    assert changes(broken(run, in_window=True)) == [rate]
    assert changes(broken(run, gradients=GradientNorms(3, 100))) == [look, clip, rate]
    assert changes(broken(run, gradients=GradientNorms(3, 100), unusual_input="data")) == [skip, clip, rate, look]
    assert changes(broken(run, gradients=GradientNorms(3, 5))) == [look, rate]  # a bound of 9 would change nothing
    assert changes(broken(run, gradients=GradientNorms(3, 100), raised_rate=(0.1, 1))) == [look, rate, clip]
    worst = broken(run, gradients=GradientNorms(3, 100), outlying=OutlyingRecords(16, 32))
    assert changes(worst) == [skip, clip, rate, look]
    named = broken(run, outlying=OutlyingRecords(2, 32, ("a b", "c")))
    assert changes(named) == [skip, "--skip-records a b,c", rate, look]
    assert "16 of its 32 records" in after_divergence(worst)[0].purpose
    not_finite = broken(run, gradients=GradientNorms(3, 100), outlying=OutlyingRecords(1, 32, ("a",), not_finite=1))
    assert changes(not_finite) == [skip, "--skip-records a", look]  # no bound and no rate keeps a NaN out
    assert "holds values that are NaN or infinite" in after_divergence(not_finite)[0].purpose


def test_a_rewind_takes_the_place_of_a_repetition() -> None:
    rewind = Rewind(Path("/run"), Window(65, 110), CAPTURES, Window(50, 110), 75.4, 3 << 20)
    look, rate = after_divergence(broken(Path("/run"), rewind=rewind))
    assert look.command == f"{next_command('rewind')} /run --watch 65:110"
    assert look.purpose.endswith("repeats 60 iterations from 50 on, bit for bit (about 1 min 15 s and 3.0 MiB)")
    assert "base_lr" in rate.command
    without = {"last_good": None, "first": 40, "parent": "/parent"}
    assert [s.command for s in after_divergence(broken(Path("/run"), rewind=rewind, **without))] == [
        look.command,
        f"{next_command('restart')} /parent",
    ]
    (again, _) = after_divergence(broken(Path("/run"), rewind=NoRewind("the data are gone")))
    assert "--watch 65:110 --until 110" in again.command
    assert again.purpose.endswith("(rewind cannot: the data are gone)")
    assert after_divergence(broken(Path("/run"), rewind=rewind, in_window=True)) == [rate]


def test_a_command_to_look_at_a_break_ends_after_it() -> None:
    looks = [after_divergence(broken(Path("/run"), until=until))[0].command for until in (500, 90, 71, 60)]
    ends = [look.split(" --watch ")[1] for look in looks]
    assert ends == ["65:110 --until 110", "65:90 --until 90", "65:71 --until 71", "65:71 --until 71"]


def test_a_window_begins_where_the_restart_does() -> None:
    look = after_divergence(broken(Path("/run"), last_good=68))[0].command
    assert "--watch 68:110" in look


def test_the_command_is_found_whatever_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name if the PATH leads there, else by where it is; without one, Python runs the file."""
    here = Path(sys.executable).with_name("caffe-harness")
    monkeypatch.setenv("PATH", f"/usr/bin:{here.parent}")
    assert next_command("make-lmdb") == "caffe-harness make-lmdb"
    monkeypatch.setenv("PATH", "/usr/bin")
    assert next_command("make-lmdb") == f"{shlex.quote(str(here))} make-lmdb"
    other = tmp_path / "bin/caffe-harness"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin")
    assert next_command("make-lmdb") == f"{shlex.quote(str(here))} make-lmdb"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a python"))
    assert next_command("make-lmdb").startswith(f"'{tmp_path}/a python' ")
    assert next_command("make-lmdb").endswith("/harness/make_lmdb.py")
