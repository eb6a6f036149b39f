"""ggml's k-quants: the bytes by hand, floats by the search, and codes as they are where their scales allow it."""

from __future__ import annotations

from dataclasses import replace

import gguf
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.exporter.gguf.fitting import Fit, blocks_of, fit, holds
from compress.exporter.gguf.k_quants import GRIDS, nearest_blocks
from compress.numerics.superblocks import search
from compress.numerics.weight import QuantizedWeight, code_range
from tests.exporter.gguf.quantized import dequantized, random_weight

KINDS = pytest.mark.parametrize("kind", GRIDS)
AFFINE = ("Q2_K", "Q4_K", "Q5_K")


def drawn(shape: str, rows: int, columns: int, seed: int, scale: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator)
    if shape == "zeros":
        values.zero_()
    elif shape == "one outlier":
        values[:, seed % columns] = -80.0
    elif shape == "constant":
        values[:] = -1.0
    elif shape == "half zeros":
        values[:, : columns // 2] = 0.0
    return values * scale


@KINDS
@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["normal", "zeros", "one outlier", "constant", "half zeros"]),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 1000),
    st.sampled_from([1e-9, 1e-6, 0.02, 1.0, 300.0]),
)
def test_the_package_s_decoder_reads_what_the_search_found(
    kind: str, shape: str, rows: int, count: int, seed: int, scale: float
) -> None:
    values = drawn(shape, rows, 256 * count, seed, scale)
    packed = nearest_blocks(values, kind)
    assert packed.shape == gguf.quants.quant_shape_to_byte_shape(values.shape, gguf.GGMLQuantizationType[kind])
    found = torch.from_numpy(gguf.dequantize(packed, gguf.GGMLQuantizationType[kind]))
    assert torch.equal(found, search(values.reshape(-1, 256), GRIDS[kind]).dequantize().reshape(values.shape))


def exact(
    kind: str, rows: int, count: int, multiple: int, multiplied: bool, symmetric: bool, seed: int
) -> QuantizedWeight:
    """As many bits as the type's codes; one scale a row, or times multipliers of groups."""
    group = multiple * GRIDS[kind].group_size
    made = random_weight(rows, 256 * count, GRIDS[kind].num_bits, group, symmetric, True, seed)
    if not multiplied:
        return replace(made, multipliers=torch.ones_like(made.multipliers))
    return replace(made, multipliers=made.multipliers.clamp_max(15))


MADE = (st.integers(1, 4), st.integers(1, 3), st.sampled_from([1, 2, 4, 8]))


@KINDS
@settings(max_examples=20, deadline=None)
@given(*MADE, st.booleans(), st.integers(0, 1000))
def test_symmetric_codes_with_integer_multiples_of_a_row_s_scale_come_out_bit_for_bit(
    kind: str, rows: int, count: int, multiple: int, multiplied: bool, seed: int
) -> None:
    quantized = exact(kind, rows, count, multiple, multiplied, True, seed)
    assert holds(quantized, kind) == Fit(kind)
    assert torch.equal(dequantized(quantized, kind), quantized.dequantize())


@pytest.mark.parametrize("kind", AFFINE)
@settings(max_examples=20, deadline=None)
@given(*MADE, st.integers(0, 1000))
def test_affine_codes_with_one_scale_a_row_and_zero_points_of_groups_come_out_bit_for_bit(
    kind: str, rows: int, count: int, multiple: int, seed: int
) -> None:
    quantized = exact(kind, rows, count, multiple, False, False, seed)
    assert holds(quantized, kind) == Fit(kind)
    assert torch.equal(dequantized(quantized, kind), quantized.dequantize())


@KINDS
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_scales_without_a_common_step_are_refused(kind: str, seed: int) -> None:
    bits, size = GRIDS[kind].num_bits, GRIDS[kind].group_size
    quantized = random_weight(2, 512, bits, size, True, False, seed)
    assert f"integers up to {GRIDS[kind].reach} times one scale" in holds(quantized, kind).reason


