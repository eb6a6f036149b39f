"""Ternary codes decoded to int8 by small tables, for weights that run in int8 or float: those of convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from compress.exporter.codecs import pack_ternary
from compress.exporter.codecs.ternary import (
    FIVE_BITS,
    FOURS_A_UNIT,
    FOURS_A_WORD,
    TRIT_UNIT,
    TRITS,
    WORDS,
    codes_of_fours,
    trits_of_bytes,
)
from compress.numerics.weight import FOUR

if TYPE_CHECKING:
    from compress.exporter.nodes import Writer
    from compress.numerics.weight import QuantizedWeight


def ternary_codes(node: Callable[..., ir.Value], writer: Writer, quantized: QuantizedWeight, name: str) -> ir.Value:
    """int8, flat.  node: what adds a node where it shall stand, and returns its output."""
    stored = pack_ternary(quantized.codes.numpy(), quantized.packing)
    index = node("Cast", writer.initializer(stored, name), to=ir.DataType.INT32)
    if quantized.packing == "trits":
        value = node("Gather", writer.shared_constant(trits_of_bytes()), index, axis=0)
        value = node("Reshape", value, writer.integers(-1, TRIT_UNIT // TRITS, TRITS))
        value, of_all = node("Transpose", value, perm=[0, 2, 1]), stored.size * TRITS
    else:
        numbers, fours = _numbers_of_fours(node, writer, index, stored.size, quantized.packing == "3:4")
        value, of_all = node("Gather", writer.shared_constant(codes_of_fours()), numbers, axis=0), fours * FOUR
    value, count = node("Reshape", value, writer.integers(-1)), quantized.codes.numel()
    return value if count == of_all else node("Slice", value, writer.integers(0), writer.integers(count))


def _numbers_of_fours(
    node: Callable[..., ir.Value], writer: Writer, index: ir.Value, words: int, spread: bool
) -> tuple[ir.Value, int]:
    """int32: the number of each four, in the order of the fours; and how many these are.

    spread: the highest bits of five words are a sixteenth four.
    """

    def constant(*values: int) -> ir.Value:
        return writer.shared_constant(np.array(values, np.int32))

    column = node("Reshape", index, writer.integers(words, 1))
    places = constant(*(FIVE_BITS**place for place in range(FOURS_A_WORD)))
    numbers = node("Mod", node("Div", column, places), constant(FIVE_BITS))
    if not spread:
        return numbers, words * FOURS_A_WORD
    units = words // WORDS
    highest = node("Reshape", node("Div", index, constant(FIVE_BITS**FOURS_A_WORD)), writer.integers(units, WORDS))
    bits = node("Mul", highest, constant(*(1 << word for word in range(WORDS))))
    last = node("ReduceSum", bits, writer.integers(1), keepdims=1)
    numbers = node("Reshape", numbers, writer.integers(units, FOURS_A_UNIT - 1))
    return node("Concat", numbers, last, axis=1), units * FOURS_A_UNIT
