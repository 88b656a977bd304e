"""Names with control characters and markup, in every command: a terminal shows them and does not obey them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.helpers.imagesets import write_photos
from tests.helpers.nets import small_net, solver_text
from tests.helpers.processes import PATIENCE
from tests.helpers.terminals import drain, session_on_terminal

HOSTILE = "\x1b]0;obey\x07[/x][red]\x9b2J\u202e\nfake"  # a title, markup, clear the screen, right to left, a new line
PROTOTXT = r"\033]0;obey\007[/x][red]\302\2332J\342\200\256\nfake"
NAME = HOSTILE.replace("/", "|")  # of a file

# what rich draws with: movements of the cursor, erasing, colours, showing and hiding the cursor
DRAWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r\n|\r|\n|\t")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e]")


def on_terminal(*arguments: object, code: int) -> str:
    """Run a command on a terminal; check its exit code, and that the terminal gets no control character of a name."""
    env = {"COLUMNS": "160", "LINES": "50", "TERM": "xterm-256color", "OPENBLAS_NUM_THREADS": "1"}
    with session_on_terminal(sys.executable, "-m", "harness", *arguments, env=env) as (process, terminal):
        drawn = drain(terminal).decode()
        if not {"make-lmdb", "--csv"} & set(arguments):  # these show a line feed as it is
            assert not [line for line in drawn.splitlines() if DRAWN.sub("", line).startswith("fake")]
        drawn = DRAWN.sub("", drawn)
        assert process.wait(PATIENCE) == code, drawn
    assert "Traceback" not in drawn
    assert not CONTROL.search(drawn), ascii(drawn)
    assert "2J" not in drawn or r"\x9b2J" in drawn or r"\u009b2J" in drawn
    return drawn


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, digit_data: Path) -> Path:
    """A folder with a solver whose net, layers and blobs have hostile names, and which diverges."""
    home = tmp_path_factory.mktemp("names") / NAME
    home.mkdir()
    net = small_net(digit_data)
    for name in ("small", "loss1/loss1", "conv1/3x3", "loss1/classifier"):
        net = net.replace(f'"{name}"', f'"{name}{PROTOTXT}"')
    (home / "net.prototxt").write_text(net)
    fields = {"lr_policy": '"step"', "gamma": 500, "stepsize": 20, "power": None, "max_iter": 40, "snapshot": 10}
    path = str(home / "net.prototxt").replace(NAME, PROTOTXT.replace("/", "|"))
    (home / "solver.prototxt").write_text(solver_text(Path(path), Path("native"), **fields))
    return home


def test_the_commands_about_a_run(home: Path) -> None:
    run, again = home / f"run{NAME}", home / f"again{NAME}"
    options = ("--watch", "5:8", "--on-alarm", "continue", "--out", run)
    drawn = on_terminal("run", "--solver", home / "solver.prototxt", *options, code=0)
    assert r"loss1/loss1\x1b]0;obey" in drawn
    assert "[/x][red]" in drawn
    assert "ALARM" in drawn
    change = ("--set", "base_lr=0.001", "--set-layer", "conv1*:lr_mult=3", "--on-alarm", "continue")
    drawn = on_terminal("restart", run, "--from", 10, *change, "--out", again, code=0)
    assert re.search(r"Changed: .*conv1/3x3\\x1b\]0;obey", drawn)
    assert r"conv1/3x3\x1b]0;obey" in on_terminal("compare", run, again, code=0)
    for option in ((), ("--json",), ("--csv",)):
        on_terminal("readlog", run, *option, code=0)
    drawn = on_terminal("report", run, "--compare", again, "--out", home / f"page{NAME}.html", code=0)
    assert r"page\x1b]0;obey" in drawn
    assert "<title>" in (home / f"page{NAME}.html").read_text()


def test_errors(home: Path) -> None:
    nothing = home / "none"
    for arguments in (
        ("run", "--solver", nothing),
        ("run", "--solver", home / "solver.prototxt", "--watch", NAME),
        ("run", f"--{NAME}"),
        ("restart", nothing),
        ("sweep", nothing, "--set", "base_lr=1"),
        ("sweep", home, "--candidate", f"{NAME}: --{NAME}"),
        ("readlog", nothing),
        ("make-lmdb", nothing, home / "out"),
        (NAME,),
    ):
        on_terminal(*arguments, code=2)


def test_make_lmdb(home: Path) -> None:
    folder = NAME.replace("\n", "")  # lists of images have one a line
    photos = home / f"photos{NAME}"
    write_photos(photos, ["a/1.png", "a/2.png", "b/1.png"])
    (photos / f"a/broken{folder}.jpg").write_text("no image")
    (photos / "b").rename(photos / f"b{folder}")
    drawn = on_terminal("make-lmdb", photos, home / f"out{NAME}", code=0)
    assert r"written to   " in drawn
