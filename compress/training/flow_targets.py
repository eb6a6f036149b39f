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


def of_consistency(teacher: Velocity, averaged: Velocity, sigmas: NDArray[np.float32], num_steps: int) -> Velocity:
    """The one step to the end of a student's step: one step of the teacher, and from there what the student's average
    makes of it.  Consistency distillation, Song et al. 2023, arXiv:2303.01469, algorithm 2, as velocities; in several
    segments, Heek et al. 2024, arXiv:2403.06807, section 3.

    sigmas     where each of the teacher's steps begins, and 0.
    num_steps  of the student: segments of as many of the teacher's steps each.
    """
    each = (len(sigmas) - 1) // num_steps
    known = torch.from_numpy(sigmas)

    def target(x: Tensor, timestep: Tensor, classes: Tensor) -> Tensor:
        places = known.to(x.device)
        begin = (timestep[:, None] / NUM_TRAIN_TIMESTEPS - places).abs().argmin(dim=1)
        here, there, end = places[begin], places[begin + 1], places[(begin // each + 1) * each]
        near = euler_step(x, teacher(x, here * NUM_TRAIN_TIMESTEPS, classes), here, there)
        reached = euler_step(near, averaged(near, there * NUM_TRAIN_TIMESTEPS, classes), there, end)
        return (reached - x) / along(end - here, x)

    return target
