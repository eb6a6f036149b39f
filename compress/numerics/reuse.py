"""Steps of a sampler that take no evaluation: what earlier evaluations say of them, and which steps are best spared.

A velocity that is not evaluated is forecast on the line through the last two that were (TaylorSeer, of first order and
of outputs where it forecasts features: Liu et al. 2025, arXiv:2503.06923).  The last one alone would be no better than
longer steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


class Evaluated:
    """The last two velocities that were evaluated, [N, …] each, and what they say of other steps."""

    def __init__(self) -> None:
        self._known: list[tuple[float, NDArray[np.float32]]] = []  # sigma and velocity, the last one at the end

    def keep(self, sigma: float, velocity: NDArray[np.float32]) -> None:
        self._known = [*self._known[-1:], (sigma, velocity)]

    def forecast(self, sigma: float) -> NDArray[np.float32]:
        """The velocity at sigma, after one was kept; of one alone that one."""
        (last, velocity), before = self._known[-1], self._known[:-1]
        if not before:
            return velocity
        line: NDArray[np.float32] = velocity + np.float32(_slope(sigma, last, before[0][0])) * (velocity - before[0][1])
        return line


def errors_of_forecasts(steps: tuple[int, ...], sigmas: Float64) -> Float64:
    """[n, n]: how often the velocity of each step (second axis) stands in the error that each step (first) makes if
    `steps` alone are evaluated, (σ_{j+1} − σ_j) · (v̂_j − v_j).

    sigmas  [n + 1], falling.
    """
    n = len(sigmas) - 1
    found, last, before = np.zeros((n, n)), 0, None
    for step in range(n):
        if step in steps:
            last, before = step, (last if step else None)
            continue
        length = sigmas[step + 1] - sigmas[step]
        slope = 0.0 if before is None else _slope(sigmas[step], sigmas[last], sigmas[before])
        found[step, last] += length * (1 + slope)
        if before is not None:
            found[step, before] -= length * slope
        found[step, step] -= length
    return found


def error_of(moves: Float64, sigmas: Float64, steps: tuple[int, ...]) -> float:
    """By how much images end elsewhere if `steps` alone are evaluated: mean square, to first order.

    moves  [samples, n, n]: what the velocity of a step (third axis), added to the sample after a step (second), adds to
           the image along a random direction; of as many images and directions as there are samples.
    """
    together = moves.reshape(len(moves), -1) @ errors_of_forecasts(steps, sigmas).ravel()
    return float(np.square(together).mean())


def best_steps(moves: Float64, sigmas: Float64, num_evaluations: int) -> tuple[int, ...]:
    """Steps to evaluate for which `error_of` is least, as far as exchanging one for another goes on from even ones.

    Returns num_evaluations steps, rising, the first one 0.  Raises ValueError if there are not so many.
    """
    n = len(sigmas) - 1
    if not 1 <= num_evaluations <= n:
        raise ValueError(f"{num_evaluations} of {n} steps")
    steps = even_steps(n, num_evaluations)
    error = error_of(moves, sigmas, steps)
    while True:
        others = [step for step in range(1, n) if step not in steps]
        changed = [tuple(sorted({*steps} - {gone} | {come})) for gone in steps[1:] for come in others]
        found = min(((error_of(moves, sigmas, each), each) for each in changed), default=(error, steps))
        if found[0] >= error * (1 - 1e-6):
            return steps
        error, steps = found


def even_steps(num_steps: int, num_evaluations: int) -> tuple[int, ...]:
    """As many steps, as far from each other as goes."""
    return tuple(number * num_steps // num_evaluations for number in range(num_evaluations))


def _slope(sigma: float, last: float, before: float) -> float:
    """r of the line v(last) + r · (v(last) − v(before)) at sigma."""
    return (sigma - last) / (last - before)
