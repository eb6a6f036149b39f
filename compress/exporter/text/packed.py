"""A QuantizedWeight as MatMulNBits and GatherBlockQuantized read it.

The kernels know 2, 4 and 8 bits and blocks of 16, 32, 64, 128 columns.  What is stored is less where less will do:
3 bits in 3, a row's only scale once; standard operators spread it when onnxruntime folds constants at load.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from compress.exporter.codecs import MULTIPLIER_BITS, Coding, coding_of, disk_scales, pack, plane_widths
from compress.exporter.nodes import Constants
from compress.exporter.text.builder import FLOAT
from compress.exporter.text.ternary import decoded_codes
from compress.numerics.weight import odd

if TYPE_CHECKING:
    from torch import Tensor

    from compress.numerics.weight import QuantizedWeight

# A block's activations share a scale when they are rounded to int8, which is most of what 8 bits lose: Gemma 3 270M in
# groups of 128 loses 0.020 nats a token in blocks of 128 and 0.004 in blocks of 32, which take a tenth longer.
BLOCKS = (32, 16)
# Weights of few bits in large groups lose far more than that, and the scales of blocks, float32 in a session, are much
# beside their codes: 1.8 billion weights in 1.33 bits take 1,088 MB in blocks of 64 and 947 in blocks of 128.
WIDE = 128
LARGE = 1 << 19  # bytes of a plane that is looked up by words: their table takes 260 kB, their indices half the memory
TWO_BIT_BLOCKS = (WIDE, 64)  # 2-bit kernels of other blocks are 2 … 300 times slower than the 4-bit one


@dataclass(frozen=True)
class Packed:
    """codes uint8 [rows, blocks, block·bits/8], scales float32 [rows, blocks], zeros uint8 packed along a row or None.

    Without zeros, the zero point is 2^(bits−1).  Columns beyond `columns` are filled with zero points.
    midrise: half a scale is missing of every weight.
    """

    codes: ir.Value
    scales: ir.Value
    zeros: ir.Value | None
    bits: int
    block: int
    rows: int
    columns: int
    midrise: bool = False

    @property
    def blocks(self) -> int:
        return -(-self.columns // self.block)


def kernel_block(quantized: QuantizedWeight) -> int | None:
    """Columns in a block of the kernel, or None if it has no block that fits the groups; a group may be many blocks."""
    columns, group = quantized.shape[1], quantized.group_size
    whole_rows = group is None or group >= columns
    wide: tuple[int, ...] = ()
    if quantized.num_bits <= 2:
        wide = TWO_BIT_BLOCKS
    elif quantized.num_bits <= 4 and not whole_rows:
        wide = (WIDE,)
    sizes = (*wide, *BLOCKS)
    no_zero = quantized.keeps_three_of_four or quantized.midrise or quantized.packing == "odd"
    if no_zero and columns % BLOCKS[-1]:  # of what shall fill a block
        return None
    if group is None or whole_rows:  # a row is a group, and zeros fill its last block
        return next((size for size in sizes if columns % size == 0), BLOCKS[0])
    return next((size for size in sizes if group % size == 0), None)


def kernel_bits(num_bits: int, block: int) -> int:
    """The smallest width that has a fast kernel."""
    if num_bits <= 2 and block in TWO_BIT_BLOCKS:
        return 2
    return 4 if num_bits <= 4 else 8


def pack_weight(builder: Constants, name: str, quantized: QuantizedWeight, whole: bool = False) -> Packed | None:
    """Write the constants of a weight [rows, columns] and the nodes that decode them; None if no kernel fits.

    whole: no half of a mid-rise scale may be missing.
    """
    block = kernel_block(quantized)
    if block is None:
        return None
    rows, columns = quantized.shape
    bits = kernel_bits(quantized.num_bits, block)
    if whole or bits > 2:  # odd numbers take one bit more, which other kernels have
        quantized = odd(quantized)
        bits = kernel_bits(quantized.num_bits, block)
    blocks = -(-columns // block)
    return Packed(
        codes=_codes(builder, name, quantized, bits, block, blocks),
        scales=_scales(builder, name, quantized, block, blocks),
        zeros=_zeros(builder, name, quantized, bits, block, blocks),
        bits=bits,
        block=block,
        rows=rows,
        columns=columns,
        midrise=quantized.midrise,
    )


def stacked(weights: Sequence[QuantizedWeight]) -> QuantizedWeight | None:
    """The weights one below the other, if their grids are of one kind."""
    first = weights[0]
    kinds = {
        (
            (w.num_bits, w.packing, w.midrise, w.group_size, w.shape[1]),
            (w.scales.shape[1:], w.zero_points is None, w.multipliers is None),
        )
        for w in weights
    }
    of_rows = all(w.scales.shape[0] == w.shape[0] for w in weights)  # not one scale for the whole weight
    if len(kinds) > 1 or not of_rows:
        return None

    def below(name: str) -> Tensor | None:
        return None if getattr(first, name) is None else torch.cat([getattr(w, name) for w in weights])

    return dataclasses.replace(
        first,
        codes=torch.cat([w.codes for w in weights]),
        scales=torch.cat([w.scales for w in weights]),
        zero_points=below("zero_points"),
        multipliers=below("multipliers"),
    )


def unpacked_zeros(builder: Constants, packed: Packed) -> ir.Value | None:
    """The zero points one a byte, uint8 [rows, blocks, 1]."""
    if packed.zeros is None:
        return None
    value = packed.zeros
    if packed.bits < 8:
        width = 8 // packed.bits
        stored = -(-packed.blocks // width) * width
        value = _looked_up(builder, value, codes_of_bytes(packed.bits), packed.rows, stored)
        value = _first_columns(builder, value, stored, packed.blocks)
    return builder.once("Reshape", value, builder.integers(packed.rows, packed.blocks, 1))


def _codes(builder: Constants, name: str, quantized: QuantizedWeight, bits: int, block: int, blocks: int) -> ir.Value:
    rows, columns = quantized.shape
    codes = quantized.codes.detach().cpu()
    if blocks * block != columns:  # a filled column's weight must be zero: the zero point of the last group
        fill = torch.zeros(rows, blocks * block - columns, dtype=torch.int8)
        if quantized.zero_points is not None:
            fill += quantized.zero_points[:, -1:].to(torch.int8)
        codes = torch.cat([codes, fill], dim=1)
    shape = (rows, blocks, block * bits // 8)
    if quantized.is_ternary:
        return decoded_codes(builder, name, codes.numpy(), quantized.packing, bits, shape)
    coding = coding_of(quantized)
    planes = pack(coding.numbers(codes.numpy()), coding.num_bits)
    if coding.num_bits == bits:
        return builder.initializer(planes[0].reshape(shape), name)
    return _widened(builder, name, planes, coding, bits, shape)


def _widened(
    builder: Constants,
    name: str,
    planes: Sequence[NDArray[np.uint8]],
    coding: Coding,
    bits: int,
    shape: tuple[int, ...],
) -> ir.Value:
    """Planes of codes as a kernel of `bits` bits reads them, uint8 of `shape`.

    Every plane is looked up for as many codes at once, if it can be, so that the parts are added as they are: no value
    of all codes is there once more than need be.
    """
    widths = plane_widths(coding.num_bits)
    together = 4 if 4 in widths else 8  # codes of an index
    total, shift = None, 0
    for width, plane in zip(widths, planes, strict=True):
        index_bits = 16 if width * together == 16 and plane.nbytes >= LARGE else 8
        offset = 2 ** (bits - 1) + coding.offset if shift == 0 else 0
        table = widening_table(width, shift, offset, bits, index_bits, coding.step)
        part = builder.looked_up(builder.initializer(plane.view(f"<u{index_bits // 8}"), name), table)
        if len(widths) > 1 and index_bits // width != together:
            part = builder.once("Reshape", part, builder.integers(-1, together * bits // 8))
        total = part if total is None else builder.once("Add", total, part)
        shift += width
    assert total is not None  # there is a plane for every width
    return builder.once("Reshape", total, builder.integers(*shape))


@cache
def widening_table(
    width: int, shift: int, offset: int, bits: int, index_bits: int = 8, step: int = 1
) -> NDArray[np.uint8]:
    """uint8 [2^index_bits, index_bits / width · bits / 8]: the codes of `width` bits in each byte, or word of 16 bits,
    as codes of `bits` bits, packed.

    Each becomes code · 2^shift · step + offset.
    """
    wide = ((codes_of_bytes(width, index_bits).astype(np.int64) << shift) * step + offset).astype(np.uint8).reshape(-1)
    return pack(wide, bits)[0].reshape(1 << index_bits, -1)


def _scales(builder: Constants, name: str, quantized: QuantizedWeight, block: int, blocks: int) -> ir.Value:
    """float32 [rows, blocks], spread over the groups' blocks at load."""
    rows = quantized.shape[0]
    array = disk_scales(quantized.scales.detach().cpu().numpy())
    value = builder.initializer(array, f"{name}_scale")
    if array.dtype != np.float32:
        value = builder.once("Cast", value, to=FLOAT)
    groups = array.shape[1]
    if quantized.multipliers is not None:
        value = builder.once("Mul", value, _multipliers(builder, name, quantized.multipliers))
        groups = quantized.multipliers.shape[1]
    if groups == 1:
        same = array.shape[0] == rows and blocks == 1
        return value if same else builder.once("Expand", value, builder.integers(rows, blocks))
    return _spread(builder, value, rows, groups, (quantized.group_size or 0) // block, blocks)


def _spread(builder: Constants, value: ir.Value, rows: int, groups: int, repeats: int, blocks: int) -> ir.Value:
    """[rows, groups] → [rows, blocks], each group's value `repeats` times."""
    if repeats == 1:
        return value
    value = builder.once("Reshape", value, builder.integers(rows, groups, 1))
    value = builder.once("Expand", value, builder.integers(rows, groups, repeats))
    value = builder.once("Reshape", value, builder.integers(rows, groups * repeats))
    return _first_columns(builder, value, groups * repeats, blocks)


def _multipliers(builder: Constants, name: str, multipliers: Tensor) -> ir.Value:
    """float32 [rows, groups] from 4 bits each."""
    array = multipliers.detach().cpu().numpy()
    [plane] = pack(array - np.uint8(1), MULTIPLIER_BITS)
    table = np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1).astype(np.float32) + 1
    value = builder.looked_up(builder.initializer(plane, f"{name}_multiplier"), table)
    if array.size % 2:
        value = builder.once("Reshape", value, builder.integers(-1))
        value = builder.once("Slice", value, builder.integers(0), builder.integers(array.size))
    return builder.once("Reshape", value, builder.integers(*array.shape))


