"""Legs on a Dask worker: the same process as on one machine, which ends when its Dask worker does."""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.cluster.slots import is_released
from harness.errors import BadInput
from harness.recording.run_directory import read_info
from harness.schemas.leg import Leg, LegResult
from harness.schemas.run_info import Verification
from harness.studies.local_legs import LegProcess

_LOOK = 0.2  # seconds between two looks at the process


class Controlled(msgspec.Struct, frozen=True):
    """What the control of a worker has shown.

    Attributes:
        verified: how its weights compare with those of its parent; None if it did not train.
        why: what it said then; empty if it said nothing.
    """

    verified: Verification | None
    why: str = ""


decode_result = msgspec.json.Decoder(LegResult).decode
decode_controlled = msgspec.json.Decoder(Controlled).decode


def carry_out(key: str, leg: bytes) -> bytes:
    """Carry out a leg. Returns its LegResult, encoded.

    Another process of the leg, on a machine that the scheduler has lost, is waited for. If the scheduler has given this
    call up, the leg ends with a snapshot.

    Args:
        key: of this call, as Dask has it.
        leg: a Leg, encoded.
    """
    return msgspec.json.encode(_result(key, msgspec.json.decode(leg, type=Leg)))


def control(key: str, leg: bytes) -> bytes:
    """Make a leg in a temporary directory. Returns a Controlled, encoded."""
    given = msgspec.json.decode(leg, type=Leg)
    verified: Verification | None = None
    with tempfile.TemporaryDirectory(prefix="caffe-harness-", ignore_cleanup_errors=True) as home:
        directory = Path(home) / "control"
        result = _result(key, msgspec.structs.replace(given, directory=str(directory)))
        with suppress(BadInput):
            verified = read_info(directory).verified
    return msgspec.json.encode(Controlled(verified, result.why))


def _result(key: str, leg: Leg) -> LegResult:
    process, stopped = LegProcess(leg), False
    while (result := process.result()) is None:
        time.sleep(_LOOK)
        if not stopped and is_released(key):
            process.stop()
            stopped = True
    return result
