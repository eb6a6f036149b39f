"""The way of one image from noise to its last latent, whatever evaluates the UNet: the runtime, or a pass in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compress.models.pipelines.sampling import Sampling
from compress.models.pipelines.schedulers import Scheduler
from compress.numerics.reuse import Evaluated
from compress.tasks.base import Float


class Walk:
    """Goes step after step, each asked for once, in order.

    noise    [1, C, h, w], of normal values.
    unet     (latents [N, C, h, w], timesteps [N]) → noise [N, C, h, w]; N is 2 where the plan is guided: what is led
             away from comes first.
    sample   [1, C, h, w]: where the image is now.
    output   what the last step was made with: of an evaluation, guided, or forecast.
    """

    def __init__(
        self, scheduler: Scheduler, plan: Sampling, noise: Float, unet: Callable[[Float, Float], Float]
    ) -> None:
        self.plan, self.unet, self.steps = plan, unet, scheduler.begin(plan.num_steps)
        self.sample: Float = self.steps.scale * noise
        self.output = self.sample
        self._known = Evaluated()

    def __len__(self) -> int:
        return len(self.steps.timesteps)

    def step(self, number: int) -> None:
        place = float(self.steps.timesteps[number])
        if self.plan.evaluated is None or number in self.plan.evaluated:
            self.output = self._evaluated(number)
            self._known.keep(place, self.output)
        else:
            self.output = self._known.forecast(place)
        self.sample = self.steps.step(self.output, self.sample, number)

    def _evaluated(self, number: int) -> Float:
        count = 2 if self.plan.is_guided else 1
        given = np.repeat(self.steps.given(self.sample, number), count, axis=0)
        found = self.unet(given, np.repeat(self.steps.timesteps[number : number + 1], count))
        if self.plan.is_guided:
            without, noise = np.split(found, 2)
            found = without + np.float32(self.plan.guidance_scale) * (noise - without)
        return found
