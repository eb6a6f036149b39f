"""Learned step sizes: grids whose scales are trained with the weights (LSQ, Esser et al. 2020, arXiv:1902.08153).

What is kept for the backward is x itself and its scales: codes are found again there, and take no memory meanwhile.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


def damped(scale: Tensor, elements: int, largest: int) -> Tensor:
    """`scale`, whose gradient is multiplied by 1/√(elements a scale · largest code) (LSQ, sec. 2.2).

    elements  of all that `scale` has scales for.
    """
    damping = 1.0 / math.sqrt(elements / scale.numel() * largest)
    return scale.detach() + (scale - scale.detach()) * damping


def quantize_learned(x: Tensor, scale: Tensor, zero_point: Tensor | float, low: int, high: int) -> Tensor:
    """x on the grid (q − zero_point)·scale, q in [low, high]; scale broadcasts against x.

    Gradients (LSQ, eq. 3 and 5): of x straight through inside the range, zero outside; of the scale
    round(x/s) − x/s inside, the end of the range outside, damped by 1/√(elements a scale · largest code).
    """
    return quantize_through(x, damped(scale, x.numel(), largest_code(low, high)), zero_point, low, high)


def largest_code(low: int, high: int) -> int:
    """Q of LSQ's damping, of unsigned codes or of signed ones, which reach one step further below zero."""
    return max(1, high if low == 0 else max(high, -low - 1))


def quantize_through(
    x: Tensor, step: Tensor, zero_point: Tensor | float, low: int, high: int, returning: bool = False
) -> Tensor:
    """As `quantize_learned`, with the scale's gradient as it is.

    returning  x outside the range gets its gradient where a step against it leads back: what is clipped is not lost.
    """
    zero = torch.as_tensor(zero_point, dtype=x.dtype, device=x.device)
    quantized: Tensor = _quantize(x, step, zero, low, high, returning)
    return quantized


def scale_through(x: Tensor | None, codes: Tensor, step: Tensor) -> Tensor:
    """codes · step, which broadcasts against them; the gradient of x, if it is given, is that of the result.

    codes  of any type, and of x's shape: decided by x in a way that is not differentiated.
    """
    scaled: Tensor = _scale(x, codes, step)
    return scaled


# Operators of their own, which torch.compile takes as they are.
@torch.library.custom_op("compress::quantize_through", mutates_args=())
def _quantize(x: Tensor, step: Tensor, zero: Tensor, low: int, high: int, returning: bool) -> Tensor:
    return (x / step).add_(zero).round_().clamp_(low, high).sub_(zero).mul_(step)


@_quantize.register_fake
def _(x: Tensor, step: Tensor, zero: Tensor, low: int, high: int, returning: bool) -> Tensor:
    return torch.empty_like(x)


def _keep_quantized(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.range = inputs[3:]


def _quantized_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, step, zero = ctx.saved_tensors
    low, high, returning = ctx.range
    ideal = (x / step).add_(zero)
    below, above = ideal <= low, ideal >= high
    of_x = of_step = None
    if ctx.needs_input_grad[0]:
        lost = (below & (gradient >= 0)) | (above & (gradient <= 0)) if returning else below | above
        of_x = gradient.masked_fill(lost, 0.0)
    if ctx.needs_input_grad[1]:
        inside = ideal.round().sub_(ideal)
        ends = ideal.clamp_(low, high).sub_(zero)
        of_step = torch.where(below | above, ends, inside).mul_(gradient).sum_to_size(step.shape)
    return of_x, of_step, None, None, None, None


_quantize.register_autograd(_quantized_backward, setup_context=_keep_quantized)


@torch.library.custom_op("compress::scale_through", mutates_args=())
def _scale(x: Tensor | None, codes: Tensor, step: Tensor) -> Tensor:
    return codes * step


@_scale.register_fake
def _(x: Tensor | None, codes: Tensor, step: Tensor) -> Tensor:
    return codes * step


def _keep_scaled(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _scaled_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    codes, step = ctx.saved_tensors
    of_step = (gradient * codes).sum_to_size(step.shape) if ctx.needs_input_grad[2] else None
    return gradient if ctx.needs_input_grad[0] else None, None, of_step


_scale.register_autograd(_scaled_backward, setup_context=_keep_scaled)
