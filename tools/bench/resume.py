"""The rows about an exact resume."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from google.protobuf import text_format

from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.solver import with_net_files
from harness.caffe_files.sources import Sources
from harness.caffe_files.transformer_rng import mt19937
from harness.supervisor.positions import point_of
from harness.supervisor.resume import Start
from harness.supervisor.streams import streams_of
from harness.supervisor.training_spec import read_training_spec
from harness.worker.seekable_nets import replace_data_layers
from tools.bench import restart as restarts
from tools.bench import seek as seeks
from tools.bench.nets import PROBLEMS, Problem, googlenet, jpeg_lmdb, reading
from tools.bench.rows import Effort, Row, median, ratio_row
from tools.bench.turns import compare_solvers


def seek(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    count = 100_000 if effort.quick else 10_000_000
    places = (0, 100_000, 1_000_000)
    started = time.perf_counter()
    problem = seeks.make_spec(home, count)
    built = time.perf_counter() - started
    scanned = seeks.seek(problem, 0).opened
    rounds = [{t: seeks.seek(problem, t) for t in places} for _ in range(effort.of(10))]
    shutil.rmtree(home / "lmdb")
    typical = {t: np.median([[*asdict(done[t]).values(), done[t].total] for done in rounds], axis=0) for t in places}
    low, value, high = median([done[places[-1]].total - done[0].total for done in rounds])
    last = typical[places[-1]]
    detail = (
        f"in all {', '.join(f'{typical[t][3]:.2f} s at {t:,}' for t in places)}; the last: {last[0]:.2f} s keys "
        f"from the cache, {last[1] * 1e3:.1f} ms place, {last[2]:.2f} s until the first batch, of which "
        f"{seeks.drawing(places[-1]):.2f} s random numbers; {len(rounds)} rounds. Before that: LMDB written in "
        f"{built:.0f} s, keys and labels read in {scanned:.1f} s"
    )
    raw = {"built": built, "scanned": scanned, "seconds": [{t: asdict(s) for t, s in done.items()} for done in rounds]}
    what = f"seeking iteration {places[-1]:,} in {count:,} records, against iteration 0"
    yield Row(name, what, value, "s more", 1, True, low, high, detail, raw)


def seekable(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    source = jpeg_lmdb(home / "lmdb", 96 if effort.quick else 320, 256, 280)
    batch = 1 if effort.quick else 32
    (home / "full").mkdir()
    (home / "reading").mkdir()
    whole, alone = googlenet(home / "full", batch, source), reading(home / "reading", source, batch)
    for row, what, made, bound, pairs in (
        (name, "googlenet, JPEG records read by the seekable layer", whole, 1.05, 8),
        ("reading", "the same input in a net without other layers", alone, None, 20),
    ):
        home = made.solver.parent
        compared = compare_solvers(
            home, made.solver, _with_seekable(made), made.turn, effort.of(pairs), priority=effort.priority
        )
        done = ratio_row(row, what, bound, compared, "native")
        images = made.turn * batch
        speeds = [images / float(np.median(seconds)) for seconds in (compared.bare, compared.harness)]
        yield replace(done, detail=f"{speeds[0]:,.0f} records/s, seekable {speeds[1]:,.0f}; {done.detail}")


def _with_seekable(made: Problem) -> Path:
    """Write the same solver with a seekable layer instead of its Data layer; the batches are equal."""
    spec = read_training_spec(made.solver)
    seed = int(spec.solver.random_seed)
    source = spec.train.layers[0].data_param.source
    sources = Sources({source: open_records(Path(source))})
    (stream,) = streams_of(spec, point_of(spec, Start(), seed, sources, exact=True), sources)
    stream = replace(stream, seed=int(mt19937(seed, 1).random_raw()))  # as Caffe seeds it for the first layer of a net
    home = made.solver.parent
    net, solver = home / "seekable.prototxt", home / "seekable_solver.prototxt"
    net.write_text(text_format.MessageToString(replace_data_layers(spec.train.param, {stream.index: stream})))
    solver.write_text(text_format.MessageToString(with_net_files(spec.solver, str(net), [])))
    return solver


def restart(name: str, home: Path, effort: Effort) -> Iterator[Row]:
    small = "lenet" if effort.quick else "glyphs280"
    at = 20
    took = restarts.latency(home, PROBLEMS[small](home).solver, at, effort.of(5), 0 if effort.quick else 1)
    low, value, high = median(took.ratios)
    anew, again = (float(np.median(seconds)) for seconds in (took.anew, took.again))
    detail = (
        f"{again:.2f} s, a plain start {anew:.2f} s: whole commands that train one iteration; {len(took.anew)} pairs; "
        f"CPU time {took.again_cpu / len(took.again):.2f} s, ×{took.again_cpu / took.anew_cpu:.3f}"
    )
    what = f"{small}, restart.py until its first iteration"
    yield Row(name, what, value, "× plain", None, True, low, high, detail, asdict(took))

    replays = [("googlenet", 0.1, 2000, 4), ("glyphs280", None, 2000, 20)]
    for problem, bound, iterations, trained in [("googlenet_shapes", 0.1, 200, 3)] if effort.quick else replays:
        (home / problem).mkdir()
        solver = PROBLEMS[problem](home / problem).solver
        seen = restarts.replay(home / problem, solver, iterations, trained)
        detail = (
            f"{seen.seconds:.2f} s, `replayed` after {iterations:,} iterations of {seen.iteration:.3f} s; of it "
            f"{seen.built:.2f} s build the nets again, the rest is {1e3 * seen.each:.3f} ms an iteration"
        )
        what = f"{problem}, random numbers repeated for a snapshot of plain Caffe"
        yield Row("generator", what, 100 * seen.share, "% of training", bound, detail=detail, raw=asdict(seen))
