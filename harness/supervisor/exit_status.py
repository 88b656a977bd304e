"""Determine how a run ended."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from harness.exit_codes import Exit
from harness.schemas.events import End
from harness.schemas.layout import Alarm
from harness.schemas.outcome import Divergence, Outcome
from harness.schemas.run_info import Ended


@dataclass(frozen=True)
class Circumstances:
    """Everything that the supervisor knows when the worker is gone.

    Attributes:
        returncode: of the worker; negative for a signal.
        last: the last iteration in the recording; -1 if there is none.
        refusal: why nets, weights, state or data could not be used. Once there are iterations, the run failed in its
            middle: what is recorded stays.
        failure: why the recording could not be written.
        end: the worker's last message; None if it died.
        interrupted: a signal asked for an end; `at_once`: and the worker was killed for it.
        diverged: the alarm at which the run was stopped.
        last_words: what Caffe printed last.
        record: a record that cannot be used, of those that the worker was about to read when it died; None if there is
            none.
    """

    returncode: int
    recording: Path
    until: int
    last: int
    refusal: str | None
    failure: str | None
    end: End | None
    interrupted: bool
    at_once: bool
    diverged: Alarm | None
    divergence: Divergence | None
    last_words: tuple[str, ...]
    record: str | None = None


def outcome_of(run: Circumstances) -> Outcome:
    """Return the exit code, and one sentence."""
    if run.refusal is not None and run.last < 0:
        return Outcome(Exit.BAD_INPUT, run.refusal)
    failure = run.failure or run.refusal
    if failure is not None:
        said = run.last_words if run.returncode == -signal.SIGABRT else ()
        return Outcome(Exit.RECORDING_FAILED, failure, said, run.divergence)
    upto = f"{run.recording} holds every iteration up to {run.last}" if run.last >= 0 else "no iteration was made"
    # otherwise it died of something else before it could stop
    stopped = run.returncode == 0 or run.at_once or run.end is not None
    at = run.end.iteration if run.end else -1
    if run.diverged is not None and run.end is not None:
        why = f"Diverged ({run.diverged.rule} at iteration {run.diverged.iteration})"
        next_step = "Restart it from before the onset with a change; --on-alarm continue would train on"
        sentence = f"{why}, stopped before iteration {at}; {upto}. {next_step}"
        return Outcome(Exit.DIVERGED, sentence, divergence=run.divergence)
    if run.interrupted and stopped and at < run.until:
        return Outcome(Exit.INTERRUPTED, f"Interrupted; {upto}", divergence=run.divergence)
    if run.end is None:
        code = run.returncode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        when = "" if run.last >= 0 else " before the first iteration"
        if when and -code == signal.SIGKILL:
            when += ", by hand or because the system's memory ran out"
        record = f": {run.record}" if run.record else ""
        death = f"The worker died ({how}){when}{record}"
        return Outcome(Exit.WORKER_DIED, f"{death}; {upto}", run.last_words, run.divergence, death)
    return Outcome(Exit.DONE, f"Done: iteration {at}; {upto}", divergence=run.divergence)


def ended(outcome: Outcome, end: End | None) -> Ended:
    """Return what run.json says of the end; `end` is the worker's last message."""
    return Ended(
        code=int(outcome.code),
        how=outcome.sentence,
        at=time.strftime("%FT%T%z"),
        onset=outcome.divergence.onset if outcome.divergence else None,
        last_words=outcome.last_words,
        iteration=end.iteration if end else None,
        weight_digest=end.weight_digest if end else None,
        last_loss=end.last_loss if end else None,
    )
