"""Uniform grids for weights: scales by least squares, codes by rounding, integer multipliers of a row's scale.

Everything works on rows: W [out, K], cut into groups of `group_size` columns (the last may be shorter).  `importance`
[out or 1, K] weighs each column's squared error, as the diagonal of a Hessian does; None weighs all alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compress.numerics.weight import (
    SMALLEST_SCALE,
    QuantizedWeight,
    code_range,
    rows_of,
    spread,
    storable_scales,
    with_given_codes,
)

SHRINKAGES = tuple(1.0 - 0.0125 * i for i in range(49))  # a clipped range down to 0.4 of the largest magnitude
# Few levels clip more: four mid-rise ones of 8,192 normal weights are best at 0.375.
COARSE, COARSE_BITS = tuple(1.0 - 0.0125 * i for i in range(65)), 3
# With 256 levels a group gains nothing by clipping more: of 512 groups of 128 weights, normal or heavy-tailed (Student,
# 4 degrees of freedom), all choose one of the first two.
FINE, FINE_BITS, FINE_GROUP = SHRINKAGES[:9], 8, 128
MULTIPLIERS = 16  # what four bits hold: 1 … 16
ROWS = 1024  # that are searched together: what stays in the processor's caches
REACHES = (16.0, 14.0, 12.0, 10.0, 8.0)  # the multiplier of a row's largest scale


def nearest(
    weight: Tensor,
    num_bits: int,
    group_size: int | None = None,
    *,
    per_tensor: bool = False,
    symmetric: bool = True,
    integer_scales: bool = False,
    importance: Tensor | None = None,
    limit: int | None = None,
    midrise: bool = False,
) -> QuantizedWeight:
    """Round `weight` [out, …] to the grid whose scales lose the least (weighted) squared error.

    limit: the largest magnitude of a code, where an int8 kernel takes less than the bits would allow.
    midrise: levels at ±½, ±1½, … steps; of symmetric grids.
    """
    rows = weight.detach().float().reshape(weight.shape[0], -1)
    if per_tensor:
        quantized = nearest(rows.reshape(1, -1), num_bits, symmetric=symmetric, limit=limit, midrise=midrise)
        return with_given_codes(quantized, quantized.codes.reshape(weight.shape))
    heights = None if importance is None else importance.expand_as(rows)

    def parts(start: int) -> tuple[Tensor, Tensor | None]:
        """Some rows in groups, and what weighs them."""
        mine = None if heights is None else grouped(heights[start : start + ROWS], group_size)
        return grouped(rows[start : start + ROWS], group_size), mine

    starts = range(0, len(rows), ROWS)
    found = [search_scales(groups, num_bits, symmetric, mine, limit, midrise) for groups, mine in map(parts, starts)]
    scales = storable_scales(torch.cat([scale for scale, _ in found]))
    zero_points = None if symmetric else torch.cat([zero for _, zero in found if zero is not None])
    multipliers = None
    if integer_scales:
        pairs = [
            integer_multiples(groups, scales[start : start + ROWS], num_bits, mine, midrise)
            for start, (groups, mine) in zip(starts, map(parts, starts), strict=True)
        ]
        scales = torch.cat([row_scale for row_scale, _ in pairs])
        multipliers = torch.cat([multiplier for _, multiplier in pairs])
    grid = QuantizedWeight(torch.empty(0), scales, zero_points, multipliers, num_bits, group_size, midrise=midrise)
    return with_codes(grid, weight, limit)


def grouped(rows: Tensor, group_size: int | None) -> Tensor:
    """[out, K] → [out, groups, group_size], the last group filled with zeros; a view where all are full."""
    size = group_size or rows.shape[1]
    missing = -rows.shape[1] % size
    filled = torch.nn.functional.pad(rows, (0, missing)) if missing else rows
    return filled.reshape(rows.shape[0], -1, size)


def search_scales(
    groups: Tensor,
    num_bits: int,
    symmetric: bool,
    importance: Tensor | None = None,
    limit: int | None = None,
    midrise: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Scale and zero point of each group [out, groups, size] → [out, groups], by a search over clipped ranges.

    A group of zeros gets the scale 1: its codes are zeros whatever the scale; on a mid-rise grid, which has no zero,
    the smallest that float16 holds with all its bits.
    """
    low, high = _codes(num_bits, limit)
    if midrise:
        full = groups.abs().amax(-1) / (high + 0.5)
        offset = torch.zeros_like(full)
    elif symmetric:
        top, bottom = groups.amax(-1), groups.amin(-1)
        # the grid reaches one step further below zero than above
        full = torch.maximum(top / high, -bottom / -low)
        offset = torch.zeros_like(full)
    else:
        top, bottom = groups.amax(-1).clamp_min(0), groups.amin(-1).clamp_max(0)
        full = (top - bottom) / (high - low)
        offset = bottom
    full = torch.where(full > 0, full, SMALLEST_SCALE if midrise else 1.0)
    best_error = torch.full_like(full, torch.inf)
    best_scale, best_zero = full.clone(), torch.zeros_like(full)
    fine = num_bits >= FINE_BITS and groups.shape[-1] <= FINE_GROUP
    for shrinkage in FINE if fine else COARSE if num_bits <= COARSE_BITS else SHRINKAGES:
        scale = full * shrinkage
        if symmetric:
            zero = torch.full_like(scale, -0.5 if midrise else 0.0)
        else:
            zero = (low - offset * shrinkage / scale).round().clamp(low, high)
        error = squared_error(groups, _levels(groups, scale, zero, low, high).mul_(scale[..., None]), importance)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale = torch.where(better, scale, best_scale)
        best_zero = torch.where(better, zero, best_zero)
    return best_scale, None if symmetric else best_zero.to(torch.int8)