@pytest.mark.parametrize(("bits", "kind"), [(2, "Q2_K"), (3, "Q3_K"), (6, "Q6_K")])
def test_the_smallest_type_that_holds_the_codes_is_taken(bits: int, kind: str) -> None:
    for group, multiplied in ((None, False), (32, True), (16, True)):
        quantized = random_weight(2, 512, bits, group, True, multiplied, 0)
        if multiplied:
            quantized = replace(quantized, multipliers=quantized.multipliers.clamp_max(15))
        assert fit(quantized) == Fit(kind), group
        assert torch.equal(dequantized(quantized, kind), quantized.dequantize())
    apart = random_weight(2, 512, bits, 32, True, False, 0)
    wider = fit(apart)
    assert wider.kind == ("Q8_0" if bits == 6 else "Q4_0")
    assert wider.reason.endswith("times one scale for 256 values")


def test_a_multiplier_of_sixteen_takes_two_bits_to_q3_k() -> None:
    quantized = random_weight(1, 256, 2, 16, True, True, 0)
    quantized.multipliers[:] = torch.tensor([16, *range(1, 16)])
    found = fit(quantized)
    assert found == Fit("Q3_K", "its scales are no integers up to 15 times one scale for 256 values")
    assert torch.equal(dequantized(quantized, "Q3_K"), quantized.dequantize())


def test_four_bits_with_zero_points_take_q4_k_where_it_is_exact_and_q4_1_elsewhere() -> None:
    assert fit(random_weight(2, 512, 4, None, False, False, 0)) == Fit("Q4_K")
    assert fit(random_weight(2, 512, 4, 32, False, False, 0)) == Fit("Q4_1")


