"""Ternary codes on disk: five in a byte, or, with exactly one zero in every four, sixteen fours in 80 bits.

'trits'      units of 20 codes in 4 bytes, filled with zeros: a byte holds each fourth code of the unit, the first byte
             the codes 0, 4, 8, 12, 16, as digits of base 3, the lowest first, −1 as 0.  The codes 1, 0, −1, −1, 1 in
             these places are the byte 2 + 1·3 + 2·81 = 167.
'3:4'        a four is a number of five bits: the place of its zero in the lower two, then the signs of the other three,
             1 for +.  Units of 16 fours are five words of 16 bits: a word holds three fours, the first in its lowest
             bits; its highest bit is a bit of the sixteenth, the first word's the lowest.
'3:4-words'  the same words without the sixteenth: their highest bit is zero.

Words are little-endian.  Both are filled with fours of the number 0.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from compress.exporter.codecs.planes import pack
from compress.numerics.weight import FOUR, Packing

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint16]

TRITS = 5  # in a byte
TRIT_UNIT = 20  # codes in four bytes
FOURS_A_WORD = 3
WORDS = 5  # of a unit of '3:4'
FOURS_A_UNIT = FOURS_A_WORD * WORDS + 1
FIVE_BITS = 32


def pack_ternary(codes: NDArray[np.int8], packing: Packing) -> Bytes | Words:
    """Codes −1, 0, 1 of any shape, row after row → bytes of 'trits', else words.

    Raises ValueError for other codes, and for a four without exactly one zero.
    """
    flat = np.ascontiguousarray(codes).reshape(-1)
    if flat.size and (flat.min() < -1 or flat.max() > 1):
        raise ValueError("ternary codes are -1, 0 and 1")
    if packing == "trits":
        digits = np.ones(-(-flat.size // TRIT_UNIT) * TRIT_UNIT, np.uint8)
        digits[: flat.size] = flat + 1
        of_bytes = digits.reshape(-1, TRITS, TRIT_UNIT // TRITS).swapaxes(1, 2)
        found: Bytes = (of_bytes @ (3 ** np.arange(TRITS)).astype(np.uint8)).reshape(-1)
        return found
    numbers = numbers_of_fours(flat)
    unit = FOURS_A_UNIT if packing == "3:4" else FOURS_A_WORD
    filled = np.zeros(-(-numbers.size // unit) * unit, np.uint16)
    filled[: numbers.size] = numbers
    units = filled.reshape(-1, unit)
    places = (5 * np.arange(FOURS_A_WORD)).astype(np.uint16)
    words: Words = np.bitwise_or.reduce(
        units[:, : unit // FOURS_A_WORD * FOURS_A_WORD].reshape(-1, FOURS_A_WORD) << places, axis=1
    )
    if packing == "3:4":
        bits = (units[:, -1:] >> np.arange(WORDS, dtype=np.uint16)) & np.uint16(1)
        words = words | (bits << np.uint16(15)).reshape(-1)
    return words


def unpack_ternary(stored: Bytes | Words, packing: Packing, count: int) -> NDArray[np.int8]:
    """The first `count` codes of `pack_ternary`, flat."""
    if packing == "trits":
        of_bytes = trits_of_bytes()[stored].reshape(-1, TRIT_UNIT // TRITS, TRITS)
        found: NDArray[np.int8] = of_bytes.swapaxes(1, 2).reshape(-1)[:count]
        return found
    fours = (stored[:, None] >> (5 * np.arange(FOURS_A_WORD)).astype(np.uint16)) & np.uint16(FIVE_BITS - 1)
    if packing == "3:4":
        last = ((stored >> np.uint16(15)).reshape(-1, WORDS) << np.arange(WORDS, dtype=np.uint16)).sum(1)
        fours = np.concatenate([fours.reshape(len(last), FOURS_A_UNIT - 1), last[:, None]], axis=1)
    codes: NDArray[np.int8] = codes_of_fours()[fours].reshape(-1)[:count]
    return codes


def ternary_bytes(count: int, packing: Packing) -> int:
    """The size of `pack_ternary` of `count` codes."""
    if packing == "trits":
        return -(-count // TRIT_UNIT) * TRIT_UNIT // TRITS
    if packing == "3:4":
        return -(-count // (FOUR * FOURS_A_UNIT)) * WORDS * 2
    return -(-count // (FOUR * FOURS_A_WORD)) * 2


def numbers_of_fours(flat: NDArray[np.int8]) -> NDArray[np.uint16]:
    """Codes [4·n] → the five-bit number of each four, [n]."""
    fours = flat.reshape(-1, FOUR)
    zeros = fours == 0
    if not (zeros.sum(axis=1) == 1).all():
        raise ValueError("of every four neighbours exactly one is zero")
    place = zeros.argmax(axis=1)
    signs = (fours[~zeros].reshape(-1, FOUR - 1) > 0) << np.arange(FOUR - 1)
    numbers: NDArray[np.uint16] = (place + (signs.sum(axis=1) << 2)).astype(np.uint16)
    return numbers


@cache
def codes_of_fours() -> NDArray[np.int8]:
    """int8 [32, 4]: the codes of each five-bit number."""
    codes = np.zeros((FIVE_BITS, FOUR), np.int8)
    for number in range(FIVE_BITS):
        others = [lane for lane in range(FOUR) if lane != number & 3]
        codes[number, others] = [1 if number >> (2 + sign) & 1 else -1 for sign in range(FOUR - 1)]
    codes.setflags(write=False)
    return codes


@cache
def trits_of_bytes() -> NDArray[np.int8]:
    """int8 [256, 5]: the codes of each byte; those from 243 on are not written."""
    codes = (np.arange(256)[:, None] // 3 ** np.arange(TRITS) % 3 - 1).astype(np.int8)
    codes.setflags(write=False)
    return codes


def kernel_bytes(codes: NDArray[np.int8], bits: int) -> Bytes:
    """Codes [n, m] as a kernel of `bits` bits reads them, its zero point in the middle: [n, m · bits / 8]."""
    unsigned = (codes + np.int8(2 ** (bits - 1)) if bits < 8 else codes.view(np.uint8) ^ np.uint8(128)).astype(np.uint8)
    return pack(unsigned, bits)[0].reshape(len(codes), -1)
