"""The bytes of a weight in the model file, and the form of its scales there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compress.exporter.codecs.planes import packed_bytes
from compress.exporter.codecs.ternary import ternary_bytes

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

MULTIPLIER_BITS = 4  # multipliers 1 … 16 are stored as 0 … 15


def disk_scales(scales: NDArray[np.float32]) -> NDArray[Any]:
    """float16 if it holds every scale exactly, else float32."""
    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), scales) else scales


def code_bytes(quantized: QuantizedWeight) -> int:
    """The bytes of a weight's codes in the artefact's model file."""
    count = quantized.codes.numel()
    if quantized.is_ternary:
        return ternary_bytes(count, quantized.packing)
    return packed_bytes(count, int(quantized.code_bits))


def stored_bytes(quantized: QuantizedWeight) -> int:
    """The bytes of a weight's codes, scales, zero points and multipliers in the artefact's model file.

    Not counted: the names and nodes around them, about 200 bytes a weight, and decoding tables, 2 kB a model;
    260 kB where ternary weights run in low-bit kernels.
    """
    size = code_bytes(quantized)
    size += int(disk_scales(quantized.scales.detach().cpu().numpy()).nbytes)
    if quantized.zero_points is not None:
        size += packed_bytes(quantized.zero_points.numel(), quantized.num_bits)
    if quantized.multipliers is not None:
        size += packed_bytes(quantized.multipliers.numel(), MULTIPLIER_BITS)
    return size
