"""Ternary codes as ggml's blocks: 256 neighbours of a row that share a float16 scale, w = d · c with c in {−1, 0, 1}.

    TQ2_0   two bits a code, 2.0625 bits a weight
    TQ1_0   five codes a byte as digits of a number below 3⁵, 1.6875 bits a weight

(`block_tq1_0` and `block_tq2_0` in https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from compress.exporter.gguf import parts
from compress.exporter.gguf.bits import halves, packed

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

TERNARY_BLOCK = 256
TERNARY = ("TQ2_0", "TQ1_0")
# TQ1_0's bytes in their order: how many, and how many codes each holds, the first the highest digit.
_RUNS = ((32, 5), (16, 5), (4, 4))


def ternary_blocks(quantized: QuantizedWeight, kind: str) -> NDArray[np.uint8]:
    """The rows of a weight of ternary codes, uint8 [out, bytes of a row]."""
    scales = parts.scales(quantized, TERNARY_BLOCK)
    digits = (parts.centred(quantized) + 1).to(torch.uint8).numpy().reshape(*scales.shape, TERNARY_BLOCK)
    made = packed(digits, 2, 32) if kind == "TQ2_0" else _digits(digits)
    return np.concatenate([made, halves(scales)], axis=-1).reshape(len(digits), -1)


def _digits(digits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[..., 256] → [..., 52].

    A number n of five digits is stored as the fraction n / 3⁵ of 256, rounded up: the reader multiplies the byte by 3,
    and what leaves its eight bits is the next digit.
    """
    found, begin = [], 0
    for count, length in _RUNS:
        numbers = np.zeros((*digits.shape[:-1], count), dtype=np.uint16)
        for place in range(length):
            numbers += digits[..., begin : begin + count].astype(np.uint16) * 3 ** (4 - place)
            begin += count
        found.append((numbers * 256 + 242) // 243)
    return np.concatenate(found, axis=-1).astype(np.uint8)