@KINDS
def test_what_the_blocks_do_not_fill_and_codes_that_are_wider_are_refused(kind: str) -> None:
    bits, size = GRIDS[kind].num_bits, GRIDS[kind].group_size
    assert (
        "rows of 320 values are no multiple of 256"
        in holds(random_weight(1, 320, bits, 64, True, False, 0), kind).reason
    )
    half = random_weight(1, 256, bits, size // 2, True, True, 0)
    assert holds(half, kind).reason == f"groups of {size // 2} values are no multiple of {size}"
    wide = holds(random_weight(1, 256, bits + 1, None, True, False, 0), kind).reason
    assert wide == (
        f"codes of {bits + 1} bits have more than {bits}"
        if kind in AFFINE
        else f"its codes leave {code_range(bits)[0]} … {code_range(bits)[1]}"
    )
    for scale in (1e6, 1e-9):
        plain = random_weight(1, 256, bits, None, True, False, 0)
        assert "range of float16" in holds(replace(plain, scales=torch.full((1, 1), scale)), kind).reason


@KINDS
def test_the_scale_of_a_group_of_zeros_does_not_matter(kind: str) -> None:
    size = GRIDS[kind].group_size
    plain = random_weight(1, 256, GRIDS[kind].num_bits, size, True, False, 0)
    plain.scales[:] = 0.25
    plain.codes[:, :size] = 0
    for scale in (1e-30, 1e30, 0.2):
        plain.scales[:, 0] = scale
        assert holds(plain, kind) == Fit(kind)
        assert torch.equal(dequantized(plain, kind), plain.dequantize())
    plain.codes.zero_()
    assert torch.equal(dequantized(plain, kind), plain.dequantize())


def one_block(
    bits: int,
    group: int,
    scale: float,
    values: dict[int, int],
    zeros: dict[int, int] | None,
    multipliers: dict[int, int],
) -> QuantizedWeight:
    """256 codes, all zero (or all the lowest) but for some; zero points and multipliers of some groups."""
    low, _ = code_range(bits)
    codes = torch.full((1, 256), 0 if zeros is None else low, dtype=torch.int8)
    zero_points = None if zeros is None else torch.full((1, 256 // group), low, dtype=torch.int8)
    multiples = torch.ones(1, 256 // group, dtype=torch.uint8)
    for place, code in values.items():
        codes[0, place] = code if zeros is None else code + low
    for number, zero in (zeros or {}).items():
        assert zero_points is not None
        zero_points[0, number] = zero + low
    for number, multiplier in multipliers.items():
        multiples[0, number] = multiplier
    return QuantizedWeight(codes, torch.tensor([[scale]]), zero_points, multiples, bits, group)


def laid(length: int, filled: int, given: dict[int, int]) -> bytes:
    found = bytearray([filled]) * length
    for place, byte in given.items():
        found[place] = byte
    return bytes(found)


HALF, QUARTER = b"\x00\x38", b"\x00\x34"  # float16


def test_a_super_block_of_q2_k_by_hand() -> None:
    # Group 0 has the scale 1.5 and the offset 1.5 · 1, group 1 0.5 and 0.5 · 2: the steps are 0.5 and 0.5.  A group of
    # zeros has neither.
    made = one_block(2, 16, 0.5, {0: 3, 32: 2, 255: 1}, {0: 1, 1: 2}, {0: 3})
    scales = laid(16, 0, {0: 0x33, 1: 0x21, 2: 0x01, 15: 0x01})
    codes = laid(64, 0, {0: 3 | 2 << 2, 63: 1 << 6})  # the places 0 and 32; 255
    assert blocks_of(made, "Q2_K").tobytes() == scales + codes + HALF + HALF
    assert torch.equal(dequantized(made, "Q2_K"), made.dequantize())


def test_a_super_block_of_q3_k_by_hand() -> None:
    made = one_block(3, 16, 0.25, {0: -4, 1: 3, 33: -1, 255: 2}, None, {0: 5})
    high = laid(32, 0xFF, {0: 0xFE, 1: 0xFD})  # not set for −4 in place 0 (bit 0) and −1 in place 33 (bit 1)
    codes = laid(64, 0, {1: 3 | 3 << 2, 63: 2 << 6})  # of 3, −1 and 2 the two low bits
    # Scales plus 32: 37 for group 0, 33 for groups 2 and 15, 32 for groups of zeros.
    scales = laid(8, 0, {0: 5, 2: 1, 7: 1 << 4}) + laid(4, 0b10_10_10_10, {})
    assert blocks_of(made, "Q3_K").tobytes() == high + codes + scales + QUARTER
    assert torch.equal(dequantized(made, "Q3_K"), made.dequantize())


def six_bits() -> bytes:
    """Scales 33, 1, 0, 0, 0, 47, 0, 1 and offsets 33, 1, 0, 0, 0, 47, 0, 0; 47 is 10 1111."""
    return laid(12, 0, {0: 33, 1: 1 | 0b10 << 6, 4: 33, 5: 1 | 0b10 << 6, 9: 15 | 15 << 4, 11: 1})


def test_a_super_block_of_q4_k_by_hand() -> None:
    made = one_block(4, 32, 0.5, {0: 15, 32: 9, 160: 3, 255: 4}, {0: 1, 1: 1, 5: 1}, {0: 33, 5: 47})
    codes = laid(128, 0, {0: 15 | 9 << 4, 64: 3 << 4, 127: 4 << 4})
    assert blocks_of(made, "Q4_K").tobytes() == HALF + HALF + six_bits() + codes
    assert torch.equal(dequantized(made, "Q4_K"), made.dequantize())


def test_a_super_block_of_q5_k_by_hand() -> None:
    made = one_block(5, 32, 0.5, {0: 31, 32: 9, 160: 19, 255: 20}, {0: 1, 1: 1, 5: 1}, {0: 33, 5: 47})
    high = laid(32, 0, {0: 1 | 1 << 5, 31: 1 << 7})  # the places 0, 160 = 5 · 32, 255
    codes = laid(128, 0, {0: 15 | 9 << 4, 64: 3 << 4, 127: 4 << 4})
    assert blocks_of(made, "Q5_K").tobytes() == HALF + HALF + six_bits() + high + codes
    assert torch.equal(dequantized(made, "Q5_K"), made.dequantize())


def test_a_super_block_of_q6_k_by_hand() -> None:
    made = one_block(6, 16, 0.25, {0: -32, 64: 31, 255: 5}, None, {0: 16, 15: 3})
    low = laid(128, 0, {0: 15 << 4, 127: 5 << 4})  # plus 32: 0, 63 and 37; and 32 for zeros
    high = laid(64, 0b10_10_10_10, {0: 0b10_11_10_00})  # the places 96, 64, 32, 0
    scales = laid(16, 0, {0: 16, 4: 1, 15: 3})
    assert blocks_of(made, "Q6_K").tobytes() == low + high + scales + QUARTER
    assert torch.equal(dequantized(made, "Q6_K"), made.dequantize())
