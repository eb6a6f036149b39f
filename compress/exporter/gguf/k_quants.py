"""ggml's k-quants: super-blocks of 256 neighbours of a row, in groups whose scales are integers times one float16 step.

    Q2_K, Q4_K, Q5_K   w = d · s · q − e · o   q of 2, 4, 5 bits; s and o of 4, 6, 6 bits for 16, 32, 32 neighbours
    Q3_K, Q6_K         w = d · s · c           c of 3, 6 bits; s of 6, 8 bits for 16 neighbours

(`block_q2_K` and so on in https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.)  Floats go into them by
`compress.numerics.superblocks.search`; a QuantizedWeight, if its scales are such multiples, from its codes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.exporter.gguf import parts
from compress.exporter.gguf.bits import halves, packed
from compress.numerics.superblocks import SUPERBLOCK, Superblocks, SuperGrid, search
from compress.numerics.weight import QuantizedWeight, code_range

GRIDS = {
    "Q2_K": SuperGrid(num_bits=2, group_size=16, reach=15, affine=True),
    "Q3_K": SuperGrid(num_bits=3, group_size=16, reach=31, affine=False),
    "Q4_K": SuperGrid(num_bits=4, group_size=32, reach=63, affine=True),
    "Q5_K": SuperGrid(num_bits=5, group_size=32, reach=63, affine=True),
    "Q6_K": SuperGrid(num_bits=6, group_size=16, reach=127, affine=False),
}


def nearest_blocks(rows: Tensor, kind: str) -> NDArray[np.uint8]:
    """Floats [out, columns] → uint8 [out, bytes of a row]."""
    return _bytes(search(rows.reshape(-1, SUPERBLOCK), GRIDS[kind]), kind).reshape(len(rows), -1)


def exact_blocks(quantized: QuantizedWeight, kind: str) -> NDArray[np.uint8]:
    """The rows of a weight that `kind` holds, uint8 [out, bytes of a row]."""
    grid = GRIDS[kind]
    (step, multiples, _), (offset_step, offsets, _) = _steps(quantized, grid)
    if grid.affine:
        low, _ = code_range(quantized.num_bits)
        codes = parts.rows(quantized) - low  # at most 5 bits
    else:
        codes = parts.centred(quantized)
    codes = codes.reshape(len(step), -1, grid.group_size)
    codes, multiples, offsets = (each.to(torch.int8) for each in (codes, multiples, offsets))
    made = Superblocks(codes, multiples, offsets, step, offset_step)
    return _bytes(made, kind).reshape(len(quantized.codes), -1)


def has_steps(quantized: QuantizedWeight, kind: str) -> bool:
    """Whether all scales, as float16 holds them, and offsets are such multiples of one float16 in each super-block."""
    return all(bool(found.all()) for _, _, found in _steps(quantized, GRIDS[kind]))


def _steps(quantized: QuantizedWeight, grid: SuperGrid) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
    """`_common_step` of the scales and of the offsets of each super-block."""
    size = grid.group_size
    scales = torch.where(parts.used(quantized, size), parts.half_scales(quantized, size), 0.0)
    offsets = -parts.offsets(quantized, scales, size) if grid.affine else torch.zeros_like(scales)
    groups = SUPERBLOCK // size
    return tuple(_common_step(each.reshape(-1, groups), grid.reach) for each in (scales, offsets))


def _common_step(values: Tensor, reach: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each row the largest float16 of which all its values are multiples, from 0 to `reach`.

    values float32 [n, groups] → step [n], multiples [n, groups], whether there is such a step [n].
    """
    smallest = torch.where(values > 0, values, torch.inf).amin(1)
    step, found = torch.zeros_like(smallest), (values == 0).all(1)
    for divisor in range(1, reach + 1):
        if bool(found.all()):
            break
        tried = (smallest / divisor).half().float()
        multiples = (values / tried[:, None]).round()
        fits = ((multiples >= 0) & (multiples <= reach) & (multiples * tried[:, None] == values)).all(1) & ~found
        step, found = torch.where(fits, tried, step), found | fits
    return step, (values / torch.where(step > 0, step, 1.0)[:, None]).round(), found


def _bytes(made: Superblocks, kind: str) -> NDArray[np.uint8]:
    """uint8 [n, bytes of a super-block]."""
    low, _ = GRIDS[kind].codes
    codes = (made.codes - low).flatten(1).to(torch.uint8).numpy()
    multiples, offsets = (each.numpy().view(np.uint8) for each in (made.multiples, made.offsets))
    step, offset_step = halves(made.step), halves(made.offset_step)
    if kind == "Q2_K":
        pieces = [multiples | offsets << 4, packed(codes, 2, 32), step, offset_step]
    elif kind == "Q3_K":
        pieces = [packed(codes >> 2, 1, 32), packed(codes & 3, 2, 32), _six_bits(made.multiples + 32), step]
    elif kind == "Q6_K":
        pieces = [packed(codes & 15, 4, 64), packed(codes >> 4, 2, 32), multiples, step]
    else:
        high = [packed(codes >> 4, 1, 32)] if kind == "Q5_K" else []
        pieces = [step, offset_step, _six_bits_twice(multiples, offsets), *high, packed(codes & 15, 4, 32)]
    return np.concatenate(pieces, axis=-1)


def _six_bits(values: Tensor) -> NDArray[np.uint8]:
    """Q3_K's scales, [n, 16] → [n, 12]: the low halves two a byte, then the high bits four a byte."""
    numbers = values.numpy().view(np.uint8)
    return np.concatenate([packed(numbers & 15, 4, 8), packed(numbers >> 4, 2, 4)], axis=-1)


def _six_bits_twice(scales: NDArray[np.uint8], offsets: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Q4_K's and Q5_K's, [n, 8] twice → [n, 12]: the first four of each take the low bits of a byte; the other four lie
    with their low halves in the last bytes, and with their two high bits above the first four."""
    first = [each[:, :4] | each[:, 4:] >> 4 << 6 for each in (scales, offsets)]
    return np.concatenate([*first, scales[:, 4:] & 15 | (offsets[:, 4:] & 15) << 4], axis=-1)
