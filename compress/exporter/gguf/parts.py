"""What each part of a row of a QuantizedWeight has, where rows are cut into parts of `size` neighbours: ggml's blocks.

A part lies within one group, or all of it: `fitting.holds` sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from compress.numerics.weight import code_range, spread

if TYPE_CHECKING:
    from torch import Tensor

    from compress.numerics.weight import QuantizedWeight


def rows(quantized: QuantizedWeight) -> Tensor:
    """Codes, int8 [out, columns]."""
    return quantized.codes.reshape(quantized.codes.shape[0], -1)


def centred(quantized: QuantizedWeight) -> Tensor:
    """Codes less their zero points, int16 [out, columns]; int8 where there are none."""
    codes = rows(quantized)
    if quantized.zero_points is None:
        return codes
    return codes.to(torch.int16) - spread(quantized.zero_points.to(torch.int16), codes.shape[1], quantized.group_size)


def used(quantized: QuantizedWeight, size: int) -> Tensor:
    """Whether a part's scale matters, bool [out, parts]: not where all its values are zero."""
    codes = centred(quantized)
    return codes.reshape(len(codes), -1, size).any(-1)


def scales(quantized: QuantizedWeight, size: int) -> Tensor:
    """float32 [out, parts]."""
    return of_parts(_multiplied(quantized, quantized.scales.float()), quantized, size)


def half_scales(quantized: QuantizedWeight, size: int) -> Tensor:
    """Those that float16 holds nearest to `scales`, times the multipliers if there are: float32 [out, parts]."""
    return of_parts(_multiplied(quantized, quantized.scales.half().float()), quantized, size)


def offsets(quantized: QuantizedWeight, scales: Tensor, size: int) -> Tensor:
    """What a code whose bits are all zero stands for in each part: w = scale · q + offset, float32 [out, parts]."""
    low, _ = code_range(quantized.num_bits)
    if quantized.zero_points is None:
        return scales * low
    return scales * (low - of_parts(quantized.zero_points.float(), quantized, size))


def of_parts(per_group: Tensor, quantized: QuantizedWeight, size: int) -> Tensor:
    """[out, groups], [out, 1] or [1, 1] → [out, parts]: what each part's group has."""
    codes = rows(quantized)
    wide = spread(per_group, codes.shape[1], quantized.group_size)
    return wide.expand(codes.shape)[:, ::size].contiguous()


def _multiplied(quantized: QuantizedWeight, scales: Tensor) -> Tensor:
    return scales if quantized.multipliers is None else scales * quantized.multipliers.float()
