"""Plan the restart of a run, from its last good snapshot or another iteration, with changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.caffe_files.edits import set_fields, set_layer_fields
from harness.caffe_files.solver import display_interval
from harness.caffe_files.solverstate import history_scale
from harness.diagnosis.last_good import Choice, last_good
from harness.diagnosis.live.limits import Limits
from harness.diagnosis.recorded.detect import detect
from harness.errors import BadInput, RecordingError
from harness.recording import Recording, run_directory
from harness.recording.snapshots import damaged_in, iterations_of
from harness.schemas.run_info import Parent, RunInfo
from harness.schemas.window import parse_watch
from harness.supervisor.options import Options
from harness.supervisor.plan import Plan, make_plan
from harness.supervisor.resume import Start, from_run
from harness.supervisor.run_names import free_directory, restart_name
from harness.supervisor.training_spec import TrainingSpec, in_its_state, recorded_training_spec

_MOST_KEYS = 10  # listed on the screen


@dataclass(frozen=True)
class Restart:
    """A restart of the run in the directory `run`, an absolute path: the values of the options of restart.py.

    Attributes:
        start: "last-good", or an iteration.
        fields, layer_fields: what --set and --set-layer were given.
        history: what to do with the momentum, one of `HISTORY_MODES`.
        skip: iterations whose data are passed over, as "A:B".
    """

    run: Path
    start: str = "last-good"
    fields: tuple[str, ...] = ()
    layer_fields: tuple[str, ...] = ()
    history: str = "keep"
    skip: str | None = None


def plan_restart(
    restart: Restart,
    options: Options,
    limits: Limits,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Plan:
    """Plan a restart. The process then works in the directory from which the run's own relative paths count.

    Args:
        options: with the keys of records that are left out; a relative `out` counts from the present directory.
        progress, say: receive how many of how many labels were read, and sentences for the user.

    Raises:
        BadInput, RecordingError: something cannot be used. Nothing was started.
    """
    run = restart.run
    info = run_directory.read_info(run)
    here = Path.cwd()
    if Path(info.directory).is_dir():
        os.chdir(info.directory)  # from which the run's own relative paths count

    for damaged in damaged_in(run / "snapshots"):
        say(damaged)
    chosen = choice(run, info, restart.start, limits)
    say(f"Restarting {run.name} at iteration {chosen.iteration:,}: {chosen.reason}")
    beside = free_directory(run.parent, _name(restart, options, chosen.iteration))
    options = replace(options, out=here / (options.out or beside))
    start = from_run(run, info, chosen.iteration)
    old = recorded_training_spec(run / "run.json", info)
    solver, changes = set_fields(old.solver, restart.fields)
    nets, layer_changes = set_layer_fields([net.param for net in old.nets], restart.layer_fields)
    changes += layer_changes
    for change in changes:
        say(f"Changed: {change.where}: {change.field} {change.old} → {change.new}")
    unchanged = not changes and restart.history == "keep" and options.seed is None
    if unchanged and restart.skip is None and not options.skip_records:
        say("Nothing is changed")
    train_net, *tests = (replace(net, param=param) for net, param in zip(old.nets, nets, strict=True))
    spec = in_its_state(TrainingSpec(run / "run.json", solver, train_net, tuple(tests), as_written=False))
    start = replace(
        start,
        scale=history_scale(spec.solver_type, restart.history, old.solver, solver, start.iteration, start.step),
        skip=_skip(restart.skip, start, options, solver.max_iter),
    )
    what = tuple(changes), restart.history, restart.skip, options.skip_records
    parent = Parent(str(run), chosen.iteration, chosen.reason, *what)
    plan = make_plan(spec, start, options, parent, progress)
    if options.skip_records:
        say(f"Left out for good: {_listed(options.skip_records)}")
    return replace(plan, title=f"{spec.train.param.name or run.name} · restart of {run.name}")


def _name(restart: Restart, options: Options, start: int) -> str:
    """Name a restart after its changes, and after the iteration if the user chose it or nothing is changed."""
    changes = changes_of(restart, options.skip_records, options.seed)
    changes += ["data-caffe"] if options.data == "caffe" else []
    return restart_name(restart.run.name, changes, start if restart.start != "last-good" or not changes else None)


def changes_of(restart: Restart, skipped: Sequence[str], seed: int | None) -> list[str]:
    """Return the changes of a restart as parts of its name; `skipped` are the keys of records that are left out."""
    changes = [*restart.fields, *restart.layer_fields]
    changes += [f"history-{restart.history}"] if restart.history != "keep" else []
    if restart.skip is not None:
        window = parse_watch(restart.skip, "--skip")
        changes.append(f"skip-{window.start}" + (f"-{window.stop}" if len(window) > 1 else ""))
    if skipped:
        changes.append(f"skip_records-{skipped[0] if len(skipped) == 1 else len(skipped)}")
    return changes + ([f"seed={seed}"] if seed is not None else [])


def _listed(keys: Sequence[str]) -> str:
    few = ", ".join(keys[:_MOST_KEYS])
    return few if len(keys) <= _MOST_KEYS else f"{few} and {len(keys) - _MOST_KEYS:,} more"


def choice(run: Path, info: RunInfo, wanted: str, limits: Limits) -> Choice:
    """Choose the iteration at which the run in the directory `run` is restarted.

    Raises:
        BadInput: `wanted` is neither "last-good" nor an iteration, or nothing is good.
        RecordingError: the recording cannot be read.
    """
    with suppress(RecordingError):  # a snapshot is restarted from without a recording as well
        Recording(run).close()  # completes what a kill has left unfinished, also a snapshot
    if wanted.isascii() and wanted.isdecimal():
        return Choice(int(wanted), "as asked for")
    if wanted != "last-good":
        raise BadInput("neither last-good nor an iteration", field="--from", value=wanted, remedy="Give one of them")
    snapshots = list(iterations_of(run / "snapshots"))
    with Recording(run) as recording:
        iterations = recording.iterations
        span = display_interval(recorded_training_spec(run / "run.json", info).solver)
        onset = detect(recording, span, limits).onset
    last = int(iterations[-1]) if len(iterations) else info.first - 1
    found = last_good(snapshots, onset, span, info.first, last)
    if found is None:
        if onset:
            why = f"training went wrong at iteration {onset.iteration} ({onset.reason})"
        else:
            why = f"its recording ends at iteration {last}, before its snapshots" if snapshots else "it has no snapshot"
        begin = "" if info.first else "--from 0 to train from the beginning, or "
        raise BadInput(
            f"nothing good to restart from: {why}; snapshots: {', '.join(map(str, sorted(snapshots))) or 'none'}",
            file=run,
            remedy=f"Restart the run that it came from, {info.parent.run}"
            if info.parent
            else f"Give {begin}--from an iteration of a snapshot",
        )
    return found


def _skip(text: str | None, start: Start, options: Options, max_iter: int) -> tuple[int, int] | None:
    if text is None:
        return None
    window = parse_watch(text, "--skip")
    if window.start < start.iteration:
        raise BadInput(
            f"the run goes on at iteration {start.iteration}: what comes before was learned already",
            field="--skip",
            value=text,
            remedy=f"Begin at {start.iteration} or later, or give --from an earlier iteration",
        )
    until = options.until or max_iter
    if window.start >= until:
        raise BadInput(
            f"the run ends at iteration {until}", field="--skip", value=text, remedy="Skip earlier, or train longer"
        )
    if options.data == "caffe":
        raise BadInput("needs --data exact", field="--skip", value=text, remedy="Leave --data caffe out")
    return window.start, window.stop
