"""DPM-Solver++ (2M): Lu et al. 2022, arXiv:2211.01095, algorithm 2; diffusers' DPMSolverMultistepScheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from compress.models.pipelines.schedulers.base import VELOCITY, Levels, Scheduler, Steps, moved
from compress.tasks.base import Float


class DpmSolver(Scheduler):
    class_name = "DPMSolverMultistepScheduler"
    plain: ClassVar[Mapping[str, Any]] = {
        "algorithm_type": "dpmsolver++",
        "solver_order": 2,
        "solver_type": "midpoint",
        "thresholding": False,
        "euler_at_final": False,
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "use_lu_lambdas": False,
        "use_flow_sigmas": False,
        "use_dynamic_shifting": False,
        "lambda_min_clipped": -float("inf"),
        "variance_type": None,
        "final_sigmas_type": "zero",
    }
    spacing = "linspace"

    def begin(self, num_steps: int) -> Steps:
        return _Steps(self.levels, num_steps)


def _visited(levels: Levels, num_steps: int) -> NDArray[np.floating[Any]]:
    """One timestep more than there are steps is spread over all, and the last of them left out."""
    if levels.spacing == "trailing":
        return levels.visited(num_steps)
    places: NDArray[np.floating[Any]]
    if levels.spacing == "linspace":
        places = np.linspace(0, levels.count - 1, num_steps + 1).round()[::-1][:-1]
    else:
        places = np.arange(num_steps + 1)[::-1][:-1] * float(levels.count // (num_steps + 1)) + levels.offset
    return levels.checked(places, num_steps)


class _Steps(Steps):
    """before: what the last step found the clean sample to be."""

    def __init__(self, levels: Levels, num_steps: int) -> None:
        self.velocity = levels.prediction == VELOCITY
        places = _visited(levels, num_steps)
        self.timesteps = places.astype(np.float32)
        self.sigmas = np.append(np.interp(places, np.arange(levels.count), levels.sigmas), 0.0)
        self.before: Float | None = None

    def step(self, output: Float, sample: Float, number: int) -> Float:
        sigma, after = self.sigmas[number : number + 2]
        signal, next_signal = ((each**2 + 1) ** -0.5 for each in (sigma, after))
        noise, next_noise = sigma * signal, after * next_signal
        if self.velocity:
            clean = moved((signal, sample), (-noise, output))
        else:
            clean = moved((1 / signal, sample), (-noise / signal, output))
        before, self.before = self.before, clean
        share = after / sigma  # exp(−h), h what the logarithm of signal to noise grows by
        found = moved((next_noise / noise, sample), (next_signal * (1 - share), clean))
        if before is None or number == len(self.timesteps) - 1:  # the first order: where it begins and where it ends
            return found
        ratio = np.log(self.sigmas[number - 1] / sigma) / np.log(sigma / after)
        half = 0.5 * next_signal * (1 - share) / ratio
        return moved((1.0, found), (half, clean), (-half, before))
