"""Rewind a run for a command: its progress and errors on standard error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from harness.caffe_files.messages import caffe_directory
from harness.errors import RecordingFailed
from harness.exit_codes import Exit
from harness.processes import return_large_blocks
from harness.replay.rewinding import Rewound, rewind
from harness.reports.replay_screen import ReplayScreen
from harness.reports.terminal_process import TerminalProcess
from harness.schemas.window import Window
from harness.supervisor.signals import Interrupts


@dataclass(frozen=True)
class RewindRequest:
    """The iterations `windows` of the run directory `run` whose arrays `capture` are to be stored."""

    run: Path
    windows: Sequence[Window]
    capture: Sequence[str]


def rewind_on_screen(request: Callable[[], RewindRequest]) -> Rewound:
    """Rewind a run, with its progress on standard error. What keeps it from being possible is shown there, too.

    Args:
        request: returns what to do; it may raise BadInput and RecordingError.

    Raises:
        BadInput, RecordingError: the run cannot be rewound.
        RecordingFailed: the window could not be stored.
    """
    return_large_blocks()
    interrupts = Interrupts("continue")
    with closing(TerminalProcess(ReplayScreen)) as terminal, terminal.showing_errors():
        try:
            with interrupts.planning():
                asked = request()
                caffe_directory()
                found = rewind(asked.run, asked.windows, asked.capture, terminal, interrupts)
        except RecordingFailed as error:
            raise RecordingFailed(f"the window could not be stored: {error}") from None
        except KeyboardInterrupt:
            return Rewound((), Exit.INTERRUPTED, "Interrupted.")
        if found.code not in (Exit.DONE, Exit.INTERRUPTED):
            terminal.error(found.sentence)
    return found
