"""Ternary weights: −s, 0 and s, any of them anywhere, or exactly one zero in every four neighbours of a row.

Rows W [out, K] in groups of `group_size` columns that share a scale, as in `compress.numerics.grid`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from compress.numerics.grid import ROWS, grouped
from compress.numerics.weight import (
    FOUR,
    TERNARY_BITS,
    THREE_OF_FOUR,
    Packing,
    QuantizedWeight,
    spread,
    storable_scales,
)

Scales = Literal["absmean", "twn", "least-squares"]
TWN_THRESHOLD = 0.7  # of the mean magnitude: what is smaller is zero (TWN, sec. 2.3)
ROUNDS = 10  # of least squares; 512 groups of 128 normal weights all end within 8, nine in ten within 3


def ternary(
    weight: Tensor,
    packing: Packing,
    group_size: int | None = None,
    scales: Scales = "least-squares",
    importance: Tensor | None = None,
) -> QuantizedWeight:
    """`weight` [out, …], seen as rows [out, K], in ternary codes with a scale a group.

    packing     'trits', or '3:4…', whose rows must be multiples of four long.
    scales      'absmean': the mean magnitude (BitNet b1.58, Ma et al. 2024, arXiv:2402.17764, eq. 1–3); 'twn': the mean
                of the magnitudes above 0.7 of that (Li & Liu 2016, arXiv:1605.04711, eq. 5–6), of '3:4' of the three
                that stay; 'least-squares': from there on scales and codes in turn, each the best for the other
                (Sherry, Huang et al. 2026).
    importance  [out or 1, K]: what weighs each squared error, as the diagonal of a Hessian does; of least squares.

    Raises ValueError for rows, or groups, that '3:4' cannot cut into fours.
    """
    rows = weight.detach().float().reshape(weight.shape[0], -1)
    sparse = packing in THREE_OF_FOUR
    if packing not in TERNARY_BITS or (sparse and (rows.shape[1] % FOUR or (group_size or FOUR) % FOUR)):
        raise ValueError(f"{packing} does not hold rows of {rows.shape[1]} weights in groups of {group_size}")
    heights = None if importance is None else importance.expand_as(rows)
    found = []
    for start in range(0, len(rows), ROWS):
        groups = grouped(rows[start : start + ROWS], group_size)
        mine = None if heights is None else grouped(heights[start : start + ROWS], group_size)
        found.append(group_scales(groups, sparse, scales, mine))
    scale = storable_scales(torch.cat(found))
    codes = torch.empty(rows.shape, dtype=torch.int8)
    for start in range(0, len(rows), ROWS):
        part = slice(start, start + ROWS)
        step = spread(scale[part], rows.shape[1], group_size)
        codes[part] = ternary_codes(rows[part], step, sparse, None if heights is None else heights[part])
    return QuantizedWeight(codes.reshape(weight.shape), scale, None, None, 2, group_size, packing)


def group_scales(groups: Tensor, sparse: bool, scales: Scales, importance: Tensor | None = None) -> Tensor:
    """groups [out, groups, size] → the scale of each, [out, groups]; of a group of zeros 1."""
    magnitude = groups.abs()
    mean = magnitude.mean(-1)
    if scales != "absmean":
        kept = kept_of_four(magnitude) if sparse else magnitude > TWN_THRESHOLD * mean[..., None]
        mean = (magnitude * kept).sum(-1) / kept.sum(-1).clamp_min(1)
    scale = torch.where(mean > 0, mean, 1.0)
    if scales != "least-squares":
        return scale
    height = torch.ones_like(groups) if importance is None else importance
    for _ in range(ROUNDS):
        codes = ternary_codes(groups, scale[..., None], sparse, importance)
        size = (height * codes.square()).sum(-1)
        best = (height * groups * codes).sum(-1) / size.clamp_min(1e-30)
        better = torch.where((size > 0) & (best > 0), best, scale)
        if torch.equal(better, scale):  # all rounds to come would be this one
            break
        scale = better
    return scale


def ternary_codes(weight: Tensor, step: Tensor, sparse: bool, importance: Tensor | None = None) -> Tensor:
    """The codes, float −1, 0 and 1, that lose the least on scales `step`; weight [..., K].

    sparse: of every four neighbours one is zero, that whose loss is the least.
    """
    if not sparse:
        return (weight / step).round().clamp(-1, 1)
    # what zero costs more than ±step
    loss = weight.square() - (weight.abs() - step).square()
    loss = loss if importance is None else loss * importance
    return signs(weight, kept_of_four(loss))


def signs(weight: Tensor, kept: Tensor) -> Tensor:
    """−1 or 1 where a weight is kept, else 0, as float; a weight of zero that is kept counts as positive."""
    return torch.where(kept, torch.where(weight < 0, -1.0, 1.0), 0.0)


def kept_of_four(scores: Tensor) -> Tensor:
    """bool of the scores' shape [..., K]: all but the smallest, of several the first, of every four neighbours."""
    fours = scores.reshape(*scores.shape[:-1], -1, FOUR)
    kept = torch.ones(fours.shape, dtype=torch.bool, device=scores.device)
    return kept.scatter_(-1, fours.argmin(-1, keepdim=True), False).reshape(scores.shape)
