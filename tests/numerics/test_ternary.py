"""Ternary grids: worked by hand, and what least squares and three of four promise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compress.numerics.gptq import gptq_rows
from compress.numerics.ternary import Scales, kept_of_four, ternary, ternary_codes
from compress.numerics.weight import Packing, QuantizedWeight

PACKINGS: tuple[Packing, ...] = ("trits", "3:4", "3:4-words")


def normal(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def loss(weight: Tensor, quantized: QuantizedWeight, importance: Tensor | None = None) -> float:
    error = (weight - quantized.dequantize()).square()
    return float((error if importance is None else error * importance).sum())


def test_scales_worked_by_hand() -> None:
    weight = torch.tensor([[2.0, -1.0, 0.25, -0.75]])  # the mean magnitude is 1, TWN's threshold 0.7
    absmean = ternary(weight, "trits", scales="absmean")
    assert absmean.scales.tolist() == [[1.0]]
    assert absmean.codes.tolist() == [[1, -1, 0, -1]]
    twn = ternary(weight, "trits", scales="twn")
    assert twn.scales.tolist() == [[1.25]]  # of 2, 1 and 0.75
    assert twn.codes.tolist() == [[1, -1, 0, -1]]
    three = ternary(weight, "3:4", scales="twn")
    assert three.scales.tolist() == [[1.25]]
    assert three.codes.tolist() == [[1, -1, 0, -1]]


def test_importance_decides_which_of_four_is_zero() -> None:
    weight, step = torch.tensor([[1.0, 0.5, 1.0, -1.0]]), torch.tensor([[1.0]])
    assert ternary_codes(weight, step, True).tolist() == [[1, 0, 1, -1]]  # zero and ±1 cost 0.5 alike
    # with these, zero for the first costs 0.1 · (1 − 0), for the second 0.9 · (0.25 − 0.25)
    assert ternary_codes(weight * 1.2, step, True, torch.tensor([[0.1, 9.0, 9.0, 9.0]])).tolist() == [[0, 1, 1, -1]]


def test_a_zero_that_stays_is_positive_and_a_row_of_zeros_has_the_scale_one() -> None:
    found = ternary(torch.zeros(2, 8), "3:4")
    assert found.codes.tolist() == [[0, 1, 1, 1, 0, 1, 1, 1]] * 2
    assert ternary(torch.zeros(2, 8), "trits").scales.tolist() == [[1.0], [1.0]]


@given(st.sampled_from(PACKINGS), st.integers(1, 5), st.integers(1, 12), st.integers(0, 99), st.booleans())
def test_codes_are_ternary_and_one_of_four_is_zero(
    packing: Packing, rows: int, fours: int, seed: int, grouped: bool
) -> None:
    found = ternary(normal(rows, 4 * fours, seed), packing, 8 if grouped else None)
    assert set(found.codes.unique().tolist()) <= {-1, 0, 1}
    if found.keeps_three_of_four:
        assert ((found.codes.reshape(-1, 4) == 0).sum(1) == 1).all()
    assert torch.equal(found.scales.half().float(), found.scales)
    assert found.code_range == (-1, 1)


@given(st.sampled_from(PACKINGS), st.integers(0, 99), st.booleans())
def test_least_squares_loses_no_more_than_where_it_begins(packing: Packing, seed: int, weighed: bool) -> None:
    weight = normal(6, 64, seed)
    importance = normal(1, 64, seed + 1).square() + 0.01 if weighed else None
    best = loss(weight, ternary(weight, packing, 32, "least-squares", importance), importance)
    for start in ("absmean", "twn"):
        assert best <= 1.001 * loss(weight, ternary(weight, packing, 32, start, importance), importance)


@pytest.mark.parametrize(("packing", "share"), [("trits", 0.190), ("3:4", 0.284)])
def test_the_error_on_normal_weights_is_the_one_that_theory_gives(packing: Packing, share: float) -> None:
    """Lloyd and Max's three levels lose 0.1902 of a normal variable's variance; three of four: integrated."""
    weight = normal(64, 4096)
    assert loss(weight, ternary(weight, packing)) / float(weight.square().sum()) == pytest.approx(share, abs=0.004)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_makes_up_for_errors_and_keeps_the_pattern(packing: Packing, act_order: bool) -> None:
    weight, inputs = normal(16, 64), normal(256, 64, 1) @ normal(64, 64, 2)
    hessian = inputs.T @ inputs / 256
    grid = ternary(weight, packing, None, "least-squares", hessian.diagonal()[None])
    found = gptq_rows(weight, grid, hessian, act_order=act_order)
    assert found.packing == packing
    if found.keeps_three_of_four:
        assert ((found.codes.reshape(-1, 4) == 0).sum(1) == 1).all()

    def output_error(quantized: QuantizedWeight) -> float:
        off = weight - quantized.dequantize()
        return float(((off @ hessian) * off).sum())

    assert output_error(found) < 0.8 * output_error(grid)


def test_of_equal_scores_the_first_goes() -> None:
    assert kept_of_four(torch.tensor([[3.0, 1.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]])).tolist() == [
        [True, False, True, True, False, True, True, True]
    ]


@pytest.mark.parametrize(("columns", "group_size"), [(6, None), (8, 6)])
def test_what_has_no_fours_is_refused(columns: int, group_size: int | None) -> None:
    scales: Scales = "twn"
    with pytest.raises(ValueError, match="3:4 does not hold rows of"):
        ternary(normal(2, columns), "3:4", group_size, scales)
