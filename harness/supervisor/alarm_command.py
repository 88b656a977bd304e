"""Start the command of --on-alarm-exec when training diverges."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.diagnosis.live.messages import sentence
from harness.diagnosis.live.rows import Names, names_of
from harness.schemas.events import Event
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Opening, Outcome

OUTPUT = "on-alarm-exec.log"  # in the run directory: what the command printed
VARIABLES = {
    "CAFFE_HARNESS_RUN": "the run directory, absolute",
    "CAFFE_HARNESS_ITERATION": "the iteration of the alarm",
    "CAFFE_HARNESS_RULE": "the rule, such as loss_jump",
    "CAFFE_HARNESS_MESSAGE": "what the alarm saw, in one sentence",
    "CAFFE_HARNESS_ONSET": "the onset, as far as it is known then",
}


class AlarmCommand:
    """A listener that starts `command`, a line for the shell, once for each divergence, and never waits for it.

    A divergence that begins after an earlier one was over is another one. `say` receives sentences for the user.
    """

    dropped: str | None = None

    def __init__(self, command: str, say: Callable[[str], None]) -> None:
        self._command, self._say = command, say
        self._run = Path()
        self._names: Names | None = None
        self._started: list[subprocess.Popen[bytes]] = []
        self._alarm: int | None = None  # the iteration of the alarm at which it was last started

    def start(self, opening: Opening) -> None:
        self._run, self._names = opening.directory.absolute(), names_of(opening.layout)

    def event(self, event: Event) -> None:
        pass

    def alarms(self, alarms: Sequence[Alarm], divergences: Sequence[Alarm], divergence: Divergence | None) -> None:
        if not divergences or divergence is None or self._names is None:
            return
        alarm, onset = divergences[0], divergence.onset.iteration
        if self._alarm is not None and onset <= self._alarm:
            return
        self._alarm = alarm.iteration
        values = (self._run, alarm.iteration, alarm.rule, sentence(alarm, self._names), onset)
        environment = dict(zip(VARIABLES, map(str, values), strict=True))
        try:
            with (self._run / OUTPUT).open("ab") as output:
                process = subprocess.Popen(
                    ["/bin/sh", "-c", self._command],
                    env=os.environ | environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is for the training, and the command may outlive it
                )
        except (OSError, ValueError) as error:
            self._say(f"--on-alarm-exec: the command could not be started ({error})")
            return
        self._started.append(process)
        self._say(f"--on-alarm-exec: started at iteration {alarm.iteration:,}; its output goes to {OUTPUT}")

    def message(self, text: str) -> None:
        pass

    def tick(self, recorded_bytes: int) -> None:
        self._note_ended()

    def finish(self, outcome: Outcome) -> None:
        self._note_ended()
        for process in self._started:
            self._say(f"--on-alarm-exec: the command is still running (process {process.pid})")

    def close(self) -> None:
        pass

    def _note_ended(self) -> None:
        for process in [process for process in self._started if process.poll() is not None]:
            self._started.remove(process)
            code = process.returncode
            if code:
                how = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
                self._say(f"--on-alarm-exec: the command {how}; see {self._run / OUTPUT}")
