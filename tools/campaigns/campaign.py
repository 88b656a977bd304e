"""Run the cases of a campaign in several processes, and keep their results in a journal.

A case is made from its number alone, so any one can be run again by itself. The journal has one line of JSON per case;
a campaign that was interrupted continues with the cases that are not in it.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType

import msgspec


class Case(msgspec.Struct, frozen=True):
    """The result of one case.

    Attributes:
        number: the case is made from this.
        kind: what was done, as "flip a bit of run.json".
        outcome: what came of it, in a few words, as "exit 2".
        failure: what is wrong with it, with the evidence; None if it is as documented.
        seconds: duration.
    """

    number: int
    kind: str
    outcome: str
    failure: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Campaign:
    """A kind of case.

    Attributes:
        name: as on the command line.
        cases: how many make the published figure.
        limit: seconds after which a case counts as a hang.
        check: makes and checks the case of a number. An exception that it raises is a failure of that case.
    """

    name: str
    cases: int
    limit: float
    check: Callable[[int], Case]


def read_journal(path: Path) -> dict[int, Case]:
    """Read the cases of a journal, by number. A line that a kill cut short is left out."""
    cases = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            case = msgspec.json.decode(line, type=Case)
        except msgspec.DecodeError:
            continue
        cases[case.number] = case
    return cases


def run(campaign: Campaign, numbers: Iterable[int], journal: Path, jobs: int) -> Iterator[Case]:
    """Run the cases of `numbers` that are not in the journal, `jobs` at a time, and yield each once it is in there.

    A case that kills its process is a failure.
    """
    done = read_journal(journal)
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as file:
        if file.tell() and not journal.read_bytes().endswith(b"\n"):
            file.write(b"\n")
        for case in _results(campaign, [number for number in numbers if number not in done], jobs):
            file.write(msgspec.json.encode(case) + b"\n")
            file.flush()
            yield case


def _results(campaign: Campaign, numbers: Sequence[int], jobs: int) -> Iterator[Case]:
    """Run cases, `jobs` at a time. Those that were running when one killed its process are run again, each alone."""
    left = iter(numbers)
    broken = True
    while broken:
        broken = False
        again = []
        with ProcessPoolExecutor(jobs) as pool:
            running: dict[Future[Case], int] = {}
            try:
                while True:
                    for number in islice(left, 0 if broken else 2 * jobs - len(running)):
                        try:
                            running[pool.submit(_checked, campaign, number)] = number
                        except BrokenProcessPool:
                            broken = True
                            again.append(number)
                            break
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        number = running.pop(future)
                        try:
                            case = future.result()
                        except BrokenProcessPool:
                            broken = True
                            again.append(number)
                        else:
                            yield case
            finally:
                for future in running:
                    future.cancel()
        yield from (_alone(campaign, number) for number in sorted(again))


def _alone(campaign: Campaign, number: int) -> Case:
    """Run a case in a process of its own."""
    try:
        with ProcessPoolExecutor(1) as pool:
            return pool.submit(_checked, campaign, number).result()
    except BrokenProcessPool:
        return Case(
            number, "?", "killed its process", failure="the process of the case died (a signal, or a hang in C)"
        )


def summary(cases: Iterable[Case]) -> list[str]:
    """Return lines that count the outcomes of each kind of case, failures first."""
    counts = Counter((case.failure is None, case.kind, case.outcome) for case in cases)
    rows = sorted(counts.items(), key=lambda item: (item[0][0], item[0][1], -item[1]))
    return [f"{count:8d}  {'ok  ' if good else 'FAIL'}  {kind}: {outcome}" for (good, kind, outcome), count in rows]


def _checked(campaign: Campaign, number: int) -> Case:
    start = time.monotonic()
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, campaign.limit)
    faulthandler.dump_traceback_later(10 * campaign.limit, exit=True)  # C code that never returns
    try:
        case = campaign.check(number)
    except Exception:  # any of them is a failure of the case, not of the campaign
        case = Case(number, "?", "exception", failure=traceback.format_exc())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    return msgspec.structs.replace(case, seconds=round(time.monotonic() - start, 3))


def _stop(number: int, frame: FrameType | None) -> None:
    raise TimeoutError("the case takes too long")


def default_jobs() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))
