"""Ranges of activations: histograms that stream, and what each way of finding a range may and may not give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.numerics.ranges import BINS, FINDERS, Histogram, affine_grid, symmetric_grid

QUICK = settings(max_examples=25, deadline=None)
VALUES = st.lists(st.floats(-1e4, 1e4, width=32, allow_subnormal=False), min_size=1, max_size=40)
ALL = sorted(FINDERS)


def histogram(*batches: Tensor) -> Histogram:
    """What two passes over the batches leave."""
    result = Histogram()
    for batch in batches:
        result.observe_range(batch)
    for batch in batches:
        result.observe_counts(batch)
    return result


@QUICK
@given(VALUES, st.integers(1, 39))
def test_batches_count_as_one(values: list[float], cut: int) -> None:
    whole = torch.tensor(values)
    parts = [part for part in (whole[:cut], whole[cut:]) if len(part)]
    streamed, at_once = histogram(*parts), histogram(whole)
    assert (streamed.low, streamed.high) == (at_once.low, at_once.high) == (min(values), max(values))
    assert torch.equal(streamed.counts, at_once.counts)


@QUICK
@example([1.7910287591031575e-36, -1.0])
@given(VALUES)
def test_every_value_is_counted_once(values: list[float]) -> None:
    assert int(histogram(torch.tensor(values)).counts.sum()) == len(values)


def test_a_bin_counts_further_than_float32_does() -> None:
    result = Histogram()
    result.low, result.high = 0.0, 1.0
    result.observe_counts(torch.zeros(1).expand(2**24 + 3))
    assert int(result.counts[0]) == 2**24 + 3


def test_a_value_lies_within_half_a_bin_of_its_bin_s_centre() -> None:
    values = torch.linspace(-1, 3, 50)
    for value in values:
        result = Histogram()
        result.low, result.high = -1.0, 3.0
        result.observe_counts(value[None])
        centre = float(result.centres[result.counts.argmax()])
        assert abs(centre - float(value)) <= 4.0 / BINS / 2 * (1 + 1e-3)


@QUICK
@given(VALUES, st.sampled_from(ALL), st.sampled_from([4, 8]), st.sampled_from([60.0, 99.9, 100.0]))
def test_a_range_lies_within_what_was_seen_and_includes_zero(
    values: list[float], finder: str, num_bits: int, percentile: float
) -> None:
    low, high = FINDERS[finder](histogram(torch.tensor(values)), num_bits, percentile)
    assert min(*values, 0.0) <= low <= 0.0 <= high <= max(*values, 0.0)


@pytest.mark.parametrize("finder", ALL)
@pytest.mark.parametrize("value", [5.0, -3.0, 1e-20, 1e30])
def test_the_range_of_a_constant_reaches_from_zero_to_it(finder: str, value: float) -> None:
    low, high = FINDERS[finder](histogram(torch.full((7,), value)), 8, 99.99)
    assert (low, high) == pytest.approx((min(value, 0), max(value, 0)), rel=1e-6)


@pytest.mark.parametrize("finder", ALL)
def test_what_is_always_zero_keeps_zero(finder: str) -> None:
    assert affine_grid(*FINDERS[finder](histogram(torch.zeros(9)), 8, 99.99), 8) == (1.0, 0)


@pytest.mark.parametrize("finder", ALL)
def test_what_is_never_negative_has_the_zero_point_0_and_what_is_never_positive_the_last(finder: str) -> None:
    values = torch.rand(500, generator=torch.Generator().manual_seed(0))
    find = FINDERS[finder]
    assert affine_grid(*find(histogram(values), 8, 99.0), 8)[1] == 0
    assert affine_grid(*find(histogram(-values), 8, 99.0), 8)[1] == 255


def test_a_percentile_leaves_its_share_out_at_the_end_that_is_not_zero() -> None:
    values = torch.arange(1000) / 1000
    find, width = FINDERS["percentile"], 0.999 / BINS
    # of 0 … 0.999 the last hundred are left out
    assert find(histogram(values), 8, 90.0) == (0.0, pytest.approx(0.899, abs=width))
    assert find(histogram(-values), 8, 90.0) == (pytest.approx(-0.899, abs=width), 0.0)
    # of −0.5 … 0.499 fifty at each end
    assert find(histogram(values - 0.5), 8, 90.0) == (pytest.approx(-0.45, abs=width), pytest.approx(0.449, abs=width))
    assert find(histogram(values - 0.5), 8, 100.0) == (-0.5, pytest.approx(0.499))


@pytest.mark.parametrize("finder", ["mse", "entropy", "percentile"])
def test_a_lone_outlier_is_clipped(finder: str) -> None:
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    values[0] = 20.0
    assert FINDERS[finder](histogram(values), 4, 99.9)[1] < 15
    assert FINDERS["minmax"](histogram(values), 4, 99.9)[1] == 20.0


def test_the_range_of_least_squared_error_loses_less_than_the_whole() -> None:
    for seed in range(5):
        values = torch.randn(5000, generator=torch.Generator().manual_seed(seed))
        errors = {}
        for finder in ("mse", "minmax"):
            scale, zero_point = affine_grid(*FINDERS[finder](histogram(values), 4, 100.0), 4)
            rounded = torch.fake_quantize_per_tensor_affine(values, scale, zero_point, 0, 15)
            errors[finder] = float((rounded - values).square().mean())
        assert errors["mse"] < 0.9 * errors["minmax"]


@QUICK
@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32), st.integers(2, 8))
def test_a_grid_holds_zero_exactly_and_covers_its_range_to_half_a_step(a: float, b: float, num_bits: int) -> None:
    low, high, limit = min(a, b, 0.0), max(a, b, 0.0), 2**num_bits - 1
    scale, zero_point = affine_grid(min(a, b), max(a, b), num_bits)
    assert scale > 0
    assert float(torch.tensor(scale)) == scale  # float32 holds it
    assert 0 <= zero_point <= limit
    zero = torch.zeros(1)
    assert torch.equal(torch.fake_quantize_per_tensor_affine(zero, scale, zero_point, 0, limit), zero)
    slack = 0.5 * scale * (1 + 1e-5) + 1e-35
    assert -zero_point * scale <= low + slack
    assert (limit - zero_point) * scale >= high - slack


def test_a_range_that_float32_has_no_scale_for_is_taken_for_zero() -> None:
    assert affine_grid(0.0, 1e-44, 8) == (1.0, 0)


def test_a_grid_by_hand() -> None:
    assert affine_grid(0.0, 255.0, 8) == (1.0, 0)
    assert affine_grid(-10.0, 20.0, 4) == (2.0, 5)
    assert affine_grid(3.0, 15.0, 4) == (1.0, 0)  # zero is always within
    assert affine_grid(-15.0, -3.0, 4) == (1.0, 15)


def test_a_symmetric_grid_has_zero_in_its_middle() -> None:
    assert symmetric_grid(127.0, 8) == (1.0, 128)
    assert symmetric_grid(14.0, 4) == (2.0, 8)
    assert symmetric_grid(0.5, 2) == (0.5, 2)
    assert symmetric_grid(0.0, 8) == (1.0, 128)
