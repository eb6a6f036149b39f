"""Quantized weights as ggml's blocks: 32 neighbours of a row that share a float16 scale, and some an offset.

    Q4_0, Q5_0, Q8_0   w = d · c         c in [−8, 7], [−16, 15], [−128, 127]
    Q4_1, Q5_1         w = d · q + m     q in [0, 15], [0, 31]

(`block_q4_0` and so on in https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.)  A QuantizedWeight goes into
them from its codes, none rounded again: only its scales become float16, which they mostly are already, and the offsets
that its zero points make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from compress.exporter.gguf import parts
from compress.exporter.gguf.bits import halves, packed
from compress.numerics.weight import code_range

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

BLOCK = 32
AFFINE = ("Q4_1", "Q5_1")


def blocks(quantized: QuantizedWeight, kind: str) -> NDArray[np.uint8]:
    """The rows of a weight that `kind` holds, uint8 [out, bytes of a row]."""
    scales = parts.scales(quantized, BLOCK)
    pieces = [halves(scales)]
    if kind in AFFINE:
        pieces.append(halves(parts.offsets(quantized, scales, BLOCK)))
        codes, (low, _) = parts.rows(quantized), code_range(quantized.num_bits)
    else:
        codes, (low, _) = parts.centred(quantized), code_range(int(kind[1]))
    codes = codes.reshape(*scales.shape, BLOCK)
    if kind == "Q8_0":
        pieces.append(codes.to(torch.int8).numpy().view(np.uint8))
    else:
        unsigned = (codes.to(torch.int16) - low).to(torch.uint8).numpy()
        if kind.startswith("Q5"):
            pieces.append(packed(unsigned >> 4, 1, 1))
        pieces.append(packed(unsigned & 15, 4, 16))
    return np.concatenate(pieces, axis=-1).reshape(len(codes), -1)
