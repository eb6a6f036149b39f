"""distill.steps: a generator that needs fewer steps.  Progressive: Salimans & Ho 2022, arXiv:2202.00512."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Interval

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, register
from compress.passes.flows import FlowPass
from compress.training.settings import Loop

if TYPE_CHECKING:
    from torch import nn

    from compress.training.flowing import Sigmas
    from compress.training.phase import Phase


@dataclass(frozen=True)
class _Round(FlowPass):
    """A training of the model to go in one step where it went in `teacher_steps` / `steps` before."""

    name: ClassVar[str] = "distill.steps"

    steps: int = 1
    teacher_steps: int = 1

    def sigmas(self, model: nn.Module) -> Sigmas:
        from compress.models.generators.noted import sampling_of
        from compress.training.flowing import sigmas_among

        return sigmas_among(replace(sampling_of(model), num_steps=self.steps).sigmas()[:-1])

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        from compress.models.generators.noted import sampling_of
        from compress.training.flow_targets import of_steps
        from compress.training.flowing import Follow

        teacher = copy.deepcopy(model)
        sigmas = replace(sampling_of(model), num_steps=self.teacher_steps).sigmas()
        return [Follow(model, teacher, of_steps(teacher, sigmas, self.steps)), self.average(model)]

    def finished(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.generators.noted import sampling_of, set_sampling

        set_sampling(model, replace(sampling_of(model), num_steps=self.steps))
        return model


@register("distill.steps")
@dataclass(frozen=True)
class DistillSteps(FlowPass):
    """Train a generator, progressively, to make in few steps what it makes in many; it is its own teacher.

    steps   of the result: an image takes so many evaluations.
    rounds  of training, of `epochs` or `max_steps` each: the last but one is to twice as many steps, and so on. In the
            first the teacher takes as many of its steps for each as come next to its own number of them.
    """

    steps: Annotated[int, Ge(1)] = 8
    rounds: Annotated[int, Interval(ge=1, le=10)] = 2

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        plan = sampling_of(model)
        if plan.guidance_scale is not None:
            raise ModelError(f"{self.name}: the model is sampled with guidance: put distill.guidance before")
        if plan.num_steps <= self.steps:
            raise ModelError(f"{self.name}: the model is sampled in {plan.num_steps} steps, {self.steps} are asked for")

    def sigmas(self, model: nn.Module) -> Sigmas:
        return self.trainings(model)[-1].sigmas(model)

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        raise ModelError(f"{self.name}: it trains several times: apply it by compress.apply, or in a recipe")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        if context.launch is not None:
            return context.launch(self, model, context)
        for number, training in enumerate(self.trainings(model), 1):
            context.say(f"{self.name}: round {number} of {self.rounds}, to {training.steps} steps")
            place = None if context.directory is None else context.directory / f"round-{number}"
            model = _kept(training, model, replace(context, directory=place))
        return model

    def trainings(self, model: nn.Module) -> list[_Round]:
        """One after the other."""
        from compress.models.generators.noted import sampling_of

        loop = {field.name: getattr(self, field.name) for field in fields(Loop)}
        student = self.steps * 2 ** (self.rounds - 1)
        teacher = student * max(2, round(sampling_of(model).num_steps / student))
        found = []
        while student >= self.steps:
            found.append(_Round(**loop, ema=self.ema, steps=student, teacher_steps=teacher))
            teacher, student = student, student // 2
        return found

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        steps = sampling_of(model).num_steps
        if steps > self.steps:  # a later pass may have gone on
            raise PromiseBroken(f"{self.name}: the model is sampled in {steps} steps, {self.steps} were asked for")


def _kept(training: _Round, model: nn.Module, context: Context) -> nn.Module:
    """The model after a round, from the round's directory if it was finished before."""
    from compress.models.snapshot import load_snapshot, save_snapshot

    done = None if context.directory is None else context.directory / "finished"
    if done is not None and done.is_dir():
        load_snapshot(model, done)
        return model
    model = training.apply(model, context)
    if done is not None:
        partial = done.with_suffix(".partial")
        partial.mkdir(parents=True, exist_ok=True)
        save_snapshot(model, partial)
        partial.rename(done)
    return model
