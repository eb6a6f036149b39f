"""cache.steps: images are made by evaluating the model at some of their steps, and forecasting the others from these.
Forecasts: Liu et al. 2025, arXiv:2503.06923 (TaylorSeer); that steps can be spared: Ma et al. 2023, arXiv:2312.00858
(DeepCache), Liu et al. 2024, arXiv:2411.19108 (TeaCache)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    from torch import nn

    from compress.models.pipelines.schedulers import Scheduler

_TASKS = ("image_generation", "text_to_image")


@register("cache.steps")
@dataclass(frozen=True)
class CacheSteps(Pass):
    """Evaluate a model that makes images at a few of its steps, those that its images need most; no training.

    steps        at which the model is evaluated; guided, each takes two evaluations. What it would say at the others
                 lies on the line through the last two that were evaluated.
    num_samples  images that are made to choose the steps: a generator's from the recipe's seed, a pipeline's of the
                 calibration's prompts, as far as there are so many.

    Chosen are the steps without which the images end nearest to where all steps lead: of a generator as far as a
    gradient through the sampling tells, of a pipeline as far as its UNet's outputs at all steps tell. They are kept in
    model_index.json: passes that change the number of steps or the guidance come before, those that quantize a
    generator after.
    """

    short: ClassVar[str | None] = "steps"

    steps: Annotated[int, Ge(1)] = 10
    num_samples: Annotated[int, Ge(1)] = 64

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        return [] if task in _TASKS else [f"it spares steps of models that make images, and the task is {task}"]

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.quantized import refuse_quantized

        if _is_pipeline(model):
            _scheduler_of(model, self.name)
        else:
            refuse_quantized(model, self.name)  # rounding has no gradient
        num_steps, evaluated = _noted(model)
        if evaluated is not None:
            raise ModelError(f"{self.name}: steps are spared already: name it once")
        if num_steps <= self.steps:
            raise ModelError(f"{self.name}: the model is sampled in {num_steps} steps, {self.steps} are asked for")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.generators.noted import sampling_of, set_sampling
        from compress.models.pipelines.sampling import evaluate_only
        from compress.training.sparing import of_generator, of_pipeline, samples_of

        if _is_pipeline(model):
            samples = samples_of(context.batches, self.num_samples)
            found = of_pipeline(model, _scheduler_of(model, self.name), self.steps, samples, context.progress)
            evaluate_only(model, found.steps)
        else:
            found = of_generator(model, self.steps, self.num_samples, context.seed, context.progress)
            set_sampling(model, replace(sampling_of(model), evaluated=found.steps))
        context.notes.append(f"evaluated: {', '.join(map(str, found.steps))}")
        context.notes.append(f"error {found.error:.3g} {found.by}, of as many even steps {found.even:.3g}")
        return model

    def ensures(self, model: nn.Module, context: Context) -> None:
        num_steps, evaluated = _noted(model)
        steps = num_steps if evaluated is None else len(evaluated)
        if steps > self.steps:
            raise PromiseBroken(f"{self.name}: the model is evaluated at {steps} steps, {self.steps} were asked for")


def _is_pipeline(model: nn.Module) -> bool:
    from compress.models.pipelines.parts import PipelineParts

    return isinstance(model, PipelineParts)


def _noted(model: nn.Module) -> tuple[int, tuple[int, ...] | None]:
    """How many steps there are, and the evaluated ones.  Raises ModelError for a model that makes no images."""
    from compress.models.generators import noted
    from compress.models.pipelines import sampling

    plan = (sampling if _is_pipeline(model) else noted).sampling_of(model)
    return plan.num_steps, plan.evaluated


def _scheduler_of(model: nn.Module, name: str) -> Scheduler:
    """Raises ModelError for one whose steps cannot be spared."""
    from compress.models.pipelines.sampling import noted_in
    from compress.models.pipelines.schedulers import open_scheduler

    scheduler = open_scheduler(noted_in(model).scheduler, "the scheduler")
    if not scheduler.can_spare:
        raise ModelError(
            f"{name}: a step of {scheduler.class_name} takes several evaluations: write "
            "task.text_to_image.scheduler: ddim, euler or dpm-solver++"
        )
    return scheduler
