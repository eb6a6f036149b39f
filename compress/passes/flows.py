"""What passes that train generators have in common: noised images, the loss on velocities, averaged weights."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt, Interval

from compress.errors import ModelError
from compress.passes.base import Context
from compress.passes.training import TrainingPass
from compress.training.settings import AdamW

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target
    from compress.training.examples import Examples
    from compress.training.flowing import Average, Sigmas
    from compress.training.loop import TaskLoss


@dataclass(frozen=True)
class FlowPass(AdamW, TrainingPass):
    """A TrainingPass of a generator.

    ema  decay of the exponential moving average of the weights that the model ends with.
    """

    ema: Annotated[float, Interval(ge=0, lt=1)] = 0.995
    batch_size: Annotated[int, Ge(1)] = 64
    learning_rate: Annotated[float, Gt(0)] = 5e-4

    @property
    def draws(self) -> bool:
        return True  # noise

    def problems(self, target: Target) -> list[str]:
        found = super().problems(target)
        if self.label_smoothing:
            found.append("label_smoothing is for classifiers: take it out")
        return found

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        if task != "image_generation":
            return [f"it trains a model that makes images, and the task is {task}: take it out"]
        return super().task_problems(task, languages)

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        if sampling_of(model).evaluated is not None:
            raise ModelError(f"{self.name}: some of the model's steps are spared: put cache.steps after it")

    def task_loss(self) -> TaskLoss:
        from compress.training.flowing import velocity_loss

        return velocity_loss

    @abstractmethod
    def sigmas(self, model: nn.Module) -> Sigmas:
        """How much noise the images get."""

    def dropout(self) -> float:
        """Share of the images whose class is not told."""
        return 0.0

    def learned_from(self, model: nn.Module, context: Context) -> Examples:
        from compress.models.generators.noted import config_of
        from compress.training.flowing import FlowExamples

        images = super().learned_from(model, context)
        return FlowExamples(images, self.sigmas(model), config_of(model).num_classes, self.dropout())

    def average(self, model: nn.Module) -> Average:
        """The phase that ends with averaged weights."""
        from compress.training.flowing import Average

        return Average(model, self.ema)
