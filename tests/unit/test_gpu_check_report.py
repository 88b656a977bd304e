"""The report of tools/check_gpu."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tools.bench.turns import Comparison
from tools.gpu_checks import machine
from tools.gpu_checks.checks import Check
from tools.gpu_checks.cuda_driver import Card
from tools.gpu_checks.machine import describe
from tools.gpu_checks.place import Place
from tools.gpu_checks.report import Report, markdown
from tools.gpu_checks.results import Result
from tools.gpu_checks.speed import ratio_of


def never(place: Place) -> Result:
    raise AssertionError


CHECKS = [Check(name, f"Is {name} right?", never, 1) for name in ("one", "two", "three", "four")]
REPORT = Report(
    title="Checks on a GPU",
    began="2026-12-01 05:00:00 UTC",
    command="tools/check_gpu --out r.md",
    facts=(("GPU", "A card | of two"),),
    checks=CHECKS,
    results={
        "one": Result("passed", "All is well.", seconds=1.25),
        "two": Result("failed", "A | B\ndiffer.", output="line 1\n~~~\nline `2`", seconds=2),
        "three": Result(
            "measured", "", ratio=ratio_of("net", False, Comparison(10, (1, 1, 1), (1.1, 1.02, 1.5), 3, 3)), seconds=30
        ),
    },
    ended=None,
)


def test_a_report_with_a_failure() -> None:
    assert (
        markdown(REPORT)
        == """\
# Checks on a GPU

**1 passed, 1 measured, 1 failed, 1 not begun.** The checks are still running, or were killed.

Made by `tools/check_gpu --out r.md`, begun 2026-12-01 05:00:00 UTC.

|  |  |
| --- | --- |
| GPU | A card \\| of two |

## Checks

| check | result | what was found | time |
| --- | --- | --- | --- |
| `one`: Is one right? | passed | All is well. | 1.2 s |
| `two`: Is two right? | **failed** | A \\| B differ. | 2.0 s |
| `three`: Is three right? | measured | net, every iteration recorded: × 1.100. | 30.0 s |
| `four`: Is four right? | not begun |  |  |

## Speed

The time of a training under the harness, as a multiple of that in plain pycaffe: the median of pairs of neighbouring \
turns, and the interval that encloses the true median with 95 %.

| training | an iteration | ratio | 95 % | how measured |
| --- | --- | --- | --- | --- |
| net, every iteration recorded | 100.00 ms | × 1.100 | 1.020 to 1.500 | 3 pairs of 10 iterations; two turns of plain \
pycaffe differ by 0.0% |

## Output of failed checks

### two

~~~text
line 1

line `2`
~~~
"""
    )


def test_a_report_says_why_no_more_checks_follow() -> None:
    assert "not begun.** The checks were interrupted.\n" in markdown(
        replace(REPORT, ended="The checks were interrupted.")
    )
    whole = replace(REPORT, checks=CHECKS[:3])
    assert "**1 passed, 1 measured, 1 failed.**\n" in markdown(whole)


def test_the_facts_name_the_card_and_the_versions() -> None:
    facts = dict(describe(Card("A card", "9.0", 141.0, "13.1")))
    assert facts["GPU"] == "A card, compute capability 9.0, 141.0 GiB"
    assert facts["driver"].endswith("for CUDA up to 13.1")
    assert {"harness", "Caffe", "CuPy", "Python", "machine"} <= set(facts)
    assert "GPU" not in dict(describe(None))


def test_the_facts_tell_how_a_build_for_gpus_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DUSE_CUDNN=OFF", "-DCUDA_ARCH_BIN=75 90"]
    build = {"version": "1.0.0+bvlc.cuda", "device": "cuda", "toolkit": {"nvcc": "Build 1"}, "cmake_options": options}
    monkeypatch.setattr(machine, "caffe_build", lambda: build)
    facts = dict(describe(None))
    assert facts["Caffe"] == "1.0.0+bvlc.cuda, built for cuda"
    assert (facts["CUDA"], facts["cuDNN"]) == ("Build 1; machine code for 75 90", "not used")
    monkeypatch.setattr(machine, "caffe_build", lambda: {"device": "cuda", "path": "/"})
    assert dict(describe(None))["cuDNN"] == "unknown"
