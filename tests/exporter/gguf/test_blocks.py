"""Quantized weights go into ggml's blocks from their codes: what comes out is what the QuantizedWeight says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.exporter.gguf.fitting import Fit, fit
from compress.numerics.grid import nearest
from tests.exporter.gguf.quantized import dequantized, random_weight

WIDTHS = st.integers(1, 6).map(lambda count: 32 * count)
GROUPS = st.sampled_from([None, 32, 64, 96, 128])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), WIDTHS, st.integers(2, 8), GROUPS, st.integers(0, 1000))
def test_symmetric_weights_come_out_bit_for_bit(
    rows: int, columns: int, bits: int, group: int | None, seed: int
) -> None:
    quantized = random_weight(rows, columns, bits, group, True, False, seed)
    fitting = fit(quantized)
    assert fitting.kind == ("Q4_0" if bits <= 4 else "Q5_0" if bits == 5 else "Q8_0")
    assert not fitting.rounded
    assert torch.equal(dequantized(quantized, fitting.kind), quantized.dequantize())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), WIDTHS, st.integers(2, 5), GROUPS, st.integers(0, 1000))
def test_affine_weights_come_out_but_for_the_rounding_of_their_offsets(
    rows: int, columns: int, bits: int, group: int | None, seed: int
) -> None:
    quantized = random_weight(rows, columns, bits, group, False, False, seed)
    kind = fit(quantized).kind
    error = (dequantized(quantized, str(kind)) - quantized.dequantize()).abs()
    if kind in ("Q4_0", "Q5_0"):  # codes less zero points that need no offset: all of 2 and 3 bits, and some others
        assert not error.any()
    else:
        assert kind == ("Q4_1" if bits == 4 else "Q5_1")
    # The largest offset is a whole range of codes away from zero; float16 rounds it by 2^-11 of itself at most.
    steps = quantized.scales.amax(1, keepdim=True)
    assert bool((error <= steps * 2**bits * 2**-11 + 1e-7).all())
    assert kind == "Q4_0" or bits > 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), WIDTHS, st.integers(6, 7), GROUPS, st.integers(0, 1000))
def test_six_and_seven_bits_with_zero_points_come_out_bit_for_bit(
    rows: int, columns: int, bits: int, group: int | None, seed: int
) -> None:
    quantized = random_weight(rows, columns, bits, group, False, False, seed)
    assert fit(quantized).kind == "Q8_0"
    assert torch.equal(dequantized(quantized, "Q8_0"), quantized.dequantize())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), WIDTHS, st.integers(2, 4), st.sampled_from([32, 64]), st.integers(0, 1000))
def test_a_product_of_scale_and_multiplier_is_rounded_to_float16_at_most(
    rows: int, columns: int, bits: int, group: int, seed: int
) -> None:
    quantized = random_weight(rows, columns, bits, group, True, True, seed)
    fitting = fit(quantized)
    assert fitting.kind == "Q4_0"
    exact = quantized.dequantize()
    found = dequantized(quantized, "Q4_0")
    assert bool(((found - exact).abs() <= exact.abs() * 2**-11 * 1.001).all())
    assert fitting.rounded or torch.equal(found, exact)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
def test_one_scale_for_the_whole_tensor_is_every_block_s(bits: int) -> None:
    quantized = nearest(torch.randn(3, 64, generator=torch.Generator().manual_seed(0)), bits, per_tensor=True)
    assert quantized.scales.shape == (1, 1)
    kind = fit(quantized).kind
    assert kind is not None
    assert torch.equal(dequantized(quantized, kind), quantized.dequantize())


def test_what_no_type_holds_is_said() -> None:
    assert "rows of 48 values" in fit(random_weight(2, 48, 4, None, True, False, 0)).reason
    assert "groups of 16 values" in fit(random_weight(2, 64, 4, 16, True, False, 0)).reason
    assert "groups of 48 values" in fit(random_weight(2, 96, 4, 48, True, False, 0)).reason
    wide = random_weight(2, 64, 8, 32, False, False, 0)
    assert fit(wide).reason == "its codes less their zero points leave -128 … 127"
    assert fit(replace(wide, zero_points=torch.zeros_like(wide.zero_points))).kind == "Q8_0"
    plain = random_weight(2, 64, 4, 32, True, False, 0)
    for scale in (1e6, 1e-9):
        assert "range of float16" in fit(replace(plain, scales=torch.full_like(plain.scales, scale))).reason
    # Offsets that leave it go where none are needed: codes less their zero points have one bit more.
    large = replace(random_weight(2, 64, 4, 32, False, False, 0), scales=torch.full((2, 2), 6e4))
    assert fit(large).kind == "Q5_0"
    assert torch.equal(dequantized(large, "Q5_0"), large.dequantize())


def test_where_codes_take_more_bits_than_they_have_it_is_said_why() -> None:
    assert fit(random_weight(2, 96, 3, 32, True, False, 0)) == Fit("Q4_0", "rows of 96 values are no multiple of 256")
    assert fit(random_weight(2, 256, 2, 32, True, False, 0)) == Fit(
        "Q4_0", "its scales are no integers up to 15 times one scale for 256 values"
    )
    assert fit(random_weight(2, 96, 6, 32, True, False, 0)) == Fit("Q8_0", "rows of 96 values are no multiple of 256")
    for bits in (4, 5, 7, 8):  # of which no type has as many, or one that holds these
        assert fit(random_weight(2, 96, bits, 32, True, False, 0)).reason == ""


def test_the_scale_of_a_block_of_zeros_does_not_matter() -> None:
    plain = random_weight(2, 64, 4, 32, True, False, 0)
    plain.codes[:, :32] = 0
    for scale in (1e-30, 1e30):
        plain.scales[:, 0] = scale
        assert fit(plain).kind == "Q4_0"
        assert torch.equal(dequantized(plain, "Q4_0"), plain.dequantize())
