"""Uniform grids: what rounding to nearest may lose, and what a search of scales may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.numerics.grid import (
    grouped,
    integer_multiples,
    nearest,
    search_scales,
    squared_error,
    steps,
    with_codes,
)
from compress.numerics.weight import QuantizedWeight, code_range, odd, with_given_codes

QUICK = settings(max_examples=25, deadline=None)


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """[out, K] of up to 3 × 11, of any size between 1e-3 and 1e3, with rows and groups of zeros among them."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 11))
    size = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    value = st.one_of(st.just(0.0), st.floats(-1, 1, width=32, allow_subnormal=False))
    values = draw(st.lists(value, min_size=rows * columns, max_size=rows * columns))
    return torch.tensor(values).reshape(rows, columns) * size


KINDS = {
    "channel": {},
    "group": {"group_size": 4},
    "tensor": {"per_tensor": True},
    "affine": {"symmetric": False},
    "affine group": {"symmetric": False, "group_size": 3},
    "integer": {"group_size": 4, "integer_scales": True},
    "midrise": {"midrise": True},
    "midrise integer": {"group_size": 4, "integer_scales": True, "midrise": True},
}


def quantized_with(kind: str, weight: Tensor, num_bits: int) -> QuantizedWeight:
    return nearest(weight, num_bits, **KINDS[kind])


@QUICK
@given(weights(), st.sampled_from(sorted(KINDS)), st.integers(2, 4))
def test_error_is_at_most_half_a_step_and_what_is_outside_goes_to_the_end(
    weight: Tensor, kind: str, num_bits: int
) -> None:
    quantized = quantized_with(kind, weight, num_bits)
    step = steps(quantized, weight.shape[1])
    # what the ends stand for, multiplied in dequantize's own order: another one may differ in the last bit
    bottom, top = (
        with_given_codes(quantized, torch.full_like(quantized.codes, end)).dequantize() for end in code_range(num_bits)
    )
    given_back = quantized.dequantize()
    error = (given_back - weight).abs()
    inside = (weight >= bottom) & (weight <= top)
    assert bool((error <= 0.5 * step * (1 + 1e-4))[inside].all())
    assert torch.equal(given_back[weight > top], top[weight > top])
    assert torch.equal(given_back[weight < bottom], bottom[weight < bottom])


@QUICK
@given(weights(), st.sampled_from(sorted(KINDS)), st.integers(2, 8))
def test_codes_and_zero_points_lie_within_their_bits(weight: Tensor, kind: str, num_bits: int) -> None:
    quantized = quantized_with(kind, weight, min(num_bits, 4) if kind == "integer" else num_bits)
    low, high = code_range(quantized.num_bits)
    for codes in (quantized.codes, quantized.zero_points):
        if codes is not None:
            assert codes.dtype == torch.int8
            assert low <= int(codes.min()) <= int(codes.max()) <= high
    assert quantized.codes.shape == weight.shape


@QUICK
@given(weights(), st.sampled_from(sorted(KINDS)))
def test_zeros_stay_zeros(weight: Tensor, kind: str) -> None:
    if not kind.startswith("midrise"):
        given_back = quantized_with(kind, weight, 4).dequantize()
        assert not given_back[weight == 0].any()


def test_a_mid_rise_grid_has_no_zero_and_rows_of_zeros_come_near_it() -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-3.0, -1.0, 1.0, 3.0]])
    found = nearest(weight, 2, midrise=True)
    assert found.codes.tolist() == [[0, 0, 0, 0], [-2, -1, 0, 1]]
    assert found.scales[1].item() == 2.0
    assert found.dequantize()[1].tolist() == [-3.0, -1.0, 1.0, 3.0]
    assert found.dequantize()[0].abs().max() < 2.0**-14
    whole = odd(found)
    assert whole.codes.tolist()[1] == [-3, -1, 1, 3]
    assert torch.equal(whole.dequantize(), found.dequantize())


def test_four_mid_rise_levels_lose_of_normal_weights_nearly_the_least_that_four_can() -> None:
    """Lloyd and Max's four levels lose 0.1175 of the variance, evenly spaced ones 0.1188."""
    weight = torch.randn(16, 8192, generator=torch.Generator().manual_seed(0))
    error = (nearest(weight, 2, midrise=True).dequantize() - weight).square().mean() / weight.square().mean()
    assert 0.1175 < float(error) < 0.1205


@QUICK
@given(weights(), st.booleans())
def test_scales_of_a_search_lose_no_more_than_those_of_the_whole_range(weight: Tensor, symmetric: bool) -> None:
    groups = grouped(weight, 4)
    low, high = code_range(3)

    def error(scales: Tensor, zero_points: Tensor) -> Tensor:
        codes = (groups / scales[..., None] + zero_points[..., None]).round().clamp(low, high)
        return squared_error(groups, (codes - zero_points[..., None]) * scales[..., None], None)

    top, bottom = groups.amax(-1), groups.amin(-1)
    if symmetric:
        whole = torch.maximum(top / high, bottom / low)
    else:
        top, bottom = top.clamp_min(0), bottom.clamp_max(0)
        whole = (top - bottom) / (high - low)
    whole[whole <= 0] = 1.0
    no_zero = torch.zeros_like(whole)
    whole_zero = no_zero if symmetric else (low - bottom / whole).round().clamp(low, high)
    scales, zero_points = search_scales(groups, 3, symmetric)
    found = no_zero if zero_points is None else zero_points.float()
    assert bool((error(scales, found) <= error(whole, whole_zero)).all())


