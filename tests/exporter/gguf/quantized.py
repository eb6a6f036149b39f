"""Weights over all of a grid, for tests of the types that hold them."""

from __future__ import annotations

import gguf
import torch

from compress.exporter.gguf.fitting import blocks_of
from compress.numerics.weight import QuantizedWeight, code_range


def random_weight(
    rows: int, columns: int, bits: int, group: int | None, symmetric: bool, multiplied: bool, seed: int
) -> QuantizedWeight:
    """Codes over their whole range, scales that float16 holds, zero points anywhere."""
    generator = torch.Generator().manual_seed(seed)
    low, high = code_range(bits)
    groups = 1 if group is None else -(-columns // group)

    def integers(least: int, most: int, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return torch.randint(least, most + 1, shape, generator=generator).to(dtype)

    scales = torch.rand((rows, 1 if multiplied else groups), generator=generator).mul(0.1).add(1e-3).half().float()
    return QuantizedWeight(
        codes=integers(low, high, (rows, columns), torch.int8),
        scales=scales,
        zero_points=None if symmetric else integers(low, high, (rows, groups), torch.int8),
        multipliers=integers(1, 16, (rows, groups), torch.uint8) if multiplied else None,
        num_bits=bits,
        group_size=group,
    )


def dequantized(quantized: QuantizedWeight, kind: str) -> torch.Tensor:
    """By the package's own decoder."""
    packed = blocks_of(quantized, kind)
    return torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[kind]))
