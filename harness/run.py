"""Step a Caffe solver and record what every layer does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a file: put the repository, not harness/, on the path
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console
from rich.progress import Progress
from rich.text import Text
from rich_argparse import RawDescriptionRichHelpFormatter

from harness.recording.errors import BadInput
from harness.recording.layout import CAPTURES
from harness.recording.outcome import Exit
from harness.rendering.terminal import Terminal
from harness.solver.plan import Options, make_plan
from harness.solver.session import Session

_EXAMPLES = """
Examples:
  python harness/run.py --solver quick_solver.prototxt --watch 118900:119100
  python harness/run.py --solver quick_solver.prototxt --weights bvlc_googlenet.caffemodel --until 5000

Exit codes: 0 done, 1 the recording could not be written any further, 2 bad input (nothing was started),
4 the solver process died, 130 interrupted.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness/run.py", description=f"{__doc__}\n{_EXAMPLES}", formatter_class=RawDescriptionRichHelpFormatter
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("--solver", type=Path, required=True, metavar="FILE", help="solver prototxt, as for caffe train")
    start = what.add_mutually_exclusive_group()
    start.add_argument("--weights", metavar="FILE", help="fine-tune from this caffemodel, by layer name")
    start.add_argument("--resume", type=Path, metavar="FILE", help="go on from this solverstate, as caffe train does")
    device = what.add_mutually_exclusive_group()
    device.add_argument("--cpu", action="store_true", help="run on the CPU whatever the solver says")
    device.add_argument("--gpu", type=int, metavar="N", help="run on GPU N")
    what.add_argument("--until", type=int, metavar="N", help="stop at iteration N (default: the solver's max_iter)")
    what.add_argument("--seed", type=int, metavar="N", help="default: the solver's random_seed, else one is drawn")

    keep = parser.add_argument_group("what to keep")
    keep.add_argument(
        "--watch",
        action="append",
        default=[],
        metavar="A:B",
        help="keep all weights, gradients, updates and inputs of iterations A … B-1; may be given several times",
    )
    keep.add_argument(
        "--capture", default=",".join(CAPTURES), metavar="LIST", help="what --watch keeps (default: %(default)s)"
    )
    keep.add_argument("--out", type=Path, metavar="DIR", help="run directory (default: runs/SOLVER-DATE-TIME)")
    keep.add_argument("--snapshot-every", type=int, metavar="N", help="snapshot interval (default: the solver's)")
    keep.add_argument(
        "--ring-mib",
        type=int,
        default=128,
        metavar="MIB",
        help="shared memory between the two processes (default: %(default)s)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run with `arguments` (default: the command line's), and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = _parser().parse_args(given)
    console = Console(stderr=True)
    options = Options(
        solver=args.solver,
        watch=tuple(args.watch),
        weights=args.weights,
        resume=args.resume,
        out=args.out,
        cpu=args.cpu,
        gpu=args.gpu,
        until=args.until,
        seed=args.seed,
        capture=args.capture,
        snapshot_every=args.snapshot_every,
        ring_mib=args.ring_mib,
        command=("run.py", *given),
    )
    try:
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("Reading labels", visible=False)
            plan = make_plan(options, lambda done, total: bar.update(task, completed=done, total=total, visible=True))
        terminal = Terminal(console)
        for remark in plan.remarks:
            terminal.say(remark)
        try:
            outcome = Session(plan, terminal).run()
        finally:
            terminal.close()
    except BadInput as error:
        console.print(Text(f"error: {error}", style="bold red"), soft_wrap=True)  # in Text, :100: is no emoji
        return Exit.BAD_INPUT
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    if outcome.code != Exit.BAD_INPUT:
        print(plan.out)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
