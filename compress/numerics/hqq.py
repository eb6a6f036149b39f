"""HQQ: zero points by half-quadratic splitting, without data (Badri & Shaji 2023, https://mobiusml.github.io/hqq_blog/).

min over z of ‖W − s·(round(W/s + z) − z)‖ₚᵖ with p < 1, which lets few weights err far so that most err little: the
error is split off into E, by the generalised soft threshold, and z is the mean of what is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compress.numerics.grid import grouped, with_codes
from compress.numerics.weight import QuantizedWeight, code_range, storable_scales

NORM, BETA, GROWTH, ITERATIONS = 0.7, 10.0, 1.01, 20
ROWS = 8192


def hqq(weight: Tensor, num_bits: int, group_size: int | None = None) -> QuantizedWeight:
    """Affine codes of `weight` [out, …]; scales are those of the whole range, zero points integers."""
    rows = weight.detach().float().reshape(weight.shape[0], -1)
    found = [_zero_points(grouped(part, group_size), num_bits) for part in torch.split(rows, ROWS)]
    scales = storable_scales(torch.cat([scale for scale, _ in found]))
    zero_points = torch.cat([zero for _, zero in found])
    return with_codes(QuantizedWeight(torch.empty(0), scales, zero_points, None, num_bits, group_size), weight)


def _zero_points(groups: Tensor, num_bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point of each group, [out, groups, size] → [out, groups]."""
    low, high = code_range(num_bits)
    top, bottom = groups.amax(-1, keepdim=True).clamp_min(0), groups.amin(-1, keepdim=True).clamp_max(0)
    scale = (top - bottom) / (high - low)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = low - bottom / scale
    beta, best_error, best_zero = BETA, torch.full_like(zero, torch.inf), zero
    for _ in range(ITERATIONS):
        codes = (groups / scale + zero).round().clamp(low, high)
        error = groups - (codes - zero) * scale
        norm = error.abs().pow(NORM).sum(-1, keepdim=True)
        best_zero = torch.where(norm < best_error, zero, best_zero)
        best_error = torch.minimum(norm, best_error)
        split = shrink(error, beta)
        zero = (codes - (groups - split) / scale).mean(-1, keepdim=True)
        beta *= GROWTH
    return scale[..., 0], best_zero[..., 0].round().clamp(low, high).to(torch.int8)


def shrink(x: Tensor, beta: float) -> Tensor:
    """sign(x) · max(|x| − |x|^(p−1)/β, 0): the generalised soft threshold of the p-norm."""
    return x.sign() * (x.abs() - x.abs().clamp_min(1e-8).pow(NORM - 1) / beta).clamp_min(0)
