"""TrainingPass: what the passes that train have in common: their loop, their data, and whom they learn from."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from compress.errors import ModelError
from compress.models.selectors import selector_problems
from compress.passes.base import Context, Pass
from compress.training.settings import Loop, Teaching

if TYPE_CHECKING:
    from torch import nn

    from compress.targets import Target
    from compress.training.examples import Examples
    from compress.training.loop import TaskLoss
    from compress.training.phase import Phase


@dataclass(frozen=True)
class TrainingPass(Loop, Pass):
    """A pass that trains: in a recipe in this project's own loop, after `compress.prepare` in anybody's."""

    lasts_through_training: ClassVar[bool] = True

    @abstractmethod
    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        """What the pass adds to a training of `model`; they may change it until they are finished."""

    def problems(self, target: Target) -> list[str]:
        return [*selector_problems(self.selectors()), *self.loop_problems()]

    def task_problems(self, task: str, languages: tuple[str, ...]) -> list[str]:
        found = []
        if self.augment and task == "translation":
            found.append("augment is for images: take it out")
        if self.vocabulary != "all" and task != "translation":
            found.append("vocabulary is for language models: take it out")
        return found

    def selectors(self) -> tuple[str, ...]:
        return () if self.trainable == ("*",) else self.trainable

    def trains_on(self) -> tuple[str | None, ...]:
        return (self.dataset,)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.training.loop import Surroundings, train
        from compress.training.vocabulary import SeenTokens

        if context.launch is not None:
            self.prepare(context)
            return context.launch(self, model, context)
        examples = self.learned_from(model, context)
        phases = self.phases(model, context)
        if self.vocabulary == "seen":
            seen = SeenTokens(model, phases, examples, context.seed)
            examples, phases = seen.examples, [*phases, seen]
        around = Surroundings(context.seed, context.progress, context.say, context.directory, context.track)
        history = train(model, phases, examples, self, around, self.task_loss())
        for phase in reversed(phases):
            phase.finish()
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        context.notes.append(summary(history.losses))
        return self.finished(model.eval(), context)

    def prepare(self, context: Context) -> None:
        """What is to be done before several processes train together: only one does it."""
        return

    def task_loss(self) -> TaskLoss | None:
        """What the task itself asks to be lowered; None: the cross-entropy of logits."""
        return None

    def learned_from(self, model: nn.Module, context: Context) -> Examples:
        """The examples to train `model` on."""
        if context.examples is None:
            raise ModelError(f"{self.name}: no examples to train on: give them, or use compress.prepare in your loop")
        return context.examples(self.dataset, self.augment)

    def finished(self, model: nn.Module, context: Context) -> nn.Module:
        """What is left to do to the model when its training has ended, and its phases with it."""
        return model


@dataclass(frozen=True)
class TaughtPass(Teaching, TrainingPass):
    """A TrainingPass that may learn from a teacher."""

    def problems(self, target: Target) -> list[str]:
        return [*super().problems(target), *self.teaching_problems()]

    def files(self) -> dict[str, str]:
        return self.teacher.files() if self.teaches else {}

    def taught(self, model: nn.Module, context: Context) -> list[Phase]:
        """The phase that learns from the teacher; none if nothing of it is asked for."""
        from compress.models.blocks import find_blocks
        from compress.training.teaching import Teach

        if not self.teaches:
            return []
        if context.teacher is None:
            raise ModelError(f"{self.name}: no teacher was given")
        example, blocks = None, tuple[str, ...]()
        if self.features is not None or self.attention is not None:
            example = context.example()
            blocks = tuple(find_blocks(model, *example))
        return [Teach(model, context.teacher(self.teacher), self, example, blocks)]


def summary(losses: tuple[float, ...]) -> str:
    """Of a training, for the log: the mean loss of each tenth of it."""
    size = max(1, len(losses) // 10)
    tenths = [losses[start : start + size] for start in range(0, len(losses), size)]
    return f"{len(losses)} steps, loss by tenths: " + ", ".join(f"{sum(part) / len(part):.4f}" for part in tenths)
