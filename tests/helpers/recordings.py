"""Layouts, frames and messages of synthetic recordings."""

from __future__ import annotations

import numpy as np

from harness.recording import Window
from harness.recording.ring import Kind, Ring
from harness.schemas.captures import CAPTURES
from harness.schemas.events import End, encode_note
from harness.schemas.layout import INPUT_STATS, STATS, Activation, Array, Head, Layout, Output, Param


def layout_of(blobs: int = 2, window: Window | None = None) -> Layout:
    params = tuple(Param(f"conv{i}/3x3", 0, (3, 4), 1.0, 1.0) for i in range(blobs))
    arrays = [Array(kind, p.layer, p.index, p.shape) for kind in CAPTURES[:3] for p in params]
    return Layout(
        params=params,
        outputs=(Output("loss1/loss1", 1), Output("prob", 3)),
        test_outputs=((Output("loss", 1),),),
        heads=(Head("loss1/loss1", 1.0, 3),),
        activations=(Activation("data", (8, 1, 2, 2)),),
        relus=(),
        windows=(window,) if window else (),
        arrays=tuple(arrays) if window else (),
        inputs=(Activation("data", (8, 1, 2, 2)), Activation("label", (8,))),
    )


def frame(layout: Layout, iteration: int) -> np.ndarray:
    row = np.zeros(1, layout.frame_dtype)
    row["iteration"] = iteration
    row["loss"] = iteration / 7
    row["digest"] = iteration * 0x9E3779B97F4A7C15 % 2**64
    row["output"] = np.arange(4) + iteration
    row["stat"] = np.arange(len(STATS))[:, None] + iteration
    row["input"] = np.arange(len(INPUT_STATS))[:, None] - iteration
    return row


def fill_ring(fd: int, layout: bytes, count: int) -> None:
    ring, plan = Ring(fd), Layout.decode(layout)
    ring.put(Kind.LAYOUT, layout)
    for t in range(count):
        for index, array in enumerate(plan.arrays if plan.in_window(t) else ()):
            for start, stop in array.slabs(16):
                values = np.full((stop - start, 4), t + index / 10 + start, np.float32)
                ring.put(Kind.SLAB, values, iteration=t, index=index, start=start)
        ring.put(Kind.FRAME, frame(plan, t), iteration=t)
    ring.put(Kind.NOTE, encode_note(End(count, "0" * 16)))
