"""Distribution matching distillation: DMD (Yin et al. 2023, arXiv:2311.18828), on the student's own samples as in DMD2
(Yin et al. 2024, arXiv:2405.14867), of flows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from compress.errors import ModelError
from compress.models.generators.sampling import NUM_TRAIN_TIMESTEPS
from compress.numerics.flow import along, euler_step, noised, velocity
from compress.training.examples import Batch, Examples
from compress.training.phase import Phase
from compress.training.teaching import Watch

LEAST, MOST = 0.02, 0.98  # sigmas at which distributions are compared: DMD, section 3.2


@dataclass(frozen=True)
class OwnSamples:
    """An `Examples` of what a student meets while it is sampled: noise that it has taken some of its own steps with
    (DMD2, section 4.5).  Inputs and labels as of `FlowExamples`; labels are nothing, no loss is of them.

    images  labelled ones, whose classes are asked for; the images are not looked at.
    model   the student.
    sigmas  float32 [steps + 1], of its steps.
    """

    images: Examples
    model: nn.Module
    sigmas: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        assert draw is not None  # there is no image without its noise
        given = self.images.batch(rows, draw)
        [images], classes = given.inputs, given.labels
        device = next(self.model.parameters()).device
        x = torch.from_numpy(draw.standard_normal(tuple(images.shape), dtype=np.float32)).to(device)
        taken = torch.from_numpy(draw.integers(0, len(self.sigmas) - 1, len(images))).to(device)
        sigmas = torch.from_numpy(self.sigmas).to(device)
        with torch.no_grad():
            for step in range(int(taken.max())):
                here, there = (sigmas[place].expand(len(x)) for place in (step, step + 1))
                moved = euler_step(x, self.model(x, here * NUM_TRAIN_TIMESTEPS, classes.to(device)), here, there)
                x = torch.where(along(taken > step, x), moved, x)
        return Batch((x, sigmas[taken] * NUM_TRAIN_TIMESTEPS, classes), torch.zeros_like(images))


class Match(Phase):
    """The student's images come to be distributed as the teacher's: each is moved along the difference of two scores.

    teacher  the true one: a flow, good at any noise.  A copy of it, trained beside the student on the student's images,
             is the other.
    """

    def __init__(self, model: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self._teacher = [teacher.eval()]  # in a list: it is not trained
        self.fake = copy.deepcopy(teacher)
        self.student = Watch(model, ())

    def loss(self, task_loss: Tensor, labels: Tensor | None) -> Tensor:
        if self.student.arguments is None:
            raise ModelError("the model made no forward since the last loss: call compressor.loss after the model")
        (x, timestep, classes), _ = self.student.arguments
        self._teacher[0].to(x.device)
        sigma = timestep / NUM_TRAIN_TIMESTEPS
        made = euler_step(x, self.student.output, sigma, torch.zeros_like(sigma))
        images = made.detach()
        with torch.no_grad():
            direction = matching_direction(self._teacher[0], self.fake, images, classes)
        generator = 0.5 * functional.mse_loss(made, images - direction)
        noise, level = torch.randn_like(images), torch.rand_like(sigma)
        seen = self.fake(noised(images, noise, level), level * NUM_TRAIN_TIMESTEPS, classes)
        critic = functional.mse_loss(seen, velocity(images, noise))
        self.student.forget()
        return generator + critic

    def finish(self) -> None:
        self.student.remove()


def matching_direction(real: nn.Module, fake: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """The gradient of the divergence between what `fake` and `real` hold likely, at noised images: DMD, eqs. 7 and 8.

    images [N, …], classes [N] → [N, …]: (fake's idea of the image − real's) / mean |image − real's idea|.
    """
    noise = torch.randn_like(images)
    level = LEAST + (MOST - LEAST) * torch.rand(len(images), device=images.device)
    x, timestep, clean = noised(images, noise, level), level * NUM_TRAIN_TIMESTEPS, torch.zeros_like(level)
    fakes, reals = (euler_step(x, each(x, timestep, classes), level, clean) for each in (fake, real))
    scale = (images - reals).abs().flatten(1).mean(dim=1).clamp(min=1e-6)
    return (fakes - reals) / along(scale, images)
