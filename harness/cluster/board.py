"""A board of what each slot of a cluster does just now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from harness.cluster.connection import RESOURCE, Cluster, News, Node
from harness.errors import RecordingError

_LOOK = 1.0  # seconds between two looks at the workers
_END = 5.0  # seconds for processes on other machines to let go of files
_POLL = 0.05  # seconds between two looks at that
_FETCH = 5.0  # seconds in which an answer comes over the network

Work = TypeVar("Work")


@dataclass(eq=False)
class Slot(Generic[Work]):
    """Room for a Caffe process on a worker.

    Attributes:
        work: what it does; None if it is free.
        future: of that.
    """

    node: Node
    work: Work | None = None
    future: Any = None


@dataclass(frozen=True)
class Ended(Generic[Work]):
    """A slot has ended its work.

    Attributes:
        answer: what the function returned; None if it failed.
        why: how it failed.
    """

    slot: Slot[Work]
    work: Work
    answer: bytes | None
    why: str = ""


@dataclass(frozen=True)
class Changed(Generic[Work]):
    """The workers have changed.

    Attributes:
        lost: nodes, and what their slots did.
        rejected: sentences.
    """

    joined: tuple[Node, ...]
    lost: tuple[tuple[Node, tuple[Work, ...]], ...]
    rejected: tuple[str, ...]


class Board(Generic[Work]):
    """Slots of the workers of `cluster`, each of which does one work at a time.

    A work is pinned to its worker, so that Dask moves none by itself: who submits it knows whether another try may do.

    Attributes:
        slots: of all workers that can be used.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._events = SimpleQueue[tuple[Slot[Work], Any] | News | Exception]()
        self._nodes = dict(cluster.nodes)  # as this board knows them
        self.slots = [Slot[Work](node) for node in self._nodes.values() for _ in range(node.slots)]
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def works(self) -> list[Work]:
        """What slots do just now."""
        return [slot.work for slot in self.slots if slot.work is not None]

    def give(self, slot: Slot[Work], work: Work, key: str, function: Callable[..., bytes], *arguments: object) -> None:
        """Have a free slot do `work`: call `function` there, with `key` first, which is given once."""
        slot.work = work
        slot.future = self._cluster.client.submit(
            function,
            key,
            *arguments,
            key=key,
            workers=[slot.node.address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
        )
        slot.future.add_done_callback(lambda future: self._events.put((slot, future)))

    def next(self, seconds: float) -> Ended[Work] | Changed[Work] | None:
        """Return the next thing that happens; None if nothing does within some seconds.

        Raises:
            RecordingError: the scheduler is lost.
        """
        try:
            event = self._events.get(timeout=seconds)
        except Empty:
            return None
        match event:
            case News():
                return self._changed(event)
            case Exception():
                raise self._unreachable()
            case (slot, future) if slot.future is future and slot in self.slots:
                return self._ended(slot)
        return None

    def drop(self, node: Node) -> list[Work]:
        """Use a worker no more. Returns what its slots do."""
        works = [slot.work for slot in self.slots if slot.node == node and slot.work is not None]
        for slot in self.slots:
            if slot.node == node and slot.future is not None:
                slot.future.cancel()
        self.slots = [slot for slot in self.slots if slot.node != node]
        return works

    def close(self, seconds: float = _END) -> None:
        """End: wait for works that were told to end, for some seconds."""
        self._closed.set()
        futures = [slot.future for slot in self.slots if slot.future is not None]
        until = time.monotonic() + seconds
        while any(not future.done() for future in futures) and time.monotonic() < until:
            time.sleep(_POLL)
        for future in futures:
            future.cancel()
        self.slots = []

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK):
            try:
                news = self._cluster.look()
            except Exception as error:  # whatever Dask raises without a scheduler
                self._events.put(error)
                return
            news = self._since_last(news)
            if news.joined or news.left or news.rejected:
                self._events.put(news)

    def _since_last(self, news: News) -> News:
        """Return what is new to this board: another one of the same cluster may have looked before."""
        before, self._nodes = self._nodes, dict(self._cluster.nodes)
        joined = tuple(node for address, node in self._nodes.items() if address not in before)
        left = tuple(node for address, node in before.items() if address not in self._nodes)
        return News(joined, left, news.rejected)

    def _ended(self, slot: Slot[Work]) -> Ended[Work] | None:
        """Fetch the answer of a slot; None if it does not come: its worker may be lost, which the next look shows."""
        future, work = slot.future, slot.work
        assert work is not None
        if future.status == "cancelled":  # as the client does when it loses the scheduler
            raise self._unreachable()
        try:
            answer, why = future.result(timeout=_FETCH), ""
        except TimeoutError:
            self._events.put((slot, future))
            return None
        except Exception as error:  # of the function, or of Dask
            answer, why = None, f"{type(error).__name__}: {error}"
        slot.work = slot.future = None
        return Ended(slot, work, answer, why)

    def _changed(self, news: News) -> Changed[Work]:
        lost = tuple((node, tuple(self.drop(node))) for node in news.left)
        self.slots += [Slot[Work](node) for node in news.joined for _ in range(node.slots)]
        return Changed(news.joined, lost, news.rejected)

    def _unreachable(self) -> RecordingError:
        return RecordingError(
            f"The Dask scheduler {self._cluster.address} does not answer any more. What was finished is kept: give the "
            "same command again when it does"
        )
