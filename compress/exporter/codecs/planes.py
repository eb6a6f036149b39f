"""Integers of 1 to 8 bits in bytes, without waste.

A code of b bits is cut into planes of 4, 2 and 1 bits from the low end up (3 = 2 + 1 bits, 7 = 4 + 2 + 1), because a
byte holds a whole number of each.  A plane is the codes' bits in row-major order, the first code in a byte's lowest
bits: the 4-bit codes 1, 2, 15 are the bytes 0x21, 0x0f.  Eight bits are stored as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from compress.numerics.weight import QuantizedWeight

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Coding:
    """Integers as numbers of `num_bits` bits from zero up: code = step · number + offset.  step: 1 or 2."""

    num_bits: int
    step: int
    offset: int

    def numbers(self, codes: NDArray[np.int8]) -> Bytes:
        """The numbers of codes of any shape."""
        found: Bytes = (codes.view(np.uint8) - np.uint8(self.offset % 256)) >> np.uint8(self.step - 1)
        return found


def coding_of(quantized: QuantizedWeight) -> Coding:
    """Of a weight's codes, which are not ternary."""
    bits = int(quantized.code_bits)
    return Coding(bits, 2, 1 - 2**bits) if quantized.packing == "odd" else Coding(bits, 1, -(2 ** (bits - 1)))


def plane_widths(num_bits: int) -> tuple[int, ...]:
    """The planes of a `num_bits` code, lowest bits first: 3 → (2, 1), 6 → (4, 2), 8 → (8,)."""
    if not 1 <= num_bits <= 8:
        raise ValueError(f"codes have 1 to 8 bits, not {num_bits}")
    return tuple(width for width in (8, 4, 2, 1) if num_bits & width)


def pack(codes: NDArray[Any], num_bits: int) -> tuple[Bytes, ...]:
    """Codes 0 … 2^num_bits − 1 of any shape → one uint8 array a plane, of ceil(count · width / 8) bytes."""
    flat = np.ascontiguousarray(codes, dtype=np.uint8).reshape(-1)
    planes, shift = [], 0
    for width in plane_widths(num_bits):
        a_byte = 8 // width
        part = np.zeros(-(-flat.size // a_byte) * a_byte, np.uint8)
        part[: flat.size] = (flat >> shift) & (2**width - 1)
        places = np.arange(a_byte, dtype=np.uint8) * np.uint8(width)
        planes.append(np.bitwise_or.reduce(part.reshape(-1, a_byte) << places, axis=1))
        shift += width
    return tuple(planes)


def unpack(planes: tuple[Bytes, ...], num_bits: int, count: int) -> Bytes:
    """The first `count` codes of `pack`, flat."""
    codes, shift = np.zeros(count, np.uint8), 0
    for width, plane in zip(plane_widths(num_bits), planes, strict=True):
        codes |= _split(plane, width).reshape(-1)[:count] << shift
        shift += width
    return codes


def plane_tables(coding: Coding) -> tuple[NDArray[np.int8], ...]:
    """For every plane the codes that each byte holds, int8 [256, 8 / width], at their place in the whole code.

    Looked up and added, the planes give the codes.  Fewer than 8 bits, so that all lies in int8.
    """
    tables, shift = [], 0
    for width in plane_widths(coding.num_bits):
        codes = (_split(np.arange(256, dtype=np.uint8), width).astype(np.int16) << shift) * coding.step
        tables.append((codes + (coding.offset if shift == 0 else 0)).astype(np.int8))
        shift += width
    return tuple(tables)


def _split(plane: Bytes, width: int) -> Bytes:
    """[bytes] → [bytes, 8 / width]: the codes in each byte."""
    places = np.arange(0, 8, width, dtype=np.uint8)
    return (plane[:, None] >> places) & np.uint8(2**width - 1)


def packed_bytes(count: int, num_bits: int) -> int:
    """The size of `pack` of `count` codes."""
    return sum(-(-count * width // 8) for width in plane_widths(num_bits))