def _zeros(
    builder: Constants, name: str, quantized: QuantizedWeight, bits: int, block: int, blocks: int
) -> ir.Value | None:
    if quantized.zero_points is None:
        return None
    zeros: NDArray[Any] = quantized.zero_points.detach().cpu().numpy().astype(np.int16) + 2 ** (bits - 1)
    rows, groups = zeros.shape
    repeats = blocks if groups == 1 else (quantized.group_size or 0) // block
    a_byte = 8 // bits
    [plane] = pack(np.pad(zeros, ((0, 0), (0, -groups % a_byte))), bits)
    value = builder.initializer(plane.reshape(rows, -1), f"{name}_zero_point")
    if repeats == 1:
        return value
    stored = plane.size // rows * repeats
    value = _looked_up(builder, value, repeating_table(bits, repeats), rows, stored)
    return _first_columns(builder, value, stored, -(-blocks // a_byte))


def repeating_table(bits: int, repeats: int) -> NDArray[np.uint8]:
    """uint8 [256, repeats]: the codes of `bits` bits in each byte, each so many times, packed again."""
    return pack(np.repeat(codes_of_bytes(bits), repeats, axis=1).reshape(-1), bits)[0].reshape(256, -1)


def codes_of_bytes(bits: int, index_bits: int = 8) -> NDArray[np.uint8]:
    """uint8 [2^index_bits, index_bits / bits]: the codes of `bits` bits in each byte, or word of 16 bits."""
    numbers = np.arange(1 << index_bits)[:, None]
    codes: NDArray[np.uint8] = ((numbers >> np.arange(0, index_bits, bits)) & (2**bits - 1)).astype(np.uint8)
    return codes


def _looked_up(builder: Constants, stored: ir.Value, table: NDArray[Any], *shape: int) -> ir.Value:
    """What `table` [256, …] has for each byte, in a shape."""
    return builder.once("Reshape", builder.looked_up(stored, table), builder.integers(*shape))


def _first_columns(builder: Constants, value: ir.Value, columns: int, wanted: int) -> ir.Value:
    """The first `wanted` of the columns of [rows, columns]."""
    if columns == wanted:
        return value
    return builder.once("Slice", value, builder.integers(0), builder.integers(wanted), builder.integers(1))
