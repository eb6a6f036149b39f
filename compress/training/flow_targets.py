"""What teachers of generators teach: the velocity to give for a student's own arguments (x, timestep, class)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.models.generators.noted import config_of
from compress.models.generators.sampling import NUM_TRAIN_TIMESTEPS
from compress.numerics.flow import along, euler_step, guided

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x [N, …], timestep [N], class [N]) → [N, …]


def guided_by(teacher: nn.Module, scale: float) -> Velocity:
    """Classifier-free guidance in one function."""
    null_class = config_of(teacher).num_classes

    def target(x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        both = teacher(
            x.repeat(2, 1, 1, 1), timestep.repeat(2), torch.cat([torch.full_like(classes, null_class), classes])
        )
        unconditional, conditional = both.chunk(2)
        return guided(unconditional, conditional, scale)

    return target


def of_steps(teacher: Velocity, sigmas: NDArray[np.float32], num_steps: int) -> Velocity:
    """The one step that goes where several of the teacher's go: Salimans & Ho 2022, arXiv:2202.00512, algorithm 2.

    sigmas     where each of the teacher's steps begins, and 0.
    num_steps  of the student: each takes as many of the teacher's, and its timesteps are among those.
    """
    each = (len(sigmas) - 1) // num_steps
    known = torch.from_numpy(sigmas)

    def target(x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        places = known.to(x.device)
        begin = (timestep[:, None] / NUM_TRAIN_TIMESTEPS - places).abs().argmin(dim=1)
        reached = x
        for step in range(each):
            here, there = places[begin + step], places[begin + step + 1]
            reached = euler_step(reached, teacher(reached, here * NUM_TRAIN_TIMESTEPS, classes), here, there)
        return (reached - x) / along(places[begin + each] - places[begin], x)

    return target
