"""PLMS, the linear multi-step way of PNDM: Liu et al. 2022, arXiv:2202.09778, eq. 9 and 12; diffusers' PNDMScheduler.

Its second timestep is evaluated twice: the first step is made again with the mean of both of its ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from compress.errors import DataError
from compress.models.pipelines.schedulers.base import VELOCITY, Levels, Scheduler, Steps, moved
from compress.tasks.base import Float

# Of the outputs, the latest first, once there are so many: Adams and Bashforth's weights.
_WEIGHTS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


class Pndm(Scheduler):
    """last_share: of signal where the last step ends."""

    class_name = "PNDMScheduler"
    plain: ClassVar[Mapping[str, Any]] = {"skip_prk_steps": True}
    spacing = "leading"
    can_spare = False

    def __init__(self, levels: Levels, config: Mapping[str, Any]) -> None:
        super().__init__(levels, config)
        self.last_share = 1.0 if config.get("set_alpha_to_one", False) else float(levels.shares[0])

    def begin(self, num_steps: int) -> Steps:
        if num_steps < 2:
            raise DataError("PNDM makes its first step twice: it takes 2 steps or more")
        return _Steps(self, num_steps)


class _Steps(Steps):
    def __init__(self, scheduler: Pndm, num_steps: int) -> None:
        levels = scheduler.levels
        self.scheduler, self.velocity = scheduler, levels.prediction == VELOCITY
        whole = np.rint(levels.visited(num_steps)).astype(int)
        self.whole = np.concatenate([whole[:2], whole[1:]])
        self.timesteps = self.whole.astype(np.float32)
        self.stride = levels.count // num_steps
        self.outputs: list[Float] = []  # the latest first
        self.first: Float | None = None  # the sample that the first step began with

    def step(self, output: Float, sample: Float, number: int) -> Float:
        begin, end = self.whole[number], self.whole[number] - self.stride
        if number == 1:
            begin, end = end + 2 * self.stride, begin
            assert self.first is not None
            sample, self.first = self.first, None
            output = moved((0.5, output), (0.5, self.outputs[0]))
        else:
            self.outputs = [output, *self.outputs[:3]]
            output = moved(*zip(_WEIGHTS[len(self.outputs) - 1], self.outputs, strict=True))
            if number == 0:
                self.first = sample
        return self._moved(sample, output, self._share(begin), self._share(end))

    def _share(self, timestep: int) -> float:
        return float(self.scheduler.levels.shares[timestep]) if timestep >= 0 else self.scheduler.last_share

    def _moved(self, sample: Float, output: Float, share: float, after: float) -> Float:
        if self.velocity:
            output = moved((share**0.5, output), ((1 - share) ** 0.5, sample))
        whole = share * (1 - after) ** 0.5 + (share * (1 - share) * after) ** 0.5
        return moved(((after / share) ** 0.5, sample), ((share - after) / whole, output))
