"""Text on its way to the user: control characters, markup, streams that fail."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from harness.exit_codes import Exit
from harness.output import visible, visible_json, visible_line, writing_results
from harness.reports.console import Console
from harness.reports.listeners import RunListeners
from harness.reports.terminal_process import TerminalProcess
from harness.schemas.outcome import Outcome
from tests.helpers.processes import command


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("loss3/loss3 · 1.5 → 9.0 中文 é", "loss3/loss3 · 1.5 → 9.0 中文 é"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x00\x08\x0d\x7f", r"\x00\x08\x0d\x7f"),
        ("\x9b31m", r"\x9b31m"),  # CSI in C1
        ("abc\u202ecba\u2066\u200f", r"abc\u202ecba\u2066\u200f"),
        (b"caf\xe9\x9b".decode(errors="surrogateescape"), r"caf\xe9\x9b"),
    ],
)
def test_control_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown
    assert visible_line(text) == shown.replace("\n", r"\n")


def test_a_console_shows_text_as_it_is() -> None:
    printed = io.StringIO()
    console = Console(file=printed, width=70)
    hostile = "[/x][bold]:smile:\x1b[2J\nx\x9b"
    shown = r"[/x][bold]:smile:\x1b[2J\nx\x9b"
    grid = Table.grid()
    grid.add_row(hostile, Text(hostile, overflow="fold"))
    console.print(hostile, Text.assemble((hostile, "red"), "."))
    console.print(grid)
    lines = printed.getvalue().splitlines()
    assert lines[0] == f"{shown} {shown}."
    assert printed.getvalue().isprintable() or "\x1b" not in printed.getvalue()
    assert all(len(line) <= 70 for line in lines)
    assert lines[1].startswith(shown)


def test_escapes_keep_the_style() -> None:
    printed = io.StringIO()
    console = Console(file=printed)
    console._color_system = None
    segments = list(console.render(Text.assemble("a", ("b\x1bc", "bold"), "d")))
    assert "".join(s.text for s in segments if s.style and s.style.bold) == r"b\x1bc"


def test_json_keeps_its_values() -> None:
    value = {"name": "a\x7f\x9b\u202e\x1b"}
    text = visible_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.isascii()


class Broken:
    """A listener that fails at its first event."""

    dropped = None

    def __getattr__(self, name: str) -> object:
        raise ValueError("no such tag")


class Told:
    """Remembers what it was told."""

    dropped = None

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.ticks = 0

    def message(self, text: str) -> None:
        self.messages.append(text)

    def tick(self, recorded_bytes: int) -> None:
        self.ticks += 1

    def finish(self, outcome: Outcome) -> None:
        self.messages.append(outcome.sentence)


def test_a_listener_that_fails_is_left_out() -> None:
    told = Told()
    listeners = RunListeners(Broken(), told)  # type: ignore[arg-type]
    listeners.tick(1)
    listeners.tick(2)
    listeners.finish(Outcome(Exit.DONE, "Done"))
    assert told.ticks == 2
    assert told.messages == ["Broken has failed (ValueError: no such tag); the run continues without it", "Done"]


def test_a_traceback_shows_control_characters_as_escapes() -> None:
    program = r"from harness.output import show_exceptions; show_exceptions(); raise ValueError('name \x1b]0;x\x07')"
    done = command(sys.executable, "-c", program)
    assert (done.code, done.stderr.splitlines()[-1]) == (1, r"ValueError: name \x1b]0;x\x07")


def test_results_are_exact_in_a_pipe(tmp_path: Path) -> None:
    """A script reads the path of a run from there."""
    program = r"from harness.output import print_result; print_result('run\x1b\udcff')"
    script = '"$0" -c "$1" > "$2"'
    assert command("bash", "-c", script, sys.executable, program, tmp_path / "out").code == 0
    assert (tmp_path / "out").read_bytes() == b"run\x1b\xff\n"


def test_a_display_that_cannot_be_started_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a user may start no more processes (ulimit -u)."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    terminal = TerminalProcess()
    terminal.message("shown to nobody")
    terminal.close()
    assert terminal.dropped is not None
    assert "Resource temporarily unavailable" in terminal.dropped


def test_results_may_have_characters_that_the_encoding_of_standard_output_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with writing_results():
        print("iterations 0 … 9")
    assert written.getvalue() == b"iterations 0 ? 9\n"
