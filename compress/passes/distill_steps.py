"""distill.steps: a generator that needs fewer steps.  Progressive: Salimans & Ho 2022, arXiv:2202.00512; consistency:
Song et al. 2023, arXiv:2303.01469; distribution matching: Yin et al. 2024, arXiv:2405.14867."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Interval

from compress.errors import ModelError, PromiseBroken
from compress.passes.base import Context, register
from compress.passes.flows import FlowPass
from compress.passes.step_trainings import METHODS, StepTraining
from compress.training.settings import Loop, Lora

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target
    from compress.training.flowing import Sigmas
    from compress.training.phase import Phase


@register("distill.steps")
@dataclass(frozen=True)
class DistillSteps(FlowPass):
    """Train a generator to make in few steps what it makes in many; it is its own teacher.

    steps   of the result: an image takes so many evaluations.
    method  'progressive': a step goes where several of the teacher's go. 'consistency': all places of a step lead to
            the same end of it, which costs three evaluations a training step, however many steps the teacher takes.
            'dmd': the images are distributed as the teacher's, if not each the same; a critic is trained beside the
            student. It wants a teacher that is good at any noise, one that no distill.steps came before.
    rounds  of 'progressive', of `epochs` or `max_steps` each: the last but one is to twice as many steps, and so on. In
            the first the teacher takes as many of its steps for each as come next to its own number of them; null: 2.
    lora    train adapters of low rank in place of whole weights.
    """

    steps: Annotated[int, Ge(1)] = 8
    method: Literal["progressive", "consistency", "dmd"] = "progressive"
    rounds: Annotated[int, Interval(ge=1, le=10)] | None = None
    lora: Lora | None = None

    def problems(self, target: Target) -> list[str]:
        found = super().problems(target)
        if self.rounds is not None and self.method != "progressive":
            found.append(f"rounds is of method 'progressive', and it is '{self.method}': take it out")
        return found

    def requires(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        super().requires(model, context)
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
        trainings = self.trainings(model)
        for number, training in enumerate(trainings, 1):
            context.say(f"{self.name}: round {number} of {len(trainings)}, to {training.steps} steps")
            place = None if context.directory is None else context.directory / f"round-{number}"
            model = _kept(training, model, replace(context, directory=place))
        return model

    def trainings(self, model: nn.Module) -> list[StepTraining]:
        """One after the other."""
        from compress.models.generators.noted import sampling_of

        loop = {field.name: getattr(self, field.name) for field in fields(Loop)}
        student = self.steps * 2 ** ((self.rounds or 2) - 1) if self.method == "progressive" else self.steps
        teacher = student * max(2, round(sampling_of(model).num_steps / student))
        found = []
        while student >= self.steps:
            training = METHODS[self.method]
            found.append(training(**loop, ema=self.ema, lora=self.lora, steps=student, teacher_steps=teacher))
            teacher, student = student, student // 2
        return found

    def ensures(self, model: nn.Module, context: Context) -> None:
        from compress.models.generators.noted import sampling_of

        steps = sampling_of(model).num_steps
        if steps > self.steps:  # a later pass may have gone on
            raise PromiseBroken(f"{self.name}: the model is sampled in {steps} steps, {self.steps} were asked for")


def _kept(training: StepTraining, model: nn.Module, context: Context) -> nn.Module:
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
