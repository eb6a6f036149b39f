"""Quantized weights as ggml's blocks: 32 neighbours of a row that share a float16 scale, and some an offset.

    Q4_0, Q5_0, Q8_0   w = d · c         c in [−8, 7], [−16, 15], [−128, 127]
    Q4_1, Q5_1         w = d · q + m     q in [0, 15], [0, 31]

(`block_q4_0` and so on in https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.)  A QuantizedWeight goes into
them from its codes, none rounded again: only its scales become float16, which they mostly are already, and the offsets
that its zero points make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from compress.numerics.weight import code_range, spread

if TYPE_CHECKING:
    from torch import Tensor

    from compress.numerics.weight import QuantizedWeight

BLOCK = 32
_LARGEST = float(np.finfo(np.float16).max)
_ROUNDING = 2.0**-11 * (1 + 2.0**-10)  # of a float16 that is not subnormal, relative


@dataclass(frozen=True)
class Fit:
    """How a QuantizedWeight goes into blocks.

    kind     the type that holds its codes, or None where none does.
    reason   why none does.
    rounded  whether its scales are not float16 as they are.
    """

    kind: str | None
    reason: str = ""
    rounded: bool = False


def fit(quantized: QuantizedWeight) -> Fit:
    """The smallest type that holds the weight's grid."""
    columns = quantized.codes[0].numel()
    group = columns if quantized.group_size is None else quantized.group_size
    if columns % BLOCK:
        return Fit(None, f"rows of {columns} values are no multiple of {BLOCK}")
    if group < columns and group % BLOCK:
        return Fit(None, f"groups of {group} values are no multiple of {BLOCK}")
    kind = _kind(quantized)
    if kind is None:
        return Fit(None, f"no type holds {quantized.num_bits} bits with zero points")
    scales = _scales(quantized)
    halves, used = scales.half().float(), _used(quantized)
    error = torch.where(used, (halves - scales).abs() / scales.abs(), 0.0)
    offsets = _offsets(quantized, scales) if kind in ("Q4_1", "Q5_1") else torch.zeros(1)
    if not bool((error <= _ROUNDING).all()) or bool((offsets.abs() > _LARGEST).any()):
        return Fit(None, "its scales leave the range of float16")
    return Fit(kind, rounded=bool((error > 0).any()))


def blocks(quantized: QuantizedWeight, kind: str) -> NDArray[np.uint8]:
    """The rows of a weight whose `fit` is `kind`, uint8 [out, bytes of a row]."""
    scales = _scales(quantized)
    rows = quantized.codes.shape[0]
    codes = _centred(quantized) if quantized.zero_points is not None and kind == "Q8_0" else _rows(quantized)
    codes = codes.reshape(rows, -1, BLOCK)
    pieces = [_halves(scales)]
    if kind in ("Q4_1", "Q5_1"):
        pieces.append(_halves(_offsets(quantized, scales)))
        low, _ = code_range(quantized.num_bits)
    else:
        low, _ = code_range(int(kind[1]))
    if kind == "Q8_0":
        pieces.append(codes.to(torch.int8).numpy().view(np.uint8))
    else:
        unsigned = (codes.to(torch.int16) - low).to(torch.uint8).numpy()
        if kind.startswith("Q5"):
            pieces.append(np.packbits(unsigned >> 4, axis=-1, bitorder="little"))
        first, second = unsigned[..., : BLOCK // 2] & 15, unsigned[..., BLOCK // 2 :] & 15
        pieces.append(first | (second << 4))
    return np.concatenate(pieces, axis=-1).reshape(rows, -1)


def _kind(quantized: QuantizedWeight) -> str | None:
    bits = quantized.num_bits
    if quantized.zero_points is None:
        return "Q4_0" if bits <= 4 else "Q5_0" if bits == 5 else "Q8_0"
    if bits <= 5:
        return "Q4_1" if bits <= 4 else "Q5_1"
    low, high = torch.aminmax(_centred(quantized))
    return "Q8_0" if int(low) >= -128 and int(high) <= 127 else None


def _scales(quantized: QuantizedWeight) -> Tensor:
    """Of each block, float32 [out, blocks]."""
    scales = quantized.scales.float()
    if quantized.multipliers is not None:
        scales = scales * quantized.multipliers.float()
    return _of_blocks(scales, quantized)


def _offsets(quantized: QuantizedWeight, scales: Tensor) -> Tensor:
    """What a code of all zeros stands for in each block: w = scale · q + offset."""
    assert quantized.zero_points is not None
    low, _ = code_range(quantized.num_bits)
    return scales * (low - _of_blocks(quantized.zero_points.float(), quantized))


def _of_blocks(per_group: Tensor, quantized: QuantizedWeight) -> Tensor:
    """[out, groups], [out, 1] or [1, 1] → [out, blocks]: what each block's group has."""
    rows, columns = quantized.codes.shape[0], quantized.codes[0].numel()
    wide = spread(per_group, columns, quantized.group_size)
    return wide.expand(rows, columns)[:, ::BLOCK].contiguous()


def _centred(quantized: QuantizedWeight) -> Tensor:
    """Codes less their zero points, int16 [out, columns]."""
    assert quantized.zero_points is not None
    rows = _rows(quantized).to(torch.int16)
    return rows - spread(quantized.zero_points.to(torch.int16), rows.shape[1], quantized.group_size)


def _used(quantized: QuantizedWeight) -> Tensor:
    """Whether a block's scale matters, [out, blocks]: not where all is zero, unless an offset is made of it."""
    rows = _rows(quantized)
    parts = rows.reshape(rows.shape[0], -1, BLOCK)
    return parts.any(-1) if quantized.zero_points is None else torch.ones(parts.shape[:2], dtype=torch.bool)


def _rows(quantized: QuantizedWeight) -> Tensor:
    return quantized.codes.reshape(quantized.codes.shape[0], -1)


def _halves(values: Tensor) -> NDArray[Any]:
    """float16 as bytes, [out, blocks, 2]."""
    halves = values.clamp(-_LARGEST, _LARGEST).half().numpy()
    return halves[..., None].view(np.uint8)
