"""cache.steps: a generator evaluates its model at some of its steps, and forecasts the others from these.
Forecasts: Liu et al. 2025, arXiv:2503.06923 (TaylorSeer); that steps can be spared: Ma et al. 2023, arXiv:2312.00858
(DeepCache), Liu et al. 2024, arXiv:2411.19108 (TeaCache)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


@register("cache.steps")
@dataclass(frozen=True)
class CacheSteps(Pass):
    """Evaluate a generator's model at a few of its steps, those that its images need most; no training.

    steps        at which the model is evaluated; guided, each takes two evaluations. The velocity at the others lies on
                 the line through the last two that were evaluated.
    num_samples  images that are made to choose the steps, from the recipe's seed.

    Chosen are the steps without which the images end nearest to where all steps lead, as far as a gradient through the
    sampling tells. They are kept in model_index.json: passes that change the number of steps or the guidance come
    before, those that quantize after.
    """

    short: ClassVar[str | None] = "steps"

    steps: Annotated[int, Ge(1)] = 10
    num_samples: Annotated[int, Ge(1)] = 64

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        return [] if task == "image_generation" else [f"it spares steps of generators, and the task is {task}"]

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of
        from compress.models.quantized import refuse_quantized

        refuse_quantized(model, self.name)  # rounding has no gradient
        plan = sampling_of(model)
        if plan.evaluated is not None:
            raise ModelError(f"{self.name}: steps are spared already: name it once")
        if plan.num_steps <= self.steps:
            raise ModelError(f"{self.name}: the model is sampled in {plan.num_steps} steps, {self.steps} are asked for")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        import numpy as np

        from compress.models.generators.noted import sampling_of, set_sampling
        from compress.numerics.reuse import best_steps, error_of, even_steps

        plan = sampling_of(model)
        moves, sigmas = self._moves(model, context), plan.sigmas().astype(np.float64)
        steps = best_steps(moves, sigmas, self.steps)
        error, even = (error_of(moves, sigmas, each) for each in (steps, even_steps(plan.num_steps, self.steps)))
        context.notes.append(f"evaluated: {', '.join(map(str, steps))}")
        context.notes.append(f"error {error:.3g} by the gradient, of as many even steps {even:.3g}")
        set_sampling(model, replace(plan, evaluated=steps))
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        steps = len(sampling_of(model).steps)
        if steps > self.steps:
            raise PromiseBroken(f"{self.name}: the model is evaluated at {steps} steps, {self.steps} were asked for")

    def _moves(self, model: nn.Module, context: Context) -> NDArray[np.float64]:
        """See `compress.numerics.reuse.error_of`."""
        import torch

        from compress.models.generators.noted import config_of, sampling_of
        from compress.training.adjoint import moves_of_steps
        from compress.training.flow_targets import guided_by

        config, plan = config_of(model), sampling_of(model)
        velocity = model if plan.guidance_scale is None else guided_by(model, plan.guidance_scale)
        draw = torch.Generator().manual_seed(context.seed)
        size = config.sample_size
        noise = torch.randn((self.num_samples, config.in_channels, size, size), generator=draw)
        classes = torch.arange(self.num_samples) % config.num_classes
        return moves_of_steps(velocity, noise, classes, torch.from_numpy(plan.sigmas()), draw, context.progress)
