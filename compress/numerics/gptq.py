"""GPTQ: round column by column, and let the columns not yet rounded make up for the error (Frantar et al. 2022,
arXiv:2210.17323; the update is Optimal Brain Quantization's in a fixed order of columns)."""

from __future__ import annotations

import torch
from torch import Tensor

from compress.numerics.grid import steps, zeros
from compress.numerics.weight import QuantizedWeight, code_range, with_given_codes

BLOCK = 128  # columns whose updates are gathered before the rest of the matrix is touched


def gptq(weight: Tensor, grid: QuantizedWeight, hessian: Tensor, damping: float = 0.01) -> QuantizedWeight:
    """GPTQ of every convolution group: weight [out, …], hessian [groups, K, K]; scales and zero points stay."""
    groups = hessian.shape[0]
    if groups == 1:
        return gptq_rows(weight, grid, hessian[0], damping)
    parts = [
        gptq_rows(part, rows_of(grid, number, groups), hessian[number], damping)
        for number, part in enumerate(weight.chunk(groups))
    ]
    return with_given_codes(grid, torch.cat([part.codes for part in parts]))


def gptq_rows(weight: Tensor, grid: QuantizedWeight, hessian: Tensor, damping: float = 0.01) -> QuantizedWeight:
    """The grid with codes that minimise tr((W − Ŵ) H (W − Ŵ)ᵀ) greedily.

    weight [out, …] seen as [out, K]; hessian [K, K] = Σ x xᵀ over the calibration inputs of the layer; `grid` gives
    scales, zero points and multipliers, which stay.  `damping`: share of the mean diagonal added to the diagonal.
    Columns go in the order of falling diagonal (the most active first).
    """
    rows = weight.detach().double().reshape(weight.shape[0], -1)
    columns = rows.shape[1]
    hessian = hessian.double().clone()
    mean = hessian.diagonal().mean()
    hessian.diagonal().add_(damping * mean if mean > 0 else 1.0)
    order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    # the upper Cholesky factor of the inverse holds every row of the shrinking inverse that the updates need
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian[order][:, order])), upper=True)
    rows = rows[:, order]
    step = steps(grid, columns).double().expand(rows.shape)[:, order]
    zero = zeros(grid, columns).double().expand(rows.shape)[:, order]
    low, high = code_range(grid.num_bits)
    codes = torch.empty_like(rows)
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = torch.empty(rows.shape[0], end - start, dtype=torch.float64)
        for column in range(start, end):
            code = (rows[:, column] / step[:, column] + zero[:, column]).round().clamp(low, high)
            codes[:, column] = code
            error = (rows[:, column] - (code - zero[:, column]) * step[:, column]) / inverse[column, column]
            rows[:, column + 1 : end] -= error[:, None] * inverse[column, column + 1 : end]
            errors[:, column - start] = error
        rows[:, end:] -= errors @ inverse[start:end, end:]
    result = torch.empty_like(codes)
    result[:, order] = codes
    return with_given_codes(grid, result.to(torch.int8).reshape(weight.shape))


def rows_of(grid: QuantizedWeight, number: int, groups: int) -> QuantizedWeight:
    """The part of the grid that belongs to convolution group `number`."""

    def part(values: Tensor | None) -> Tensor | None:
        return None if values is None else values if values.shape[0] == 1 else values.chunk(groups)[number]

    scales = part(grid.scales)
    assert scales is not None
    codes = grid.codes.chunk(groups)[number]
    return QuantizedWeight(
        codes, scales, part(grid.zero_points), part(grid.multipliers), grid.num_bits, grid.group_size
    )
