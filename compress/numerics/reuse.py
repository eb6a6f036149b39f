"""Steps of a sampler that take no evaluation: what earlier evaluations say of them, and which steps are best spared.

An output that is not evaluated is forecast on the line through the last two that were (TaylorSeer, of first order and
of outputs where it forecasts features: Liu et al. 2025, arXiv:2503.06923).  The last one alone would be no better than
longer steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


class Evaluated:
    """The last two outputs that were evaluated, [N, …] each, and what they say of other steps."""

    def __init__(self) -> None:
        self._known: list[tuple[float, NDArray[np.float32]]] = []  # place and output, the last one at the end

    def keep(self, place: float, output: NDArray[np.float32]) -> None:
        """place: the step's sigma or timestep."""
        self._known = [*self._known[-1:], (place, output)]

    def forecast(self, place: float) -> NDArray[np.float32]:
        """The output at another place, after one was kept; of one alone that one."""
        (last, output), before = self._known[-1], self._known[:-1]
        if not before:
            return output
        line: NDArray[np.float32] = output + np.float32(_slope(place, last, before[0][0])) * (output - before[0][1])
        return line


def check_steps(evaluated: tuple[int, ...], num_steps: int) -> None:
    """Raise ValueError unless these can be the evaluated ones of so many steps."""
    if evaluated[:1] != (0,) or list(evaluated) != sorted({*evaluated}) or evaluated[-1] >= num_steps:
        raise ValueError(f"the evaluated steps {list(evaluated)}: rising ones from 0 are wanted, below {num_steps}")


def errors_of_forecasts(steps: tuple[int, ...], places: Float64) -> Float64:
    """[n, n]: how often the output of each step (second axis) stands in the error v̂_j − v_j of each step (first) if
    `steps` alone are evaluated.

    places  [n], falling: the steps' sigmas or timesteps.
    """
    n = len(places)
    found, last, before = np.zeros((n, n)), 0, None
    for step in range(n):
        if step in steps:
            last, before = step, (last if step else None)
            continue
        slope = 0.0 if before is None else _slope(places[step], places[last], places[before])
        found[step, last] += 1 + slope
        if before is not None:
            found[step, before] -= slope
        found[step, step] -= 1
    return found


def error_by_moves(moves: Float64, sigmas: Float64, steps: tuple[int, ...]) -> float:
    """By how much images end elsewhere if `steps` alone are evaluated: mean square, to first order.

    moves   [samples, n, n]: what the velocity of a step (third axis), added to the sample after a step (second), adds
            to the image along a random direction; of as many images and directions as there are samples.
    sigmas  [n + 1], falling: a step adds (σ_{j+1} − σ_j) · v_j.
    """
    errors = np.diff(sigmas)[:, None] * errors_of_forecasts(steps, sigmas[:-1])
    together = moves.reshape(len(moves), -1) @ errors.ravel()
    return float(np.square(together).mean())


def error_by_outputs(products: Float64, shares: Float64, places: Float64, steps: tuple[int, ...]) -> float:
    """By how much images end elsewhere if `steps` alone are evaluated: mean square, if no output depended on forecasts.

    products  [n, n]: of the outputs of two steps, on average over images and numbers of an image.
    shares    [n]: how often a step's output stands in the last sample.
    """
    together = shares @ errors_of_forecasts(steps, places)
    return float(together @ products @ together)


def best_steps(num_steps: int, num_evaluations: int, error_of: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    """Steps to evaluate for which the error is least, as far as exchanging one for another goes on from even ones.

    Returns num_evaluations steps, rising, the first one 0.  Raises ValueError if there are not so many.
    """
    if not 1 <= num_evaluations <= num_steps:
        raise ValueError(f"{num_evaluations} of {num_steps} steps")
    steps = even_steps(num_steps, num_evaluations)
    error = error_of(steps)
    while True:
        others = [step for step in range(1, num_steps) if step not in steps]
        changed = [tuple(sorted({*steps} - {gone} | {come})) for gone in steps[1:] for come in others]
        found = min(((error_of(each), each) for each in changed), default=(error, steps))
        if found[0] >= error * (1 - 1e-6):
            return steps
        error, steps = found


def even_steps(num_steps: int, num_evaluations: int) -> tuple[int, ...]:
    """As many steps, as far from each other as goes."""
    return tuple(number * num_steps // num_evaluations for number in range(num_evaluations))


def _slope(place: float, last: float, before: float) -> float:
    """r of the line v(last) + r · (v(last) − v(before)) at a place."""
    return (place - last) / (last - before)
