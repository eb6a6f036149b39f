"""FlowMatchEuler: diffusers' FlowMatchEulerDiscreteScheduler in numpy, step by step the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.errors import ArtefactError
from compress.models.generators.sampling import NUM_TRAIN_TIMESTEPS
from compress.tasks.base import Float

CLASS_NAME = "FlowMatchEulerDiscreteScheduler"
# Options of diffusers' that change what a step does, with the value at which they do not.
_PLAIN = {
    "use_dynamic_shifting": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "invert_sigmas": False,
    "stochastic_sampling": False,
    "shift_terminal": None,
}


@dataclass(frozen=True)
class FlowMatchEuler:
    """shift: sigma → shift · sigma / (1 + (shift − 1) · sigma)."""

    shift: float = 1.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> FlowMatchEuler:
        """Of a scheduler_config.json.  Raises ArtefactError for a scheduler that does other steps than this one."""
        name = config.get("_class_name")
        if name != CLASS_NAME:
            raise ArtefactError(f"{where}: the scheduler is {name}: images are made with {CLASS_NAME} alone")
        for option, plain in _PLAIN.items():
            if config.get(option, plain) != plain:
                raise ArtefactError(f"{where}: {option} is {config[option]}: only {plain} is known here")
        if config.get("num_train_timesteps", NUM_TRAIN_TIMESTEPS) != NUM_TRAIN_TIMESTEPS:
            told = f"num_train_timesteps is {config['num_train_timesteps']}"
            raise ArtefactError(f"{where}: {told}: the models here know timesteps up to {NUM_TRAIN_TIMESTEPS}")
        shift = config.get("shift", 1.0)
        if isinstance(shift, bool) or not isinstance(shift, int | float) or not 0 < shift < np.inf:
            raise ArtefactError(f"{where}: shift is {shift}: a positive number is wanted")
        return cls(float(shift))

    def to_config(self) -> dict[str, Any]:
        """What scheduler_config.json says, so that diffusers' own makes the same steps."""
        return {
            "_class_name": CLASS_NAME,
            "num_train_timesteps": NUM_TRAIN_TIMESTEPS,
            "shift": self.shift,
            **_PLAIN,
        }

    def timesteps(self, sigmas: Float) -> Float:
        """What the model is told at each step.  sigmas [steps + 1] → [steps]."""
        return sigmas[:-1] * np.float32(NUM_TRAIN_TIMESTEPS)

    def step(self, velocity: Float, sample: Float, sigma: float, next_sigma: float) -> Float:
        """One Euler step: sample + (next_sigma − sigma) · velocity."""
        moved: NDArray[np.float32] = sample + np.float32(next_sigma - sigma) * velocity
        return moved
