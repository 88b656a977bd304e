"""Campaign: mutated solvers and nets are planned or refused; those that are planned end as documented.

Every case is planned in this process, without Caffe. Every hundredth is also run for an iteration, and what is refused
is given to `caffe train`, which must not train it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import psutil
from google.protobuf import text_format

from harness.caffe_files.messages import pb
from harness.errors import BadInput
from harness.exit_codes import Exit
from harness.supervisor.options import Options
from harness.supervisor.plan import make_plan
from harness.supervisor.resume import from_weights
from harness.supervisor.training_spec import read_training_spec
from tools.campaigns.base_nets import ROOT, Base, bases, data_directory
from tools.campaigns.campaign import Campaign, Case
from tools.campaigns.prototxt_mutations import mutated_message, mutated_text

WHOLE_WAY = int(os.environ.get("PROTOTXT_WHOLE_WAY", "100"))  # each case with a number divisible by it
_PLANNING = 10.0  # seconds of processor time
_RUNNING = 100.0  # seconds, on a busy machine
_PASSES = 1000
_MEMORY = 4 << 20  # KiB of address space for Caffe: a mutated num_output may ask for any amount

# Refused though `caffe train` does something: what it does is not what anyone wants.
_STRICTER = (
    "nothing to do",  # max_iter 0
    "no layer is left",  # trains nothing
    "labels lie outside",  # reads out of bounds
    "must lie between 0 and 1",  # dropout_ratio, rms_decay: NaN
    "Caffe cannot write an HDF5 snapshot",  # aborts at the first snapshot
    "a name has at most",  # as well
    "no such HDF5 file", "no such image",  # aborts once it reads that far
    "larger than an image",
    "bytes, and a name",
    "the learning rate is 0 at every iteration", "becomes NaN or infinite at once",
)  # fmt: skip


def check(number: int) -> Case:
    """Make and check the case of that number."""
    chance = random.Random(number)
    with tempfile.TemporaryDirectory(prefix="caffe-harness-campaign-") as name:
        home = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(data_directory() / "cache")
        base = chance.choice(bases())
        kind = _write(home, base, chance)
        start = time.process_time()
        with chdir(home):  # a relative path in a mutated file names nothing of this repository
            refusal = refusal_of(home)
        seconds = time.process_time() - start
        if seconds > _PLANNING:
            return Case(number, kind, "planned", f"planning took {seconds:.1f} s")
        if number % WHOLE_WAY or not base.quick or _is_long(home / "solver.prototxt"):
            return Case(number, kind, "refused" if refusal else "planned", _unclear(refusal))
        return whole_way(number, kind, home, refusal)


def _write(home: Path, base: Base, chance: random.Random) -> str:
    """Write the solver and the net of a case into `home`, and say what was mutated."""
    texts = {"solver": base.solver, "net": base.net}
    texts = {
        what: text.replace("{net}", f"{home}/net.prototxt").replace("{data}", str(data_directory()))
        for what, text in texts.items()
    }
    what = chance.choice(("net", "net", "solver"))
    if chance.random() < 0.4:
        done, texts[what] = mutated_text(texts[what], chance)
    else:
        message = pb.SolverParameter() if what == "solver" else pb.NetParameter()
        text_format.Parse(texts[what], message)
        done = mutated_message(message, chance)
        texts[what] = text_format.MessageToString(message)
    for name, text in texts.items():
        (home / f"{name}.prototxt").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    return f"{what}: {done}"


def refusal_of(home: Path) -> str | None:
    """Plan the run of the case in `home`. Returns why it is refused; None if it is not."""
    try:
        spec = read_training_spec(home / "solver.prototxt")
        make_plan(spec, from_weights(None, spec.solver), Options(out=home / "run", until=1))
    except BadInput as error:
        return str(error)
    return None


def _unclear(refusal: str | None) -> str | None:
    """Return what is wrong with the text of an error; None if nothing is."""
    if refusal is None:
        return None
    for part in ("Traceback", " @ 0x", "…-1", "object at 0x"):
        if part in refusal:
            return f"the error has {part!r}: {refusal}"
    return None


def whole_way(number: int, kind: str, home: Path, refusal: str | None) -> Case:
    """Run the case in `home` for an iteration with the harness and, if that does not train, with Caffe alone."""
    code, said = _limited(home, sys.executable, ROOT / "harness/run.py", "--solver", home / "solver.prototxt",
                          "--out", home / "run", "--until", 1, "--on-alarm", "continue")  # fmt: skip
    outcome = f"exit {code}" + (" while planning" if refusal else " while building" if code == Exit.BAD_INPUT else "")
    if code not in {int(known) for known in Exit} - {Exit.INTERRUPTED}:
        return Case(number, kind, outcome, f"not a documented exit code: {said[-3000:]}")
    if "Traceback" in said or " @ 0x" in said:
        return Case(number, kind, outcome, f"a traceback, or a stack frame: {said[-3000:]}")
    if (code == Exit.BAD_INPUT) < (refusal is not None):
        return Case(number, kind, outcome, f"planning refused it: {refusal}")
    if code == Exit.BAD_INPUT and (home / "run").exists():
        return Case(number, kind, outcome, f"it left its run directory: {said[-3000:]}")
    if code == Exit.DONE or any(reason in said for reason in _STRICTER):
        return Case(number, kind, outcome)
    trained, log = trained_by_caffe(home)
    if code == Exit.BAD_INPUT and trained:
        return Case(number, kind, outcome, f"Caffe trains it: {said[-3000:]}")
    if code == Exit.WORKER_DIED and "Solving " not in log:
        return Case(number, kind, outcome, f"Caffe does not build it: {said[-1000:]}\n{log[-2000:]}")
    return Case(number, kind, f"{outcome}, Caffe fails as well")


def _is_long(solver: Path) -> bool:
    """Check whether an iteration, or the test before it, has so many passes that it cannot be waited for."""
    param = _parsed(solver)
    return param is not None and max(param.iter_size, *param.test_iter, 0) > _PASSES


def _parsed(solver: Path) -> pb.SolverParameter | None:
    try:
        return text_format.Parse(solver.read_bytes().decode(errors="replace"), pb.SolverParameter())
    except text_format.ParseError:
        return None


def trained_by_caffe(home: Path) -> tuple[bool, str]:
    """Train an iteration with `caffe train`, without snapshots. Returns whether it succeeds, and what it prints."""
    solver = _parsed(home / "solver.prototxt")
    if solver is None:
        return False, "not a solver"
    solver.snapshot = 0
    solver.snapshot_after_train = False
    solver.snapshot_prefix = str(home / "native")
    solver.max_iter = 1
    (home / "native.prototxt").write_text(text_format.MessageToString(solver))
    code, said = _limited(home, Path(sys.executable).with_name("caffe"), "train", "--solver=native.prototxt")
    return code == 0, said


def _limited(home: Path, *command: object) -> tuple[int, str]:
    """Run a command in `home` with limited memory. Returns its exit code, and what it printed on standard error."""
    with subprocess.Popen(
        ["bash", "-c", f'ulimit -v {_MEMORY}; exec "$@"', "bash", *map(str, command)],
        cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        try:
            _, said = process.communicate(timeout=_RUNNING)
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
    return process.returncode, said.decode(errors="replace")


CAMPAIGN = Campaign("prototxt", 50_000, 2 * _RUNNING, check)
