"""Grids of two levels: super-blocks of 256 values, cut into groups whose scales are integers times one float16 step.

    W[n, g, i] = step[n] · multiples[n, g] · codes[n, g, i] − offset_step[n] · offsets[n, g]

ggml's k-quants are such grids (`block_q2_K` and so on in
https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from compress.numerics.weight import code_range

SUPERBLOCK = 256
PIECE = 256  # super-blocks that are searched together: what stays in the processor's caches
# Where the largest value of a group of a symmetric grid is tried to lie, in codes beyond the last one.
_BEYOND = (-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
# To which part of its distance from the mean each end of a group of an affine grid is tried to be drawn in.
_DRAWN_IN = (1.0, 0.92, 0.84, 0.76, 0.68, 0.6)
_NEIGHBOURS = (0, -1, 1)
_ROUNDS = 2
_SMALLEST, _LARGEST = 2.0**-24, 65504.0  # of float16


@dataclass(frozen=True)
class SuperGrid:
    """What the integers of a grid of two levels may be.

    num_bits    of a code: [0, 2^b − 1] if affine, [−2^(b−1), 2^(b−1) − 1] if symmetric.
    group_size  values that share a multiple and an offset.
    reach       the largest multiple and offset.  They are not negative if affine; if symmetric multiples begin at
                −reach − 1, and offsets are all zero.
    """

    num_bits: int
    group_size: int
    reach: int
    affine: bool

    @property
    def codes(self) -> tuple[int, int]:
        return (0, 2**self.num_bits - 1) if self.affine else code_range(self.num_bits)

    @property
    def multiples(self) -> tuple[int, int]:
        return (0 if self.affine else -self.reach - 1), self.reach


@dataclass(frozen=True)
class Superblocks:
    """n super-blocks, as the equation above has them.

    codes               int8 [n, groups, group_size].
    multiples, offsets  int8 [n, groups].
    step, offset_step   float32 [n], all of which float16 holds.
    """

    codes: Tensor
    multiples: Tensor
    offsets: Tensor
    step: Tensor
    offset_step: Tensor

    def dequantize(self) -> Tensor:
        """float32 [n, 256]."""
        scales = self.step[:, None] * self.multiples
        offsets = self.offset_step[:, None] * self.offsets
        return (scales[..., None] * self.codes - offsets[..., None]).flatten(1)


def search(values: Tensor, grid: SuperGrid) -> Superblocks:
    """The integers and steps that lose little squared error of `values`, float32 [n, 256].

    Least squares in turns: each group's scale (and offset) by itself for several ranges; then the super-block's steps
    for the integers, and the integers for the steps.  Which others are beside a super-block does not matter to it.
    """
    found = [_searched(values[start : start + PIECE], grid) for start in range(0, len(values), PIECE)]
    columns = ([getattr(each, field.name) for each in found] for field in fields(Superblocks))
    return Superblocks(*(torch.cat(column) for column in columns))


def _searched(values: Tensor, grid: SuperGrid) -> Superblocks:
    # [group_size, groups, n]: sums over a group are sums of whole vectors, and a group's scale is one for each of them
    lanes = values.reshape(len(values), -1, grid.group_size).permute(2, 1, 0).contiguous()
    scales, offsets = _affine(lanes, grid) if grid.affine else _symmetric(lanes, grid)
    step = _half(scales.abs().amax(0) / grid.reach)
    offset_step = _half(offsets.amax(0) / grid.reach)
    best = torch.full_like(step, torch.inf)
    kept = [torch.zeros_like(each) for each in (lanes, scales, offsets, step, offset_step)]
    for _ in range(_ROUNDS):
        multiples, integers = _integers(lanes, scales, offsets, step, offset_step, grid)
        codes = _codes(lanes + offset_step * integers, step * multiples, grid)
        error = _sum(_sum((lanes - step * multiples * codes + offset_step * integers).square_()))
        better = error < best
        best = torch.where(better, error, best)
        made = (codes, multiples, integers, step, offset_step)
        kept = [torch.where(better, new, old) for new, old in zip(made, kept, strict=True)]
        step, offset_step = _steps(lanes, multiples * codes, -integers.expand_as(lanes), offset_step)
    codes, multiples, integers, step, offset_step = kept
    whole = (codes.permute(2, 1, 0), multiples.T, integers.T)
    codes, multiples, integers = (each.to(torch.int8).contiguous() for each in whole)
    return Superblocks(codes, multiples, integers, step, offset_step)


def _symmetric(lanes: Tensor, grid: SuperGrid) -> tuple[Tensor, Tensor]:
    """Scales w = scale · code of each group by itself, and offsets, which are zero.  [size, groups, n] → [groups, n].

    A scale may be negative: the grid reaches one step further below zero than above.
    """
    low, _ = grid.codes
    peak = lanes.abs().amax(0)
    best, scales = torch.zeros_like(peak), torch.zeros_like(peak)
    for beyond in _BEYOND:
        for last in (-low + beyond, low - beyond):
            codes = _codes(lanes, peak / last, grid)
            product, square = _sum(lanes * codes), _sum(codes.square())
            scale = product * _inverse(square)
            gain = product * scale  # what is lost less than if all were zero
            better = gain > best
            best = torch.where(better, gain, best)
            scales = torch.where(better, scale, scales)
    return scales, torch.zeros_like(scales)


def _affine(lanes: Tensor, grid: SuperGrid) -> tuple[Tensor, Tensor]:
    """Scales and offsets w = scale · code − offset of each group by itself.  [size, groups, n] → [groups, n] twice."""
    size, (_, high) = len(lanes), grid.codes
    total = _sum(lanes)
    mean, low, top = total / size, lanes.amin(0), lanes.amax(0)
    best = torch.full_like(mean, torch.inf)
    scales, offsets = torch.zeros_like(mean), torch.zeros_like(mean)
    for part in _DRAWN_IN:
        offset = (mean + (low - mean) * part).neg_().clamp_min_(0)
        scale = (mean + (top - mean) * part + offset).clamp_min_(0) / high
        for _ in range(_ROUNDS):
            codes = _codes(lanes + offset, scale, grid)
            codes_sum, square, product = _sum(codes), _sum(codes.square()), _sum(lanes * codes)
            spread = size * square - codes_sum.square()
            scale = (size * product - codes_sum * total) * _inverse(spread)
            offset = (scale * codes_sum - total) / size
            alone = offset < 0  # which the grid has none of
            scale = torch.where(alone, product * _inverse(square), scale).clamp_min_(0)
            offset = torch.where(alone, 0.0, offset)
            cost = scale * (scale * square - 2 * product) + offset * (size * offset - 2 * scale * codes_sum + 2 * total)
            better = cost < best
            best = torch.where(better, cost, best)
            scales, offsets = torch.where(better, scale, scales), torch.where(better, offset, offsets)
    return scales, offsets


def _integers(
    lanes: Tensor, scales: Tensor, offsets: Tensor, step: Tensor, offset_step: Tensor, grid: SuperGrid
) -> tuple[Tensor, Tensor]:
    """The multiples and offsets, near to what would give `scales` and `offsets`, that lose the least.  [groups, n]."""
    least, most = grid.multiples
    near, near_offset = (scales * _inverse(step)).round_(), (offsets * _inverse(offset_step)).round_()
    best = torch.full_like(scales, torch.inf)
    multiples, integers = torch.zeros_like(scales), torch.zeros_like(scales)
    for aside in _NEIGHBOURS if grid.affine else (0,):
        integer = (near_offset + aside).clamp_(0, most)
        shifted = lanes + offset_step * integer
        for away in _NEIGHBOURS:
            multiple = (near + away).clamp_(least, most)
            scale = step * multiple
            error = _sum((shifted - scale * _codes(shifted, scale, grid)).square_())
            better = error < best
            best = torch.where(better, error, best)
            multiples, integers = torch.where(better, multiple, multiples), torch.where(better, integer, integers)
    return multiples, integers


def _codes(shifted: Tensor, scale: Tensor, grid: SuperGrid) -> Tensor:
    """The codes nearest to values to which their offsets were added, as float; zeros where the scale is zero."""
    return (shifted * _inverse(scale)).round_().clamp_(*grid.codes)


def _steps(lanes: Tensor, by_step: Tensor, by_offset: Tensor, offset_step: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares of lanes ≈ step · by_step + offset_step · by_offset in super-blocks.  [size, groups, n] → [n]."""
    xx, xy, xw = (_sum(_sum(by_step * each)) for each in (by_step, by_offset, lanes))
    yy, yw = (_sum(_sum(by_offset * each)) for each in (by_offset, lanes))
    spread = xx * yy - xy.square()
    apart = spread > 1e-6 * xx * yy  # otherwise one of the two is nothing, or they cannot be told apart
    step = torch.where(apart, (xw * yy - yw * xy) * _inverse(spread), (xw - offset_step * xy) * _inverse(xx))
    offset_step = torch.where(apart, (yw * xx - xw * xy) * _inverse(spread), offset_step)
    return _half(step), _half(offset_step)


def _sum(lanes: Tensor) -> Tensor:
    """Over the first axis, whose length is a power of two, in an order that does not depend on the other axes."""
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


def _inverse(values: Tensor) -> Tensor:
    """1 / values, and 0 where they are 0."""
    return torch.where(values == 0, 0.0, 1 / torch.where(values == 0, 1.0, values))


def _half(values: Tensor) -> Tensor:
    """What float16 holds nearest to values of at least zero, and of those above zero none as zero."""
    halves = values.clamp(0, _LARGEST).half().float()
    return torch.where(values > 0, halves.clamp_min(_SMALLEST), 0.0)
