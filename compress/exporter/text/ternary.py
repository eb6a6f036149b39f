"""Ternary codes decoded, when onnxruntime folds constants, into what its low-bit kernels read.

A word of 16 bits is looked up at once.  Of 'trits' two words make a unit, each its part of every byte, which are added
up.  Of '3:4' a word is three fours, and the sixteenth four, a bit of which lies in each of five words, is looked up by
itself.  Bytes a weight at the peak of loading, for a kernel of 2 bits: 1.15 of '3:4-words', 1.80 of '3:4', 2.16 of
'trits' (tests/bench/codecs.py).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compress.exporter.codecs import pack, pack_ternary
from compress.exporter.codecs.ternary import (
    FIVE_BITS,
    FOURS_A_UNIT,
    FOURS_A_WORD,
    TRIT_UNIT,
    TRITS,
    WORDS,
    Bytes,
    codes_of_fours,
    kernel_bytes,
    trits_of_bytes,
)
from compress.exporter.nodes import Constants
from compress.numerics.weight import FOUR

if TYPE_CHECKING:
    from compress.numerics.weight import Packing

WORD = np.arange(1 << 16)
HIGHEST: Bytes = (WORD >> 15).astype(np.uint8)  # the highest bit of each word
PLACES: Bytes = (1 << np.arange(WORDS)).astype(np.uint8)[:, None]  # of these bits in the sixteenth four


def decoded_codes(
    builder: Constants, name: str, codes: NDArray[np.int8], packing: Packing, bits: int, shape: tuple[int, ...]
) -> ir.Value:
    """Ternary codes, row after row, as a kernel of `bits` bits reads them: uint8 of `shape`."""
    stored = pack_ternary(codes, packing)
    if packing == "trits":
        planes = stored.view("<u2").reshape(-1, 2).T
        parts = [
            builder.looked_up(builder.initializer(np.ascontiguousarray(plane), name), table)
            for plane, table in zip(planes, trit_tables(bits), strict=True)
        ]
        value, of_all = builder.once("Add", *parts), stored.size * TRITS
    else:
        value, of_all = _fours(builder, builder.initializer(stored, name), stored.size, packing, bits)
    size = int(np.prod(shape))
    if size * 8 // bits != of_all:  # the last unit is not full
        value = builder.once("Reshape", value, builder.integers(-1))
        value = builder.once("Slice", value, builder.integers(0), builder.integers(size))
    return builder.once("Reshape", value, builder.integers(*shape))


def _fours(builder: Constants, stored: ir.Value, words: int, packing: Packing, bits: int) -> tuple[ir.Value, int]:
    """The bytes of all words, and the number of codes in them."""
    main = builder.looked_up(stored, word_table(bits))
    if packing == "3:4-words":
        return main, words * FOURS_A_WORD * FOUR
    units = words // WORDS
    highest = builder.once("Reshape", builder.looked_up(stored, HIGHEST), builder.integers(units, WORDS))
    number = builder.once("MatMulInteger", highest, builder.shared_constant(PLACES))
    number = builder.once("Reshape", number, builder.integers(units))
    last = builder.once("Gather", builder.shared_constant(kernel_bytes(codes_of_fours(), bits)), number, axis=0)
    main = builder.once("Reshape", main, builder.integers(units, -1))
    return builder.once("Concat", main, last, axis=1), units * FOURS_A_UNIT * FOUR


@cache
def word_table(bits: int) -> Bytes:
    """uint8 [65536, 12 · bits / 8]: the three fours of each word."""
    numbers = (WORD[:, None] >> 5 * np.arange(FOURS_A_WORD)) & (FIVE_BITS - 1)
    return kernel_bytes(codes_of_fours()[numbers].reshape(len(WORD), -1), bits)


@cache
def trit_tables(bits: int) -> tuple[Bytes, Bytes]:
    """uint8 [65536, 20 · bits / 8] for either word of a unit: its codes in their places, zero bits in the others'."""
    codes = trits_of_bytes()[np.stack([WORD & 255, WORD >> 8], axis=1)]  # [words, bytes, digits]
    unsigned = (codes.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    tables = []
    for first in (0, 2):
        unit = np.zeros((len(WORD), TRITS, TRIT_UNIT // TRITS), np.uint8)
        unit[:, :, first : first + 2] = unsigned.swapaxes(1, 2)
        tables.append(pack(unit, bits)[0].reshape(len(WORD), -1))
    return tables[0], tables[1]
