"""Messages between an engine and its replay workers, as MessagePack."""

from __future__ import annotations

import msgspec

from harness.schemas.arm import Arm, ArmResult
from harness.schemas.feed import Feed


class Task(msgspec.Struct, frozen=True):
    """An arm that a worker is to replay.

    Attributes:
        feed: the batches of all its passes.
        lead: those of the passes before it, from the worker's checkpoint on.
    """

    arm: Arm
    feed: Feed
    lead: Feed = ()


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A worker has its checkpoint: the digest of its weights, and what may keep a replay from the recorded bits."""

    digest: int
    not_exact: tuple[str, ...] = ()


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """A worker cannot make its checkpoint: the message of a BadInput."""

    message: str


class Progress(msgspec.Struct, frozen=True, tag=True):
    """How far a worker is with an arm.

    Attributes:
        key: of the arm.
        first: iteration of the first of `losses`. If it is the arm's start again, the arm was begun anew: its process
            was killed.
        losses: of the iterations since the message before.
    """

    key: str
    first: int
    losses: tuple[float, ...]


class Done(msgspec.Struct, frozen=True, tag=True):
    """A worker has finished an arm."""

    result: ArmResult


FromWorker = Ready | Unfit | Progress | Done

encode = msgspec.msgpack.Encoder().encode
decode_task = msgspec.msgpack.Decoder(Task).decode
decode_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
