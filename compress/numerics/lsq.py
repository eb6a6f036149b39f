"""Learned step sizes: grids whose scales are trained with the weights (LSQ, Esser et al. 2020, arXiv:1902.08153)."""

from __future__ import annotations

import math

from torch import Tensor

from compress.numerics.rounding import straight_through


def damped(scale: Tensor, damping: float) -> Tensor:
    """`scale`, whose gradient is multiplied by `damping` (LSQ, sec. 2.2)."""
    return scale.detach() + (scale - scale.detach()) * damping


def quantize_learned(x: Tensor, scale: Tensor, zero_point: Tensor | float, low: int, high: int) -> Tensor:
    """x on the grid (q − zero_point)·scale, q in [low, high]; scale broadcasts against x.

    Gradients (LSQ, eq. 3 and 5): of x straight through inside the range, zero outside; of the scale
    round(x/s) − x/s inside, the end of the range outside, damped by 1/√(elements a scale · largest code).
    """
    largest = max(1, high if low == 0 else max(high, -low - 1))
    scale = damped(scale, 1.0 / math.sqrt(x.numel() / scale.numel() * largest))
    steps = x / scale + zero_point
    inside = steps.clamp(low, high)
    return (straight_through(inside.round(), inside) - zero_point) * scale
