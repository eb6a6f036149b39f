"""The trainings of distill.steps, a method each."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from compress.passes.base import Context
from compress.passes.flows import FlowPass
from compress.training.settings import Lora

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from compress.training.examples import Examples
    from compress.training.flowing import Average, Sigmas
    from compress.training.phase import Phase


@dataclass(frozen=True)
class StepTraining(FlowPass):
    """A training of the model to go in `steps` steps where it went in `teacher_steps` before."""

    name: ClassVar[str] = "distill.steps"

    lora: Lora | None = None
    steps: int = 1
    teacher_steps: int = 1

    def sigmas(self, model: nn.Module) -> Sigmas:
        from compress.training.flowing import sigmas_among

        return sigmas_among(self._sigmas(model, self.steps)[:-1])

    def phases(self, model: nn.Module, context: Context) -> list[Phase]:
        from compress.training.adapters import Adapters

        teacher = copy.deepcopy(model)
        adapters: list[Phase] = [] if self.lora is None else [Adapters(model, self.lora.rank, self.trainable)]
        average = self.average(model)
        return [*adapters, self.taught(model, teacher, average), average]

    @abstractmethod
    def taught(self, model: nn.Module, teacher: nn.Module, average: Average) -> Phase:
        """The phase in which `model` learns from the teacher, a copy of what it was."""

    def finished(self, model: nn.Module, context: Context) -> nn.Module:
        from compress.models.generators.noted import sampling_of, set_sampling

        set_sampling(model, replace(sampling_of(model), num_steps=self.steps))
        return model

    def _sigmas(self, model: nn.Module, num_steps: int) -> NDArray[np.float32]:
        from compress.models.generators.noted import sampling_of

        return replace(sampling_of(model), num_steps=num_steps).sigmas()


@dataclass(frozen=True)
class Progressive(StepTraining):
    """A step goes where several of the teacher's go: Salimans & Ho 2022, arXiv:2202.00512."""

    def taught(self, model: nn.Module, teacher: nn.Module, average: Average) -> Phase:
        from compress.training.flow_targets import of_steps
        from compress.training.flowing import Follow

        return Follow(model, teacher, of_steps(teacher, self._sigmas(model, self.teacher_steps), self.steps))


@dataclass(frozen=True)
class Consistency(StepTraining):
    """From anywhere in a step the same end of it: Song et al. 2023, arXiv:2303.01469; Heek et al. 2024,
    arXiv:2403.06807."""

    def sigmas(self, model: nn.Module) -> Sigmas:
        from compress.training.flowing import sigmas_among

        return sigmas_among(self._sigmas(model, self.teacher_steps)[:-1])

    def taught(self, model: nn.Module, teacher: nn.Module, average: Average) -> Phase:
        from compress.training.flow_targets import of_consistency
        from compress.training.flowing import Follow

        sigmas = self._sigmas(model, self.teacher_steps)
        return Follow(model, teacher, of_consistency(teacher, average.model_of(model), sigmas, self.steps))


@dataclass(frozen=True)
class Matching(StepTraining):
    """The images that come of it are distributed as the teacher's: Yin et al. 2024, arXiv:2405.14867."""

    def learned_from(self, model: nn.Module, context: Context) -> Examples:
        from compress.passes.training import TrainingPass
        from compress.training.matching import OwnSamples

        images = TrainingPass.learned_from(self, model, context)
        return OwnSamples(images, model, self._sigmas(model, self.steps))

    def taught(self, model: nn.Module, teacher: nn.Module, average: Average) -> Phase:
        from compress.training.matching import Match

        return Match(model, teacher)


METHODS: dict[str, type[StepTraining]] = {
    "progressive": Progressive,
    "consistency": Consistency,
    "dmd": Matching,
}
