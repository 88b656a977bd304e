"""The connection to a Dask cluster, and which of its workers can be used."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from harness.cluster import description
from harness.errors import BadInput

RESOURCE = "caffe"  # of a Dask worker: how many Caffe processes it may have
_CONNECT = 5.0  # seconds
_ANSWER = 20.0  # seconds in which workers have to say what they are
_OF_SCHEDULER = ("harness", "Python", "distributed")
_LOGGERS = ("distributed", "distributed.client", "tornado", "asyncio")
_START = f"Start it with --resources {RESOURCE}=N: N Caffe processes at a time"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Node:
    """A Dask worker that can be used.

    Attributes:
        address: as the scheduler has it.
        name: what the user calls it, or its host.
        slots: how many Caffe processes it may have at a time.
    """

    address: str
    name: str
    slots: int


@dataclass(frozen=True)
class News:
    """What has changed on a cluster.

    Attributes:
        rejected: a sentence for each worker that cannot be used.
    """

    joined: tuple[Node, ...]
    left: tuple[Node, ...]
    rejected: tuple[str, ...]


class Cluster:
    """The workers of a Dask scheduler.

    Attributes:
        client: connected to it.
        address: of the scheduler, as the user gave it.
        nodes: the workers that can be used, by address.
    """

    def __init__(self, client: Any, address: str) -> None:
        self.client, self.address = client, address
        self.nodes: dict[str, Node] = {}
        self._known = set[str]()
        self._rejected: tuple[str, ...] = ()
        self._here = description.describe()
        self._looking = threading.Lock()

    @property
    def slots(self) -> int:
        return sum(node.slots for node in self.nodes.values())

    def take_rejected(self) -> tuple[str, ...]:
        """Return a sentence for each worker that could not be used when the connection was made, once."""
        rejected, self._rejected = self._rejected, ()
        return rejected

    def keep_rejected(self, news: News) -> None:
        self._rejected = news.rejected

    def differences_of_scheduler(self) -> list[str]:
        """Return in what the scheduler differs from here; it needs no Caffe."""
        there = self.client.run_on_scheduler(description.describe)
        ours = {name: self._here[name] for name in _OF_SCHEDULER}
        return list(description.differences(there, ours))

    def look(self) -> News:
        """Look which workers there are now. Those that are new are asked what they compute with.

        Raises:
            OSError: the scheduler does not answer.
        """
        with self._looking:
            return self._look()

    def _look(self) -> News:
        workers = self.client.scheduler_info()["workers"]
        left = tuple(node for address, node in self.nodes.items() if address not in workers)
        for node in left:
            del self.nodes[node.address]
        new = {address: worker for address, worker in workers.items() if address not in self._known}
        self._known = set(workers)
        if not new:
            return News((), left, ())
        answers = self.client.run(description.describe, workers=list(new), on_error="return")
        names = _names({address: (new[address], answers.get(address)) for address in new})
        joined, rejected = list[Node](), list[str]()
        for address, worker in new.items():
            slots = min(int(worker["resources"].get(RESOURCE, 0)), int(worker["nthreads"]))
            why = self._unfit(answers.get(address), slots)
            if why:
                rejected.append(f"{names[address]}: {why}")
            else:
                joined.append(Node(address, names[address], slots))
        self.nodes |= {node.address: node for node in joined}
        return News(tuple(joined), left, tuple(rejected))

    def _unfit(self, answer: object, slots: int) -> str:
        """Say why a worker cannot be used; empty if it can."""
        if not isinstance(answer, dict):
            return f"it cannot say what it computes with ({answer})"
        if differing := "; ".join(description.differences(answer, self._here)):
            return differing
        return "" if slots else f"it has no resource {RESOURCE}. {_START}"


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to the scheduler at `address`, or to the one that the file of that name describes.

    Raises:
        ModuleNotFoundError: the extra `cluster` is not installed.
        BadInput: it does not answer, or has no worker that can be used.
    """
    from distributed import Client

    for name in _LOGGERS:  # what matters is said in the harness's own words
        logging.getLogger(name).setLevel(logging.CRITICAL)
    place = _place(address)
    try:
        client = Client(place, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise _unreachable(address, f"no Dask scheduler answers there ({_reason(error)})") from None
    import cloudpickle  # a requirement of distributed

    cloudpickle.register_pickle_by_value(description)
    try:
        cluster = Cluster(client, address)
        try:
            if differing := "; ".join(within(_ANSWER, cluster.differences_of_scheduler)):
                remedy = "Start the scheduler with the harness of this command; it reads what is sent to workers"
                raise BadInput(f"the scheduler differs: {differing}", field="--dask", value=address, remedy=remedy)
            news = within(_ANSWER, cluster.look)
        except (OSError, TimeoutError):
            raise _unreachable(address, f"its workers do not answer within {_ANSWER:g} seconds") from None
        if not cluster.nodes:
            raise _no_worker(address, news)
        cluster.keep_rejected(news)
        yield cluster
    finally:
        cloudpickle.unregister_pickle_by_value(description)
        client.close(timeout=2)


def within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """Return what `ask` returns.

    Raises:
        TimeoutError: it takes longer than `seconds`; it is left to itself then.
    """
    answers = SimpleQueue[Answer | Exception]()

    def put() -> None:
        try:
            answers.put(ask())
        except Exception as error:
            answers.put(error)

    threading.Thread(target=put, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _place(address: str) -> str:
    """Return the address of a scheduler, which may be in a scheduler file."""
    path = Path(address)
    if "://" in address or not path.exists():
        if "://" not in address and ("/" in address or address.endswith(".json")):
            raise _unreachable(address, "there is no such scheduler file")
        return address
    try:
        return str(json.loads(path.read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError):
        remedy = "Give the file that dask scheduler --scheduler-file wrote"
        raise BadInput("this is no scheduler file", field="--dask", value=address, remedy=remedy) from None


def _names(workers: dict[str, tuple[Any, object]]) -> dict[str, str]:
    """Return what to call workers: as the user named them, or by host, with the port where a host has several."""
    names = {}
    for address, (worker, answer) in workers.items():
        given = str(worker["name"])
        host = answer.get(description.HOST, address) if isinstance(answer, dict) else address
        names[address] = str(host) if "://" in given or given == address else given
    several = {name for name, count in Counter(names.values()).items() if count > 1}
    return {a: f"{name}:{a.rpartition(':')[2]}" if name in several else name for a, name in names.items()}


def _unreachable(address: str, problem: str) -> BadInput:
    remedy = "Start one with dask scheduler, and give its address (tcp://HOST:8786) or its scheduler file"
    return BadInput(problem, field="--dask", value=address, remedy=remedy)


def _no_worker(address: str, news: News) -> BadInput:
    if not news.rejected:
        remedy = f"Start workers: dask worker {address} --nthreads 1 --resources {RESOURCE}=1"
        return BadInput("the scheduler has no workers", field="--dask", value=address, remedy=remedy)
    return BadInput(
        f"no worker there can be used ({'; '.join(news.rejected)})",
        field="--dask",
        value=address,
        remedy=f"Start workers of the same versions, with --resources {RESOURCE}=N",
    )


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
