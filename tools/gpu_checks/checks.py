"""The list of checks, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tools.gpu_checks.alarms import finds_a_break, stops_at_nan
from tools.gpu_checks.exactness import repeats, resumes, same_as_caffe
from tools.gpu_checks.observations import probes, windows
from tools.gpu_checks.place import Place
from tools.gpu_checks.results import Result
from tools.gpu_checks.selftest import selftest
from tools.gpu_checks.speed import measure


@dataclass(frozen=True)
class Check:
    """A check: its name, its question, and the share of the time limit that it may take."""

    name: str
    question: str
    run: Callable[[Place], Result]
    share: float
    on_cpu: bool = True


CHECKS = (
    Check("selftest", "Does the self-test that begins every run pass?", selftest, 0.25, on_cpu=False),
    Check("probes", "Are statistics and digests those that the CPU computes from copies?", probes, 0.25),
    Check("repeats", "Do two runs have the same bits?", repeats, 0.25),
    Check("caffe", "Does a run have the weights of `caffe train`?", same_as_caffe, 0.2),
    Check("window", "Are the arrays of a window those that plain pycaffe reads?", windows, 0.2),
    Check("resume", "Does a restart from a snapshot have the bits of the run?", resumes, 0.2),
    Check("break", "Is a training that breaks found and stopped?", finds_a_break, 0.2),
    Check("nan", "Does a run stop at the first NaN or infinity?", stops_at_nan, 0.1),
    Check("glyphs280", "What does recording cost?", partial(measure, net="glyphs280", window=False), 0.25),
    Check("googlenet", "What does recording cost?", partial(measure, net="googlenet", window=False), 0.3),
    Check("full-speed", "What does a window cost?", partial(measure, net="glyphs280", window=True), 0.25),
)
