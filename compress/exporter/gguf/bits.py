"""Fields of some bits and float16 as the bytes of ggml's blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_HALF = float(np.finfo(np.float16).max)


def packed(values: NDArray[Any], bits: int, run: int) -> NDArray[Any]:
    """Fields of 1, 2 or 4 bits, uint8 [..., values] → [..., bytes].

    A run of `run` neighbours lies in the lowest bits of as many bytes, the next run in the bits above them, until the
    bytes are full; then other bytes begin.
    """
    lanes = values.reshape(*values.shape[:-1], -1, 8 // bits, run)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    full: NDArray[Any] = np.bitwise_or.reduce(lanes << shifts, axis=-2)
    return full.reshape(*values.shape[:-1], -1)


def halves(values: Tensor) -> NDArray[Any]:
    """float16 as bytes, [...] → [..., 2]."""
    return values.clamp(-LARGEST_HALF, LARGEST_HALF).half().numpy()[..., None].view(np.uint8)
