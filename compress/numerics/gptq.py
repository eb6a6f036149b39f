"""GPTQ: round column by column, and let the columns not yet rounded make up for the error (Frantar et al. 2022,
arXiv:2210.17323; the update is Optimal Brain Quantization's in a fixed order of columns)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compress.numerics.grid import steps, zeros
from compress.numerics.ternary import kept_of_four, signs
from compress.numerics.weight import FOUR, QuantizedWeight, rows_of, with_given_codes

BLOCK = 64  # columns whose updates are gathered before the rest of the matrix is touched
ROWS = 8192  # rows that are worked on together: what stays in the processor's caches
SMALL = 1 << 22  # weights up to this number are worked on in float64: it costs nothing there


def gptq(
    weight: Tensor,
    grid: QuantizedWeight,
    hessian: Tensor,
    damping: float = 0.01,
    act_order: bool = True,
    mask: Tensor | None = None,
) -> QuantizedWeight:
    """GPTQ of every convolution group: weight [out, …], hessian [groups, K, K]; scales and zero points stay."""
    return gptq_each(weight, [grid], hessian, damping, act_order, mask)[0]


def gptq_each(
    weight: Tensor,
    grids: Sequence[QuantizedWeight],
    hessian: Tensor,
    damping: float = 0.01,
    act_order: bool = True,
    mask: Tensor | None = None,
) -> list[QuantizedWeight]:
    """The same on each of several grids, all of them ternary '3:4' or none: what takes longest is done once."""
    together = FOUR if grids[0].keeps_three_of_four else 1
    factors = [inverse_factor(each, damping, act_order, together) for each in hessian]
    return [_by_groups(weight, grid, factors, mask) for grid in grids]


def _by_groups(
    weight: Tensor, grid: QuantizedWeight, factors: Sequence[tuple[Tensor, Tensor]], mask: Tensor | None
) -> QuantizedWeight:
    if len(factors) == 1:
        return _by_rows(weight, grid, factors[0], mask)
    size = len(weight) // len(factors)
    parts = []
    for number, (part, factor) in enumerate(zip(weight.chunk(len(factors)), factors, strict=True)):
        rows = slice(number * size, (number + 1) * size)
        parts.append(_by_rows(part, rows_of(grid, rows), factor, None if mask is None else mask[rows]))
    return with_given_codes(grid, torch.cat([part.codes for part in parts]))


def gptq_rows(
    weight: Tensor,
    grid: QuantizedWeight,
    hessian: Tensor,
    damping: float = 0.01,
    act_order: bool = True,
    mask: Tensor | None = None,
) -> QuantizedWeight:
    """The grid with codes that minimise tr((W − Ŵ) H (W − Ŵ)ᵀ) greedily.

    weight [out, …] seen as [out, K]; hessian [K, K] = Σ x xᵀ over the calibration inputs of the layer; `grid` gives
    scales, zero points and multipliers, which stay.  `damping`: share of the mean diagonal added to the diagonal.
    act_order: columns go in the order of falling diagonal (the most active first), else in their own.
    mask: bool of the weight's shape, true where it is kept: the others take the code of zero, and what that costs is
    made up for by the columns after them, as rounding is.
    Where three of every four neighbours are kept (ternary '3:4'), a four is decided when its turn comes, and fours
    take the place of columns in the order.

    Rows are independent: an embedding of 262,144 × 640 takes one factorization, and memory for some thousand rows.
    """
    factor = inverse_factor(hessian, damping, act_order, FOUR if grid.keeps_three_of_four else 1)
    return _by_rows(weight, grid, factor, mask)


def _by_rows(
    weight: Tensor, grid: QuantizedWeight, factor: tuple[Tensor, Tensor], mask: Tensor | None
) -> QuantizedWeight:
    rows, (order, inverse) = weight.detach().reshape(weight.shape[0], -1), factor
    dtype = torch.float64 if rows.numel() <= SMALL else torch.float32
    codes = torch.empty(rows.shape, dtype=torch.int8)
    for start in range(0, len(rows), ROWS):
        part = rows[start : start + ROWS].to(dtype)
        kept = None if mask is None else mask.reshape(rows.shape)[start : start + ROWS]
        some = rows_of(grid, slice(start, start + ROWS))
        codes[start : start + ROWS] = _round(part, some, order, inverse.to(dtype), kept)
    return with_given_codes(grid, codes.reshape(weight.shape))


def inverse_factor(hessian: Tensor, damping: float, act_order: bool, together: int = 1) -> tuple[Tensor, Tensor]:
    """The order of the columns, and the upper Cholesky factor [K, K] of the damped Hessian's inverse in that order:
    it holds every row of the shrinking inverse that the updates need.

    together: so many neighbouring columns stay side by side, ordered by the sum of their diagonal.
    """
    hessian = hessian.double().clone()
    mean = hessian.diagonal().mean()
    hessian.diagonal().add_(damping * mean if mean > 0 else 1.0)
    order = torch.arange(len(hessian))
    if act_order:
        activity = hessian.diagonal().reshape(-1, together).sum(1)
        order = order.reshape(-1, together)[activity.argsort(descending=True, stable=True)].flatten()
    ordered = hessian[order][:, order]
    return order, torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(ordered)), upper=True)


def _round(rows: Tensor, grid: QuantizedWeight, order: Tensor, inverse: Tensor, mask: Tensor | None) -> Tensor:
    """The codes of some rows, float [out, K].  Inside, a column is one piece of memory."""
    out, columns = rows.shape
    left = rows.T[order].contiguous()
    step = steps(grid, columns).to(rows.dtype).expand(out, columns).T[order].contiguous()
    zero = zeros(grid, columns).to(rows.dtype).expand(out, columns).T[order].contiguous()
    kept = None if mask is None else mask.T[order].contiguous()
    low, high = grid.code_range
    fours = torch.empty(0)
    codes = torch.empty(columns, out)
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = torch.empty(end - start, out, dtype=rows.dtype)
        for column in range(start, end):
            if grid.keeps_three_of_four:
                if column % FOUR == 0:  # blocks of columns are whole fours
                    some = slice(column, column + FOUR)
                    fours = _three_of_four(left[some], step[some], inverse.diagonal()[some])
                code = signs(left[column], fours[column % FOUR])
            else:
                code = (left[column] / step[column]).add_(zero[column]).round_().clamp_(low, high)
            if kept is not None:
                code = torch.where(kept[column], code, zero[column])
            codes[order[column]] = code
            error = (left[column] - (code - zero[column]) * step[column]) / inverse[column, column]
            left[column + 1 : end].addr_(inverse[column, column + 1 : end], error, alpha=-1)
            errors[column - start] = error
        left[end:].addmm_(inverse[start:end, end:].T, errors, alpha=-1)
    return codes.T


def _three_of_four(left: Tensor, step: Tensor, inverse: Tensor) -> Tensor:
    """Which of four columns [4, out] keep ±step: all but the one whose zero costs the least, by the shrinking inverse's
    diagonal [4] (as SparseGPT weighs what it prunes)."""
    loss = (left.square() - (left.abs() - step).square()) / inverse.square()[:, None]
    return kept_of_four(loss.T).T
