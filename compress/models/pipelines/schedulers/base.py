"""What schedulers share: the levels of noise, which timesteps are visited, and what a step is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from compress.errors import ArtefactError, DataError
from compress.models.denoisers.noise import signal_shares
from compress.tasks.base import Float

EPSILON, VELOCITY = "epsilon", "v_prediction"
_SPACINGS = ("leading", "linspace", "trailing")


@dataclass(frozen=True)
class Levels:
    """How noisy latents are, and what a UNet says of them.

    shares      [timesteps], falling: the variance that is signal; the rest is noise.
    prediction  EPSILON: the noise; VELOCITY: √share · noise − √(1 − share) · signal.
    spacing     of the timesteps that are visited: 'leading', 'linspace' or 'trailing', as diffusers has them.
    offset      by which those of 'leading' are moved.
    """

    shares: NDArray[np.float64]
    prediction: str
    spacing: str
    offset: int

    @property
    def count(self) -> int:
        return len(self.shares)

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """[timesteps]: the noise's deviation beside a signal of one."""
        found: NDArray[np.float64] = np.sqrt((1 - self.shares) / self.shares)
        return found

    def visited(self, num_steps: int) -> NDArray[np.floating[Any]]:
        """[num_steps] timesteps, falling, perhaps between two whole ones.  Raises DataError for more than there are."""
        if self.spacing == "linspace":
            return self.checked(np.linspace(0, self.count - 1, num_steps)[::-1], num_steps)
        if self.spacing == "leading":
            places = np.arange(num_steps)[::-1] * float(self.count // num_steps) + self.offset
            return self.checked(places, num_steps)
        return self.checked(np.round(np.arange(self.count, 0, -self.count / num_steps)) - 1, num_steps)

    def checked(self, timesteps: NDArray[np.floating[Any]], num_steps: int) -> NDArray[np.floating[Any]]:
        """The same.  Raises DataError unless they are all there, and each another."""
        known = len(timesteps) and timesteps.min() >= 0 and timesteps.max() < self.count
        if not known or (np.diff(np.rint(timesteps)) >= 0).any():
            raise DataError(f"{num_steps} steps are too many or too few for a model of {self.count} timesteps")
        return timesteps


class Steps(ABC):
    """The way of one image, or of several together: from noise, step after step.

    timesteps  float32 [evaluations]: what the UNet is told at each.
    scale      of the noise that the way begins with.
    """

    timesteps: Float
    scale: float = 1.0

    def given(self, sample: Float, number: int) -> Float:
        """What the UNet is given of the sample at evaluation `number`."""
        return sample

    @abstractmethod
    def step(self, output: Float, sample: Float, number: int) -> Float:
        """The next sample, after the UNet's `output` at evaluation `number`; each is asked for once, in order."""


class Scheduler(ABC):
    """A kind of steps on known levels of noise."""

    class_name: ClassVar[str]  # diffusers'
    # Settings of diffusers' that change what a step does, with the value at which they do not.
    plain: ClassVar[Mapping[str, Any]]
    spacing: ClassVar[str]  # where a config says nothing
    can_spare: ClassVar[bool] = True  # whether steps have one evaluation each, each at a timestep of its own

    def __init__(self, levels: Levels, config: Mapping[str, Any]) -> None:
        self.levels = levels

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Scheduler:
        """Raises ArtefactError for settings by which diffusers' scheduler does other steps."""
        for option, plain in cls.plain.items():
            if config.get(option, plain) != plain:
                raise ArtefactError(f"{where}: {option} is {config[option]}: only {plain} is known here")
        prediction = config.get("prediction_type", EPSILON)
        if prediction not in (EPSILON, VELOCITY):
            raise ArtefactError(f"{where}: prediction_type is {prediction}: {EPSILON} or {VELOCITY} is wanted")
        spacing = config.get("timestep_spacing", cls.spacing)
        if spacing not in _SPACINGS:
            raise ArtefactError(f"{where}: timestep_spacing is {spacing}: one of {', '.join(_SPACINGS)} is wanted")
        shares = signal_shares(config, where, ArtefactError)
        return cls(Levels(shares, prediction, spacing, int(config.get("steps_offset", 0))), config)

    @abstractmethod
    def begin(self, num_steps: int) -> Steps:
        """Raises DataError for a number of steps that the model's timesteps do not allow."""

    def shares(self, num_steps: int) -> NDArray[np.float64]:
        """[evaluations]: how often the output of each stands in the last sample, which is a sum of them all and the
        noise."""
        found = []
        for chosen in range(len(self.begin(num_steps).timesteps)):
            way, sample = self.begin(num_steps), np.zeros(1, np.float32)
            for number in range(len(way.timesteps)):
                sample = way.step(np.full(1, number == chosen, np.float32), sample, number)
            found.append(float(sample[0]))
        return np.array(found)


def moved(*terms: tuple[float, Float]) -> Float:
    """The sum of the arrays, each times its number, in float32."""
    found = sum(np.float32(number) * array for number, array in terms)
    assert isinstance(found, np.ndarray)
    return found
