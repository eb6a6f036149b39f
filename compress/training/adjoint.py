"""Where a sampled image goes if the velocity of one step is another: one gradient through all steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compress.models.generators.sampling import NUM_TRAIN_TIMESTEPS
from compress.numerics.flow import euler_step
from compress.training.flow_targets import Velocity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DIRECTIONS = 4  # an image; each costs a backward through all steps


def moves_of_steps(
    velocity: Velocity,
    noise: Tensor,
    classes: Tensor,
    sigmas: Tensor,
    draw: torch.Generator,
    progress: Callable[..., Any],
) -> NDArray[np.float64]:
    """See `compress.numerics.reuse.error_of`: the adjoint of the sampling, step by step from the image to the noise.

    noise    [N, C, H, W], that images are made of.
    classes  [N].
    sigmas   [steps + 1], falling.
    Returns [4 · N, steps, steps].
    """
    steps, count = len(sigmas) - 1, len(noise)
    samples, velocities, sample = [], [], noise

    def at(step: int, x: Tensor) -> Tensor:
        return velocity(x, sigmas[step].expand(count) * NUM_TRAIN_TIMESTEPS, classes)

    with torch.no_grad():
        for step in progress(range(steps), "steps", steps):
            samples.append(sample)
            velocities.append(at(step, sample))
            sample = euler_step(sample, velocities[-1], sigmas[step].expand(count), sigmas[step + 1].expand(count))
    known = torch.stack(velocities).flatten(2)  # [steps, N, C · H · W]
    found = []
    for _ in progress(range(_DIRECTIONS), "directions", _DIRECTIONS):
        adjoint = torch.randn(sample.shape, generator=draw)
        moves = torch.empty(count, steps, steps)
        for step in reversed(range(steps)):
            moves[:, step] = torch.einsum("nd,jnd->nj", adjoint.flatten(1), known)
            with torch.enable_grad():
                x = samples[step].clone().requires_grad_()
                [gradient] = torch.autograd.grad(at(step, x), x, adjoint)
            adjoint = adjoint + (sigmas[step + 1] - sigmas[step]) * gradient
        found.append(moves)
    return torch.cat(found).double().numpy()
