"""Flow matching (Lipman et al. 2022, arXiv:2210.02747; straight paths: Liu et al. 2022, arXiv:2209.03003), in the
convention of diffusers' FlowMatchEulerDiscreteScheduler: sigma 1 is noise, sigma 0 is data."""

from __future__ import annotations

from torch import Tensor


def noised(data: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(1 − sigma) · data + sigma · noise.  data, noise [N, …], sigma [N] → [N, …]."""
    share = along(sigma, data)
    return (1 - share) * data + share * noise


def velocity(data: Tensor, noise: Tensor) -> Tensor:
    """The derivative of `noised` by sigma: noise − data."""
    return noise - data


def euler_step(x: Tensor, velocity: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """x + (next_sigma − sigma) · velocity.  x, velocity [N, …], sigmas [N] → [N, …]."""
    return x + along(next_sigma - sigma, x) * velocity


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: unconditional + scale · (conditional − unconditional).  Ho & Salimans 2022,
    arXiv:2207.12598, as diffusers scale it: 1 is the conditional alone."""
    return unconditional + scale * (conditional - unconditional)


def along(values: Tensor, x: Tensor) -> Tensor:
    """values [N] in the rank of x [N, …], so that they multiply its rows."""
    return values.reshape(-1, *[1] * (x.dim() - 1))
