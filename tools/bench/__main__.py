"""Measure the cost of recording and of an exact resume, and the speed of reports, logs and data, on this machine.

Recording: the same solver is trained in two lanes, `solver.step(1)` alone and `harness/run.py` (with its live panel), a
few iterations each in turn; the result is the median ratio of neighbouring turns. With --against, a third lane has the
harness of another checkout. Also the speed at which a window is
written to the disk, compared with dd, and the growth of both processes.

Where: CPU seconds of the parts of the supervisor while it records. Weights: their norms and digest, compared with those
of 0.2.0.

Start: the time from a command to its first iteration, run.py and restart.py compared with `caffe train`.

Resume: the time to find the position in an LMDB of ten million records (which needs 1.3 GB of disk and as much memory);
the cost of the seekable layer compared with Caffe's own, again in turns; the time of `restart.py` compared with a plain
start; and the time to repeat the random numbers that a snapshot does not contain.

Rewind: the time of rewind.py compared with restart.py over the same iterations.

Arms: a control compared with restart.py over the same iterations, and the number of short arms in a second.

Cluster: a study of twenty arms with two workers, of the local pool and of a Dask cluster on this machine.

Reports: the time and memory for a long run. Data: the speed of make_lmdb compared with convert_imageset.

Logs: the speed of reading one compared with Caffe's own parse_log.py on the same file, and the growth of memory.

Two benchmarks are commands of their own: `python -m tools.bench faults`, whether explain.py finds the causes of planted
faults, and `python -m tools.bench rescue`, whether rescue.py gets past them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich_argparse import RawDescriptionRichHelpFormatter

from tools.bench import (
    arms,
    cluster,
    disk,
    log,
    make_lmdb,
    memory,
    report,
    resume,
    rewind,
    start,
    training,
    weights,
    where,
)
from tools.bench.faults import command as faults
from tools.bench.nets import ROOT
from tools.bench.rescue import command as rescue
from tools.bench.rows import Effort, Row
from tools.bench.turns import LaneDied

ROWS: dict[str, Callable[[str, Path, Effort], Iterator[Row]]] = {
    "glyphs280": training.rows("glyphs280", 1.02, 20),
    "lenet": training.rows("lenet", 1.05, 20),
    "googlenet": training.rows("googlenet", 1.005, 8),
    "window": training.rows("glyphs280", 1.10, 20, window=True),
    "where": where.rows("lenet"),
    "where-glyphs280": where.rows("glyphs280"),
    "where-window": where.rows("glyphs280", window=True),
    "weights": weights.rows,
    "disk": disk.rows,
    "memory": memory.rows,
    "start": start.rows,
    "seek": resume.seek,
    "seekable": resume.seekable,
    "restart": resume.restart,
    "rewind": rewind.rows,
    "arms": arms.rows,
    "cluster": cluster.rows,
    "log": log.rows,
    "report": report.rows,
    "make_lmdb": make_lmdb.rows,
}


def machine() -> dict[str, Any]:
    """Describe the machine and its load, on which the figures depend."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "cpu": next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
    }


def software(home: Path) -> dict[str, Any]:
    """Return the BLAS threads and core and the versions in the run.json of a measured run."""
    for path in home.glob("*/run/run.json"):
        host = json.loads(path.read_text())
        names = ("blas_threads", "blas", "versions", "caffe", "harness")
        return {name: host[name] for name in names if name in host}
    return {}


def draw(console: Console, rows: Sequence[Row], host: dict[str, Any]) -> None:
    table = Table(title="What recording and an exact resume cost", title_justify="left", show_lines=False)
    for column in ("", "what", "median", "95 %", "bound", "holds", "how measured"):
        table.add_column(column, justify="right" if column in ("median", "bound") else "left")
    for row in rows:
        spread = f"{row.low:.3f} … {row.high:.3f}" if row.low is not None else ""
        verdict = f"[{'green' if row.holds else 'bold red'}]{row.verdict}"
        limit = f"{'≤' if row.at_most else '≥'} {row.bound:.4g}" if row.bound is not None else ""
        style = None if row.holds else "red"
        table.add_row(
            row.name, row.what, f"{row.value:.3f} {row.unit}", spread, limit, verdict, row.detail, style=style
        )
    console.print(table)
    blas = host.get("blas", {})
    console.print(
        f"{host['cpu']}, {host['cores']} cores, {host['memory_gib']} GiB, Linux {host['kernel']}; OpenBLAS "
        f"{blas.get('core', '?')} on {blas.get('threads', '?')} threads; load average {host['load_before']:.1f} "
        f"before, {host['load_after']:.1f} after; {host['seconds']:.0f} s",
        highlight=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    other = {"faults": faults.main, "rescue": rescue.main}.get("".join(given[:1]))
    return measure(given) if other is None else other(given[1:])


def measure(arguments: Sequence[str]) -> int:
    """Measure the rows that `arguments` name."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench", description=__doc__, formatter_class=RawDescriptionRichHelpFormatter
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME", help=f"only these: {', '.join(ROWS)}")
    add(
        "--pairs",
        type=int,
        metavar="N",
        help="pairs of turns per row (default: 20; googlenet 8, seekable 8, seek 10, restart 5, log 5, disk 3)",
    )
    add("--quick", action="store_true", help="a fifth of everything: shows that it works, not how fast it is")
    add("--against", type=Path, metavar="DIR",
        help="another checkout, installed or built like this one: what recording costs with its harness is measured in "
        "turn with this one's (rows glyphs280, lenet, googlenet and window)")  # fmt: skip
    add("--out", type=Path, metavar="FILE", help="where the JSON goes (default: runs/bench-DATE.json)")
    add("--priority", type=int, default=0, metavar="NICE",
        help="as root, on a shared machine: nice value of the measured processes, such as -19")  # fmt: skip
    args = parser.parse_args(arguments)
    effort = Effort(args.pairs, args.quick, args.priority, args.against and args.against.resolve())
    out = args.out or ROOT / "runs" / f"bench-{time.strftime('%Y%m%d-%H%M%S')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    progress = Console(stderr=True)
    console = Console(width=None if sys.stdout.isatty() else 190)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the lanes are ended: some of them are stopped
    started, host, rows = time.perf_counter(), machine(), []
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=out.parent)).resolve()  # on the disk of the runs
    os.environ["XDG_CACHE_HOME"] = str(home / ".cache")  # the labels of these LMDBs are not needed again
    try:
        for name in args.only:
            with progress.status(f"{name}…"):
                (home / name).mkdir()
                rows += list(ROWS[name](name, home / name, effort))
            progress.print(f"{name}: {rows[-1].value:.3f} {rows[-1].unit}", highlight=False)
        host |= software(home)
    except LaneDied as death:
        progress.print(f"[bold red]{name}: a lane ended unexpectedly[/]\n", str(death), highlight=False, markup=False)
        return 1
    finally:
        shutil.rmtree(home)
    host |= {"load_after": os.getloadavg()[0], "seconds": time.perf_counter() - started, "quick": args.quick}
    draw(console, rows, host)
    report = {"machine": host, "rows": [asdict(row) | {"holds": row.holds} for row in rows]}
    out.write_text(json.dumps(report, indent=1) + "\n")
    console.print(f"saved as {out}", highlight=False)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
