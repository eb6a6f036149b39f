"""Which of ggml's types hold a QuantizedWeight's codes as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from compress.exporter.gguf import parts
from compress.exporter.gguf.bits import LARGEST_HALF
from compress.exporter.gguf.blocks import AFFINE, blocks
from compress.exporter.gguf.k_quants import GRIDS, exact_blocks, has_steps
from compress.exporter.gguf.ternary import TERNARY, ternary_blocks
from compress.numerics.weight import code_range, rows_of

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

# From the fewest bits a weight to the most.  What TQ2_0 holds TQ1_0 does too.
_BY_SIZE = ("TQ1_0", "Q2_K", "Q3_K", "Q4_0", "Q4_K", "Q4_1", "Q5_0", "Q5_K", "Q5_1", "Q6_K", "Q8_0")
_ROUNDING = 2.0**-11 * (1 + 2.0**-10)  # of a float16 that is not subnormal, relative
_ROWS = 1 << 22  # values that are looked at together


@dataclass(frozen=True)
class Fit:
    """How a QuantizedWeight goes into a type.

    kind     the type that holds its codes, or None where none does.
    reason   why none does; or why a smaller one, of as many bits as the codes have, does not.
    rounded  whether its scales are not float16 as they are.
    """

    kind: str | None
    reason: str = ""
    rounded: bool = False


def fit(quantized: QuantizedWeight) -> Fit:
    """The smallest type that holds the weight's grid."""
    reason, span = "", _span(quantized)
    for kind in _BY_SIZE:
        found = _holds(quantized, kind, span)
        if found.kind is not None:
            return Fit(kind, reason if code_bits(kind) > quantized.num_bits else "", found.rounded)
        if code_bits(kind) >= quantized.num_bits and kind not in TERNARY:
            reason = reason or found.reason
    return found


def holds(quantized: QuantizedWeight, kind: str) -> Fit:
    """Whether one type holds it: a Fit of this kind or of none."""
    return _holds(quantized, kind, _span(quantized))


def code_bits(kind: str) -> int:
    """Of a code of one of ggml's quantized types: TQ2_0 and TQ1_0, which hold three values, count as 2."""
    return 2 if kind in TERNARY else int(kind[1])


def blocks_of(quantized: QuantizedWeight, kind: str) -> NDArray[np.uint8]:
    """The rows of a weight that `kind` holds, uint8 [out, bytes of a row]."""
    if kind in TERNARY:
        return ternary_blocks(quantized, kind)
    return exact_blocks(quantized, kind) if kind in GRIDS else blocks(quantized, kind)


def block_length(kind: str) -> int:
    """How many neighbours a block of a type holds: rows are multiples of it."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    return GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0]


def _holds(quantized: QuantizedWeight, kind: str, span: tuple[int, int]) -> Fit:
    """span: of the codes less their zero points."""
    columns, length = quantized.codes[0].numel(), block_length(kind)
    group = columns if quantized.group_size is None else quantized.group_size
    part = GRIDS[kind].group_size if kind in GRIDS else length
    if columns % length:
        return Fit(None, f"rows of {columns} values are no multiple of {length}")
    if group < columns and group % part:
        return Fit(None, f"groups of {group} values are no multiple of {part}")
    affine = kind in AFFINE or (kind in GRIDS and GRIDS[kind].affine)
    least, most = (-1, 1) if kind in TERNARY else code_range(code_bits(kind))
    if affine and quantized.num_bits > code_bits(kind):
        return Fit(None, f"codes of {quantized.num_bits} bits have more than {code_bits(kind)}")
    if not affine and not least <= span[0] <= span[1] <= most:
        zero_points = "" if quantized.zero_points is None else " less their zero points"
        return Fit(None, f"its codes{zero_points} leave {least} … {most}")
    return _scaled(quantized, kind, part, affine)


def _scaled(quantized: QuantizedWeight, kind: str, part: int, affine: bool) -> Fit:
    """Whether its scales and offsets go into the type: to be asked of codes that do."""
    scales = parts.scales(quantized, part)
    halves = parts.half_scales(quantized, part) if kind in GRIDS else scales.half().float()
    if kind not in AFFINE:  # there an offset is made of it where all is zero, too
        scales = torch.where(parts.used(quantized, part), scales, 0.0)
    error = torch.where(scales != 0, (halves - scales).abs() / scales.abs(), 0.0)
    offsets = parts.offsets(quantized, scales, part) if affine else torch.zeros(1)
    if not bool((error <= _ROUNDING).all()) or bool((offsets.abs() > LARGEST_HALF).any()):
        return Fit(None, "its scales leave the range of float16")
    if kind in GRIDS and not has_steps(quantized, kind):
        return Fit(None, f"its scales are no integers up to {GRIDS[kind].reach} times one scale for 256 values")
    return Fit(kind, rounded=bool((error > 0).any()))


def _span(quantized: QuantizedWeight) -> tuple[int, int]:
    """The smallest and the largest code less its zero point."""
    step = max(1, _ROWS // quantized.codes[0].numel())
    found = [
        torch.aminmax(parts.centred(rows_of(quantized, slice(start, start + step))))
        for start in range(0, len(quantized.codes), step)
    ]
    return min(int(low) for low, _ in found), max(int(high) for _, high in found)