@QUICK
@given(weights(), st.integers(0, 100))
def test_a_search_that_weighs_columns_loses_least_by_that_measure(weight: Tensor, seed: int) -> None:
    importance = torch.rand(weight.shape[1], generator=torch.Generator().manual_seed(seed))[None].expand_as(weight)
    groups, heights = grouped(weight, 4), grouped(importance, 4)

    def error(scales: Tensor) -> Tensor:
        codes = (groups / scales[..., None]).round().clamp(-4, 3)
        return squared_error(groups, codes * scales[..., None], heights)

    weighed, _ = search_scales(groups, 3, True, heights)
    plain, _ = search_scales(groups, 3, True)
    assert bool((error(weighed) <= error(plain)).all())


def test_the_more_important_of_two_columns_is_the_nearer_one() -> None:
    weight = torch.tensor([[1.0, 0.45]])
    first = nearest(weight, 2, importance=torch.tensor([[1.0, 1e-6]])).dequantize()[0]
    second = nearest(weight, 2, importance=torch.tensor([[1e-6, 1.0]])).dequantize()[0]
    assert abs(first[0] - 1.0) < 1e-3
    assert abs(second[1] - 0.45) < 0.01
    assert abs(second[0] - 1.0) > 0.5


@QUICK
@given(weights(), st.integers(2, 4))
def test_multipliers_are_1_to_16_and_make_the_weight_an_int8_one(weight: Tensor, num_bits: int) -> None:
    quantized = quantized_with("integer", weight, num_bits)
    assert quantized.multipliers is not None
    assert 1 <= int(quantized.multipliers.min()) <= int(quantized.multipliers.max()) <= 16
    assert quantized.scales.shape == (weight.shape[0], 1)
    whole = quantized.int8()
    assert whole.dtype == torch.int8
    assert torch.equal(whole.float() * quantized.scales, quantized.dequantize())
    rows = quantized.codes.int() * quantized.multipliers.int().repeat_interleave(4, 1)[:, : weight.shape[1]]
    assert torch.equal(whole.int(), rows)  # nothing wrapped around


@QUICK
@given(weights())
def test_multipliers_lose_no_more_than_one_scale_a_row_would(weight: Tensor) -> None:
    """All groups may take the multiplier 16, which with the row's largest scale is one scale for the row."""
    groups = grouped(weight, 4)
    scales, _ = search_scales(groups, 4, True)
    row, multipliers = integer_multiples(groups, scales, 4)
    step = (row * multipliers.float())[..., None]
    error = squared_error(groups, (groups / step).round().clamp(-8, 7) * step, None).sum(1)
    largest = torch.where(groups.any(-1), scales, 0).amax(1)
    # the row's scale is rounded to float16, so that the same step is only nearly the same
    one = torch.where(largest > 0, largest, 1.0)[:, None, None]
    alone = squared_error(groups, (groups / one).round().clamp(-8, 7) * one, None).sum(1)
    assert bool((error <= alone * 1.1 + 1e-6 * groups.square().sum((1, 2))).all())


def test_a_group_of_zeros_leaves_the_rest_of_its_row_as_it_was() -> None:
    rest = torch.randn(3, 32, generator=torch.Generator().manual_seed(0)) * 0.01
    alone = nearest(rest, 4, 8, integer_scales=True)
    beside = nearest(torch.cat([torch.zeros(3, 8), rest], 1), 4, 8, integer_scales=True)
    assert torch.equal(beside.dequantize()[:, 8:], alone.dequantize())


@pytest.mark.parametrize("kind", ["channel", "group", "tensor"])
def test_a_weight_on_a_grid_that_it_fills_is_kept_exactly(kind: str) -> None:
    weight = torch.tensor([[-8, 7, 0, 1, -8, 3, 2, 7], [-8, -8, 1, 4, -8, 0, 5, 6]]) * 0.125
    assert torch.equal(quantized_with(kind, weight, 4).dequantize(), weight)


def test_an_affine_grid_reaches_from_the_smallest_to_the_largest() -> None:
    weight = torch.tensor([[-1.0, 0.0, 5.0, 14.0]])
    quantized = nearest(weight, 4, symmetric=False)
    assert quantized.scales.tolist() == [[1.0]]
    assert quantized.zero_points is not None
    assert quantized.zero_points.tolist() == [[-7]]  # −1 is the lowest code, −8
    assert quantized.codes.tolist() == [[-8, -7, -2, 7]]


def test_a_limit_keeps_codes_within_it() -> None:
    weight = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    quantized = nearest(weight, 8, limit=63)
    assert int(quantized.codes.abs().max()) <= 63
    assert float((quantized.dequantize() - weight).abs().max()) <= float(weight.abs().max()) / 63


def test_codes_nearest_to_a_weight_are_a_fixed_point_of_rounding() -> None:
    weight = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    for kind in KINDS:
        quantized = quantized_with(kind, weight, 4)
        again = with_codes(replace(quantized, codes=torch.empty(0)), quantized.dequantize())
        assert torch.equal(again.codes, quantized.codes), kind


def test_a_convolution_is_rounded_as_the_matrix_it_is() -> None:
    weight = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    quantized, flat = nearest(weight, 4, 5), nearest(weight.reshape(4, 12), 4, 5)
    assert torch.equal(quantized.codes, flat.codes.reshape(4, 3, 2, 2))
    assert torch.equal(quantized.scales, flat.scales)
    assert quantized.scales.shape == (4, 3)
