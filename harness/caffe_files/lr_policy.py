"""Compute the learning rate of an iteration as Caffe does (SGDSolver::GetLearningRate, sgd_solver.cpp).

Caffe computes in float32, with the C library's pow and exp. numpy's own differ from those in the last bit, so the C
library is called here too. If one argument of pow is an int (step, exp, multistep), C++ uses the double version.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from harness.caffe_files.messages import pb
from harness.errors import BadInput, nearest

LR_POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid")


@dataclass(frozen=True)
class OddRates:
    """Iterations `first` … `stop` - 1, whose learning rates are 0 or not finite; `rate` is that of the first one."""

    first: int
    stop: int
    rate: float


_FLOAT, _DOUBLE = ctypes.c_float, ctypes.c_double


def _function(name: str, number: type[ctypes.c_float | ctypes.c_double], arguments: int) -> Callable[..., float]:
    function: Callable[..., float] = ctypes.CFUNCTYPE(number, *[number] * arguments)((name, _LIBM))
    return function


_LIBM = ctypes.CDLL("libm.so.6")  # of glibc; ctypes.util.find_library would start ldconfig
_powf = _function("powf", _FLOAT, 2)
_expf = _function("expf", _FLOAT, 1)
_pow = _function("pow", _DOUBLE, 2)


def learning_rate(solver: pb.SolverParameter, iteration: int, step: int) -> float:
    """Compute the rate of the update of `iteration`, before lr_mult.

    The value is a float32, as in Caffe; it is NaN or infinite if the policy gives that (poly beyond max_iter).

    Args:
        solver: values that `supervisor.validation.training.check_solver` accepts.
        iteration: counted from 0.
        step: Caffe's current_step in that update (`next_step`).

    Raises:
        BadInput: no such lr_policy.
    """
    f = np.float32
    base, gamma, power = f(solver.base_lr), f(solver.gamma), f(solver.power)
    with np.errstate(all="ignore"):  # as Caffe does
        match solver.lr_policy:
            case "fixed":
                rate = base
            case "step" | "multistep":
                rate = f(float(base) * _pow(gamma, step))
            case "exp":
                rate = f(float(base) * _pow(gamma, iteration))
            case "inv":
                rate = base * f(_powf(f(1) + gamma * f(iteration), -power))
            case "poly":
                rate = base * f(_powf(f(1) - f(iteration) / f(solver.max_iter), power))
            case "sigmoid":
                rate = base * (f(1) / (f(1) + f(_expf(-gamma * (f(iteration) - f(solver.stepsize))))))
            case _:
                raise _no_such_policy(solver.lr_policy)
    return float(rate)


def next_step(solver: pb.SolverParameter, iteration: int, step: int) -> int:
    """Compute Caffe's current_step in the update of `iteration` from its value `step` before.

    Reading pycaffe's `solver.lr` would change current_step: GetLearningRate returns the rate and advances the step.
    """
    if solver.lr_policy == "step":
        return iteration // solver.stepsize
    if solver.lr_policy == "multistep" and step < len(solver.stepvalue) and iteration >= solver.stepvalue[step]:
        return step + 1
    return step


def odd_rates(solver: pb.SolverParameter, first: int, stop: int, step: int) -> list[OddRates]:
    """List the iterations from `first` to `stop` (exclusive) at which the rate is 0 or not finite.

    Between the iterations where a policy changes its course, the size of the rate only rises or only falls, so it is
    computed at few of them, however many there are.

    Args:
        step: Caffe's current_step before iteration `first`.
    """
    raised = list(_raised(solver, first, stop, step))

    def rate(iteration: int) -> float:
        if solver.lr_policy == "multistep":
            return learning_rate(solver, iteration, step + sum(at <= iteration for at in raised))
        return learning_rate(solver, iteration, next_step(solver, iteration, step))

    turns = {first, *raised, stop}
    if solver.lr_policy == "poly":  # 0 at max_iter; beyond it, powers of a negative number
        turns |= {turn for turn in (solver.max_iter, solver.max_iter + 1) if first < turn < stop}
    found: list[OddRates] = []
    for start, end in pairwise(sorted(turns)):
        for low, high in pairwise([start, *_changes(lambda t: _kind(rate(t)), start, end - 1), end]):
            value = rate(low)
            if _kind(value) == "usual":
                continue
            if found and found[-1].stop == low and _kind(found[-1].rate) == _kind(value):
                found[-1] = OddRates(found[-1].first, high, found[-1].rate)
            else:
                found.append(OddRates(low, high, value))
    return found


def _raised(solver: pb.SolverParameter, first: int, stop: int, step: int) -> Iterator[int]:
    """Yield the iterations at which `multistep` raises current_step, at most one step each."""
    if solver.lr_policy != "multistep":
        return
    at = first - 1
    for value in solver.stepvalue[step:]:
        at = max(at + 1, value)
        if at >= stop:
            return
        yield at


def _kind(rate: float) -> str:
    return "not finite" if not math.isfinite(rate) else "usual" if rate else "zero"


def _changes(kind: Callable[[int], str], low: int, high: int) -> list[int]:
    """List the iterations in (low, high] whose kind differs from that of the one before; no kind comes back."""
    if kind(low) == kind(high):
        return []
    if high - low == 1:
        return [high]
    middle = (low + high) // 2
    return _changes(kind, low, middle) + _changes(kind, middle, high)


def _no_such_policy(policy: str) -> BadInput:
    return BadInput("no such policy", field="lr_policy", value=policy or "(none)", remedy=nearest(policy, LR_POLICIES))
