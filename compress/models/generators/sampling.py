"""Sampling: how a flow-matching model is sampled, as plain data.  No torch: the runtime reads it too.

The convention is that of diffusers' FlowMatchEulerDiscreteScheduler: sigma goes from 1 (noise) to 0 (data), the sample
between is x_sigma = (1 − sigma) · data + sigma · noise, the model gives the velocity noise − data, and is told the
timestep 1000 · sigma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.numerics.reuse import check_steps

NUM_TRAIN_TIMESTEPS = 1000  # a timestep is so many times its sigma


@dataclass(frozen=True)
class Sampling:
    """How an image is made.

    num_steps       Euler steps from noise to image.
    guidance_scale  w of classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598), by which a step goes
                    v(no class) + w · (v(class) − v(no class)) and takes two evaluations; None: one, of the class alone.
    shift           moves steps towards noise: sigma → shift · sigma / (1 + (shift − 1) · sigma); 1 does not.
    evaluated       steps whose velocity the model gives, rising, the first one 0; the others' is forecast from these
                    (`compress.numerics.reuse`); None: all.
    """

    num_steps: int
    guidance_scale: float | None = None
    shift: float = 1.0
    evaluated: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.evaluated is not None:
            check_steps(self.evaluated, self.num_steps)

    @property
    def steps(self) -> tuple[int, ...]:
        """Those that evaluate the model."""
        return tuple(range(self.num_steps)) if self.evaluated is None else self.evaluated

    @property
    def num_evaluations(self) -> int:
        """Evaluations of the model for an image."""
        return len(self.steps) * (1 if self.guidance_scale is None else 2)

    def unshifted(self) -> NDArray[np.float64]:
        """1 … 1 / num_steps, evenly: what diffusers' pipelines give their scheduler, which then shifts it."""
        return np.linspace(1.0, 1.0 / self.num_steps, self.num_steps)

    def sigmas(self) -> NDArray[np.float32]:
        """float32 [num_steps + 1]: where each step begins, falling, and 0, where the last one ends."""
        even = self.unshifted()
        shifted = self.shift * even / (1 + (self.shift - 1) * even)
        return np.append(shifted, 0.0).astype(np.float32)
