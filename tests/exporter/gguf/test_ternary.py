"""Ternary codes go into TQ1_0 and TQ2_0 bit for bit, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.exporter.gguf.fitting import Fit, blocks_of, fit, holds
from compress.numerics.weight import QuantizedWeight
from tests.exporter.gguf.quantized import dequantized, random_weight

KINDS = pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0"])


def ternary(rows: int, columns: int, group: int | None, seed: int = 0) -> QuantizedWeight:
    made = random_weight(rows, columns, 2, group, True, False, seed)
    return replace(made, codes=made.codes.clamp_min(-1))


@KINDS
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.sampled_from([None, 256, 512]), st.integers(0, 1000))
def test_ternary_codes_come_out_bit_for_bit(kind: str, rows: int, count: int, group: int | None, seed: int) -> None:
    quantized = ternary(rows, 256 * count, group, seed)
    assert holds(quantized, kind) == Fit(kind)
    assert torch.equal(dequantized(quantized, kind), quantized.dequantize())
    assert fit(quantized) == Fit("TQ1_0")  # the smaller


@KINDS
def test_one_scale_for_the_whole_tensor_is_every_block_s(kind: str) -> None:
    quantized = replace(ternary(3, 512, None), scales=torch.tensor([[0.75]]))
    assert torch.equal(dequantized(quantized, kind), quantized.dequantize())


def one_block() -> QuantizedWeight:
    """Zeros, but for 1 in the first place, −1 in the 33rd and 1 in the last; the scale is 0.5."""
    codes = torch.zeros(1, 256, dtype=torch.int8)
    codes[0, 0], codes[0, 32], codes[0, 255] = 1, -1, 1
    return QuantizedWeight(codes, torch.tensor([[0.5]]), None, None, 2, None)


def test_a_block_of_tq2_0_by_hand() -> None:
    expected = bytearray(b"\x55" * 64 + b"\x00\x38")  # four zeros a byte: 01 01 01 01; 0.5 is 0x3800
    expected[0] = 0b01_01_00_10  # of the places 96, 64, 32, 0
    expected[63] = 0b10_01_01_01  # of the places 255, 223, 191, 159
    assert blocks_of(one_block(), "TQ2_0").tobytes() == bytes(expected)


def test_a_block_of_tq1_0_by_hand() -> None:
    # Five zeros are 11111 in base 3, 121, and ⌈121 · 256 / 243⌉ = 128; four are 11110, 120, and 127.
    expected = bytearray(b"\x80" * 48 + b"\x7f" * 4 + b"\x00\x38")
    expected[0] = 185  # of the places 0, 32, … 128: 20111 is 175
    expected[51] = 130  # of the places 243, 247, 251, 255: 11120 is 123
    assert blocks_of(one_block(), "TQ1_0").tobytes() == bytes(expected)


@KINDS
def test_what_is_not_ternary_is_refused(kind: str) -> None:
    assert holds(random_weight(2, 256, 2, None, True, False, 0), kind).reason == "its codes leave -1 … 1"
    assert holds(ternary(2, 640, None), kind).reason == "rows of 640 values are no multiple of 256"
    assert holds(ternary(2, 512, 128), kind).reason == "groups of 128 values are no multiple of 256"
    tiny = replace(ternary(2, 256, None), scales=torch.full((2, 1), 1e-9))
    assert holds(tiny, kind).reason == "its scales leave the range of float16"


@KINDS
def test_codes_of_more_bits_that_are_ternary_are_so_too(kind: str) -> None:
    quantized = replace(ternary(2, 512, 256), num_bits=4, zero_points=torch.full((2, 2), 3, dtype=torch.int8))
    quantized = replace(quantized, codes=quantized.codes + 3)
    assert torch.equal(dequantized(quantized, kind), quantized.dequantize())


@KINDS
def test_scales_that_are_not_float16_are_rounded_and_it_is_said(kind: str) -> None:
    quantized = replace(ternary(2, 256, None), scales=torch.tensor([[0.1], [0.2]]))
    assert holds(quantized, kind) == Fit(kind, rounded=True)
    expected = replace(quantized, scales=quantized.scales.half().float()).dequantize()
    assert torch.equal(dequantized(quantized, kind), expected)
