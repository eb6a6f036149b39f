"""Training on flows: noised images as examples, the loss on velocities, a teacher's velocities, averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from compress.errors import ModelError
from compress.models.generators.sampling import NUM_TRAIN_TIMESTEPS
from compress.numerics.flow import noised, velocity
from compress.training.examples import Batch, Examples
from compress.training.phase import Phase
from compress.training.teaching import Watch

Float = NDArray[np.float32]
# (random numbers, how many) → sigmas float32 [N] in (0, 1]
Sigmas = Callable[[np.random.Generator, int], Float]


def uniform_sigmas(draw: np.random.Generator, count: int) -> Float:
    """Any sigma alike."""
    return (1 - draw.random(count, dtype=np.float32)).astype(np.float32)


def logit_normal_sigmas(draw: np.random.Generator, count: int) -> Float:
    """The middle more often than the ends: sigmoid of a standard normal (Esser et al. 2024, arXiv:2403.03206)."""
    return (1 / (1 + np.exp(-draw.standard_normal(count, dtype=np.float32)))).astype(np.float32)


def sigmas_among(known: Float) -> Sigmas:
    """One of these."""

    def drawn(draw: np.random.Generator, count: int) -> Float:
        return known[draw.integers(0, len(known), count)]

    return drawn


@dataclass(frozen=True)
class FlowExamples:
    """An `Examples` of noised images: inputs (x [N, C, H, W], timestep [N], class [N]), labels their velocities.

    images     labelled ones, [N, C, H, W] between −1 and 1.
    sigmas     how much noise.
    null_class the class that stands for none.
    dropout    share of the classes that become that.
    """

    images: Examples
    sigmas: Sigmas
    null_class: int
    dropout: float = 0.0

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        assert draw is not None  # there is no image without its noise
        given = self.images.batch(rows, draw)
        [images], labels = given.inputs, given.labels
        noise = torch.from_numpy(draw.standard_normal(tuple(images.shape), dtype=np.float32))
        sigma = torch.from_numpy(self.sigmas(draw, len(images)))
        dropped = torch.from_numpy(np.less(draw.random(len(images)), self.dropout))
        classes = torch.where(dropped, torch.full_like(labels, self.null_class), labels)
        inputs = (noised(images, noise, sigma), sigma * NUM_TRAIN_TIMESTEPS, classes)
        return Batch(inputs, velocity(images, noise))


def velocity_loss(output: Any, labels: Tensor) -> Tensor:
    """Mean squared error of velocities."""
    return functional.mse_loss(output.float(), labels)


class Follow(Phase):
    """The student's velocities follow what `target` gives for the student's own arguments.

    teacher  the model that `target` asks, put into eval mode and kept beside the student.
    """

    def __init__(self, model: nn.Module, teacher: nn.Module, target: Callable[..., Tensor]) -> None:
        super().__init__()
        self._teacher = [teacher.eval()]  # in a list: it is not trained
        self.target = target
        self.student = Watch(model, ())

    def loss(self, task_loss: Tensor, labels: Tensor | None) -> Tensor:
        if self.student.arguments is None:
            raise ModelError("the model made no forward since the last loss: call compressor.loss after the model")
        arguments, _ = self.student.arguments
        self._teacher[0].to(arguments[0].device)
        with torch.no_grad():
            wanted = self.target(*arguments)
        loss = velocity_loss(self.student.output, wanted)
        self.student.forget()
        return loss

    def finish(self) -> None:
        self.student.remove()


class Average(Phase):
    """The model ends with an exponential moving average of its weights.

    decay  of the average; in the first steps it is smaller: (1 + n) / (10 + n) after n.
    """

    count: Tensor
    done: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.trained = [list(model.parameters())]  # in a list: they are the model's
        self.names = [name for name, _ in model.named_parameters()]
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("done", torch.zeros((), dtype=torch.float64))
        for number, parameter in enumerate(model.parameters()):
            self.register_buffer(f"average_{number}", parameter.detach().clone())

    def model_of(self, model: nn.Module) -> Callable[..., Tensor]:
        """A copy of `model`, which this is the average of, as it would be with the averaged weights of that moment."""
        shadow = [copy.deepcopy(model).eval()]

        def averaged(*arguments: Tensor) -> Tensor:
            shadow[0].to(arguments[0].device)
            weights = {name: self.get_buffer(f"average_{number}") for number, name in enumerate(self.names)}
            found: Tensor = functional_call(shadow[0], weights, arguments)
            return found

        return averaged

    @torch.no_grad()
    def step(self, done: float) -> None:
        if done and done == float(self.done):  # a training that goes on tells again where it was
            return
        self.done.fill_(done)
        steps = int(self.count)
        decay = min(self.decay, (1 + steps) / (10 + steps))
        for number, parameter in enumerate(self.trained[0]):
            self.get_buffer(f"average_{number}").lerp_(parameter.detach(), 1 - decay)
        self.count += 1

    @torch.no_grad()
    def finish(self) -> None:
        for number, parameter in enumerate(self.trained[0]):
            parameter.copy_(self.get_buffer(f"average_{number}"))
