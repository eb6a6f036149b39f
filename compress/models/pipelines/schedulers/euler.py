"""Euler's method: Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn; diffusers' EulerDiscreteScheduler.

The sample is a signal of one with noise of deviation sigma, and the UNet is given it at unit variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from compress.models.pipelines.schedulers.base import VELOCITY, Levels, Scheduler, Steps, moved
from compress.tasks.base import Float


class Euler(Scheduler):
    class_name = "EulerDiscreteScheduler"
    plain: ClassVar[Mapping[str, Any]] = {
        "interpolation_type": "linear",
        "timestep_type": "discrete",
        "use_karras_sigmas": False,
        "use_exponential_sigmas": False,
        "use_beta_sigmas": False,
        "final_sigmas_type": "zero",
    }
    spacing = "linspace"

    def begin(self, num_steps: int) -> Steps:
        return _Steps(self.levels, num_steps)


class _Steps(Steps):
    def __init__(self, levels: Levels, num_steps: int) -> None:
        self.velocity = levels.prediction == VELOCITY
        self.timesteps = levels.visited(num_steps).astype(np.float32)
        between = np.interp(self.timesteps, np.arange(levels.count), levels.sigmas)
        self.sigmas = np.append(between, 0.0)
        largest = float(self.sigmas.max())
        self.scale = (largest**2 + 1) ** 0.5 if levels.spacing == "leading" else largest

    def given(self, sample: Float, number: int) -> Float:
        return moved(((self.sigmas[number] ** 2 + 1) ** -0.5, sample))

    def step(self, output: Float, sample: Float, number: int) -> Float:
        sigma, after = self.sigmas[number], self.sigmas[number + 1]
        if not self.velocity:
            return moved((1.0, sample), (after - sigma, output))
        clean = moved((-sigma / (sigma**2 + 1) ** 0.5, output), (1 / (sigma**2 + 1), sample))
        # derivative (sample − clean) / sigma, for after − sigma
        return moved((after / sigma, sample), (1 - after / sigma, clean))
