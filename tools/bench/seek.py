"""The time to find the position of a stream far into a training in an LMDB of millions of records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.caffe_files.lmdb_file import open_records
from harness.caffe_files.messages import pb
from harness.caffe_files.sources import Sources
from harness.caffe_files.transformer_rng import mt19937
from harness.prefetch.client import PrefetchClient
from harness.supervisor.positions import point_of
from harness.supervisor.resume import Start
from harness.supervisor.streams import streams_of
from harness.supervisor.training_spec import TrainingSpec, read_training_spec
from tools.bench.nets import write_lmdb

BATCH = 32
DRAWS = 3  # per image: mirror, and two offsets of a crop
LABELS = 997  # prime, so that a wrong record has another label


@dataclass(frozen=True)
class Seek:
    """Seconds: `opened` until the LMDB was checked and its keys were read (from the cache of keys); `found` until the
    position in them was found; `fed` until a prefetch process was started and had the first batch ready."""

    opened: float
    found: float
    fed: float

    @property
    def total(self) -> float:
        return self.opened + self.found + self.fed


def make_spec(home: Path, count: int) -> TrainingSpec:
    """Write a net that reads an LMDB of `count` records of 1×2×2 pixels, with keys as long as those of ImageNet."""
    values = [
        pb.Datum(channels=1, height=2, width=2, data=bytes(4), label=n).SerializeToString() for n in range(LABELS)
    ]

    def records() -> Iterator[tuple[bytes, bytes]]:
        for number in range(count):
            yield b"%08d_n%08d/n%08d_%05d.JPEG" % (number, number, number, number % 50_000), values[number % LABELS]

    source = write_lmdb(home / "lmdb", records())
    net = home / "net.prototxt"
    net.write_text(f"""name: "far"
layer {{ name: "data" type: "Data" top: "data" top: "label" transform_param {{ mirror: true crop_size: 1 }}
  data_param {{ source: "{source}" batch_size: {BATCH} backend: LMDB }} }}
layer {{ name: "ignored" type: "Silence" bottom: "data" bottom: "label" }}
""")
    solver = home / "solver.prototxt"
    solver.write_text(f'net: "{net}" base_lr: 0.01 lr_policy: "fixed" max_iter: 2000000 random_seed: 1\n')
    return read_training_spec(solver)


def seek(spec: TrainingSpec, iteration: int) -> Seek:
    """Go to the position of `spec` before `iteration`, and check its batch."""
    times = [time.perf_counter()]
    source = spec.train.layers[0].data_param.source
    sources = Sources({source: open_records(Path(source))})
    times.append(time.perf_counter())
    (stream,) = streams_of(spec, point_of(spec, Start(iteration), 1, sources, exact=True), sources)
    times.append(time.perf_counter())
    feed = PrefetchClient(replace(stream, seed=1))
    try:
        _, labels = feed.next()
        times.append(time.perf_counter())
    finally:
        feed.close()
    wanted = (iteration * BATCH + np.arange(BATCH)) % len(sources.images[source]) % LABELS
    if stream.draws != iteration * BATCH * DRAWS or not np.array_equal(labels, wanted):
        raise AssertionError(f"iteration {iteration}: {stream.draws} draws, labels {labels}; there are {wanted}")
    return Seek(*np.diff(times).tolist())


def drawing(iteration: int) -> float:
    """Return the seconds of skipping the outputs of the transformer's generator."""
    started = time.perf_counter()
    mt19937(1, iteration * BATCH * DRAWS)
    return time.perf_counter() - started