def integer_multiples(
    groups: Tensor, scales: Tensor, num_bits: int, importance: Tensor | None = None, midrise: bool = False
) -> tuple[Tensor, Tensor]:
    """Row scales [out, 1] and multipliers uint8 [out, groups] whose products lose the least in place of `scales`.

    For each of several row scales, every group takes the best of the 16 multiples; the row keeps the best whole.
    """
    low, high = code_range(num_bits)
    zero = -0.5 if midrise else 0.0
    # a group of zeros has the scale 1, which is no measure of its row
    largest = torch.where(groups.any(-1), scales, torch.zeros_like(scales)).amax(1, keepdim=True)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    best_error = torch.full_like(largest, torch.inf)
    best_scale, best_multipliers = largest / MULTIPLIERS, torch.full_like(scales, MULTIPLIERS)
    for reach in REACHES:
        row_scale = storable_scales(largest / reach)
        group_error = torch.full_like(scales, torch.inf)
        group_multiplier = torch.ones_like(scales)
        for multiplier in range(1, MULTIPLIERS + 1):
            step = (row_scale * multiplier)[..., None]
            codes = (groups / step + zero).round().clamp(low, high) - zero
            error = squared_error(groups, codes * step, importance)
            better = error < group_error
            group_error = torch.where(better, error, group_error)
            group_multiplier = torch.where(better, torch.full_like(scales, multiplier), group_multiplier)
        total = group_error.sum(1, keepdim=True)
        better = total < best_error
        best_error = torch.where(better, total, best_error)
        best_scale = torch.where(better, row_scale, best_scale)
        best_multipliers = torch.where(better, group_multiplier, best_multipliers)
    return best_scale, best_multipliers.to(torch.uint8)


def with_codes(quantized: QuantizedWeight, weight: Tensor, limit: int | None = None) -> QuantizedWeight:
    """The same grid with the codes nearest to `weight` [out, …]."""
    rows = weight.detach().float().reshape(weight.shape[0], -1)
    low, high = _codes(quantized.num_bits, limit)
    codes = torch.empty(rows.shape, dtype=torch.int8)
    for start in range(0, len(rows), ROWS):
        part = rows_of(quantized, slice(start, start + ROWS))
        ideal = rows[start : start + ROWS] / steps(part, rows.shape[1]) + zeros(part, rows.shape[1])
        codes[start : start + ROWS] = ideal.round_().clamp_(low, high)
    return with_given_codes(quantized, codes.reshape(weight.shape))


def steps(quantized: QuantizedWeight, columns: int) -> Tensor:
    """The distance between neighbouring values, [out, columns] or broadcastable."""
    scales = spread(quantized.scales, columns, quantized.group_size)
    if quantized.multipliers is None:
        return scales
    return scales * spread(quantized.multipliers.float(), columns, quantized.group_size)


def zeros(quantized: QuantizedWeight, columns: int) -> Tensor:
    """The zero points as float, [out, columns] or broadcastable; of a mid-rise grid −½."""
    if quantized.zero_points is None:
        return torch.full((1, 1), -0.5 if quantized.midrise else 0.0)
    return spread(quantized.zero_points.float(), columns, quantized.group_size)


def squared_error(groups: Tensor, approximation: Tensor, importance: Tensor | None) -> Tensor:
    """[out, groups, size] twice → [out, groups]."""
    error = (groups - approximation).square_()
    return (error if importance is None else error.mul_(importance)).sum(-1)


def _levels(groups: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
    """Codes minus zero points, as float."""
    zero = zero[..., None]
    return (groups / scale[..., None]).add_(zero).round_().clamp_(low, high).sub_(zero)


def _codes(num_bits: int, limit: int | None) -> tuple[int, int]:
    low, high = code_range(num_bits)
    return (low, high) if limit is None else (max(low, -limit), min(high, limit))
