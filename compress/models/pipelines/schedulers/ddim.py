"""DDIM without fresh noise: Song et al. 2020, arXiv:2010.02502, eq. 12 with σ = 0; diffusers' DDIMScheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from compress.models.pipelines.schedulers.base import VELOCITY, Levels, Scheduler, Steps, moved
from compress.tasks.base import Float


class Ddim(Scheduler):
    """last_share: of signal where the last step ends."""

    class_name = "DDIMScheduler"
    plain: ClassVar[Mapping[str, Any]] = {"clip_sample": False, "thresholding": False}
    spacing = "leading"

    def __init__(self, levels: Levels, config: Mapping[str, Any]) -> None:
        super().__init__(levels, config)
        self.last_share = 1.0 if config.get("set_alpha_to_one", True) else float(levels.shares[0])

    def begin(self, num_steps: int) -> Steps:
        return _Steps(self, num_steps)


class _Steps(Steps):
    def __init__(self, scheduler: Ddim, num_steps: int) -> None:
        levels = scheduler.levels
        self.velocity = levels.prediction == VELOCITY
        whole = np.rint(levels.visited(num_steps)).astype(int)
        after = whole - levels.count // num_steps
        self.timesteps = whole.astype(np.float32)
        self.shares = levels.shares[whole]
        self.next_shares = np.where(after >= 0, levels.shares[after], scheduler.last_share)

    def step(self, output: Float, sample: Float, number: int) -> Float:
        share, after = self.shares[number], self.next_shares[number]
        signal, noise = share**0.5, (1 - share) ** 0.5
        if self.velocity:
            clean = moved((signal, sample), (-noise, output))
            found = moved((signal, output), (noise, sample))
        else:
            clean = moved((1 / signal, sample), (-noise / signal, output))
            found = output
        return moved((after**0.5, clean), ((1 - after) ** 0.5, found))
