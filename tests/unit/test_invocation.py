"""Printed commands do what they say when they are copied into a shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.invocation import path_argument
from harness.reports.suggestions import BrokenRun, after_divergence, report_command

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


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_a_path_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("content")
    shown = subprocess.run(
        ["sh", "-c", f"cat {path_argument(name)}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "content"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", NAMES)
def test_suggested_commands_are_quoted(name: str, tmp_path: Path) -> None:
    broken = BrokenRun(Path(name), 0, 70, 50, False, 0.1, 3.0, True)
    for suggestion in (*after_divergence(broken), report_command(Path(name))):
        script = f'shift_to() {{ printf %s "$3"; }}; shift_to {suggestion.command}'
        shown = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert shown.stdout in (name, f"./{name}"), suggestion.command
    assert not list(tmp_path.iterdir())
