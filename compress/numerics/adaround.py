"""AdaRound of one layer on the exact squared error of its output, E‖(W − Ŵ)x‖² = tr((W − Ŵ) H (W − Ŵ)ᵀ), which needs
the inputs' second moments alone (Nagel et al. 2020, arXiv:2004.10568, eq. 25)."""

from __future__ import annotations

import torch
from torch import Tensor

from compress.numerics.grid import steps, zeros
from compress.numerics.rounding import annealed_exponent, logits_of, rectified_sigmoid, rounding_regularizer
from compress.numerics.weight import QuantizedWeight, code_range, with_given_codes

LEARNING_RATE = 1e-2
REGULARIZATION = 3.0  # of the error of rounding to nearest: with less, many weights are undecided at the end


def adaround(
    weight: Tensor, grid: QuantizedWeight, hessian: Tensor, iterations: int = 500, mask: Tensor | None = None
) -> QuantizedWeight:
    """The grid with every code rounded up or down so that the layer's output error is small.

    weight [out, …] seen as [out, K]; hessian [groups, K, K] = E[x xᵀ] for each convolution group.
    mask: bool of the weight's shape, true where it is kept: the others, zeros, keep the code of zero.
    Never worse than rounding to nearest: if it were, that is returned.
    """
    rows = weight.detach().float().reshape(weight.shape[0], -1)
    columns = rows.shape[1]
    hessian = hessian.float()
    step, zero = steps(grid, columns), zeros(grid, columns)
    low, high = code_range(grid.num_bits)
    ideal = (rows / step + zero).clamp(low, high)
    floor = ideal.floor()
    kept = torch.ones_like(rows, dtype=torch.bool) if mask is None else mask.reshape(rows.shape)

    def error(codes: Tensor) -> Tensor:
        off = (rows - (codes - zero) * step).reshape(hessian.shape[0], -1, columns)
        return ((off @ hessian) * off).sum()

    nearest = ideal.round()
    scale = error(nearest).clamp_min(1e-20)
    with torch.enable_grad():
        logits = logits_of((ideal - floor).clamp(0, 0.999)).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
        for iteration in range(iterations):
            codes = (floor + rectified_sigmoid(logits)).clamp(low, high)
            loss = error(torch.where(kept, codes, nearest)) / scale
            exponent = annealed_exponent(iteration / iterations)
            loss = loss + REGULARIZATION * rounding_regularizer(logits, exponent) / logits.numel()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    learned = torch.where(kept, (floor + (logits.detach() >= 0)).clamp(low, high), nearest)
    codes = learned if error(learned) < error(nearest) else nearest
    return with_given_codes(grid, codes.to(torch.int8).reshape(weight.shape))
