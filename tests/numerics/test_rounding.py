"""Learned rounding: a rectified sigmoid and its inverse, and gradients derived by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.numerics.lsq import quantize_learned
from compress.numerics.rounding import (
    annealed_exponent,
    clamp_through,
    logits_of,
    rectified_sigmoid,
    rounding_regularizer,
    straight_through,
)

QUICK = settings(max_examples=40, deadline=None)


@QUICK
@given(st.floats(0, 0.999))
def test_logits_are_the_inverse_of_the_rectified_sigmoid(fraction: float) -> None:
    assert float(rectified_sigmoid(logits_of(torch.tensor(fraction)))) == pytest.approx(fraction, abs=1e-6)


def test_the_rectified_sigmoid_reaches_its_ends() -> None:
    # σ(v)·1.2 − 0.1 is 0 at σ = 1/12, v = −ln 11, and 1 at σ = 11/12
    ends = torch.tensor([-math.log(11) - 0.01, 0.0, math.log(11) + 0.01])
    assert rectified_sigmoid(ends).tolist() == [0.0, pytest.approx(0.5), 1.0]


@pytest.mark.parametrize("exponent", [2.0, 20.0])
def test_the_regularizer_is_zero_at_decided_weights_and_one_at_an_undecided(exponent: float) -> None:
    assert float(rounding_regularizer(torch.tensor([-9.0, 9.0, 9.0]), exponent)) == 0.0
    assert float(rounding_regularizer(torch.tensor([0.0, 9.0]), exponent)) == pytest.approx(1.0)


def test_the_regularizer_pushes_each_weight_to_its_nearer_end() -> None:
    logits = torch.tensor([-0.5, 0.5], requires_grad=True)
    rounding_regularizer(logits, 4.0).backward()
    assert logits.grad is not None
    assert logits.grad[0] > 0 > logits.grad[1]  # descent goes against the gradient


def test_the_exponent_stays_while_warming_up_and_falls_to_its_end() -> None:
    assert [annealed_exponent(progress) for progress in (0.0, 0.1, 0.19)] == [20.0] * 3
    assert annealed_exponent(0.6) == pytest.approx(11.0)  # half of the way from 20 to 2
    assert annealed_exponent(1.0) == pytest.approx(2.0)
    falling = [annealed_exponent(0.2 + 0.8 * i / 20) for i in range(21)]
    assert falling == sorted(falling, reverse=True)


@QUICK
@given(st.floats(-300, 300, width=32))
def test_straight_through_is_the_rounded_value_with_the_gradient_of_the_original(value: float) -> None:
    x = torch.tensor(value, requires_grad=True)
    y = straight_through(x.round(), x)
    y.backward()
    assert float(y.detach()) == round(value)
    assert x.grad == 1.0


def test_a_clamp_passes_gradients_at_its_ends_and_none_beyond() -> None:
    x = torch.tensor([-1.0, 0.0, 3.0, 7.0, 8.0], requires_grad=True)
    y = clamp_through(x, 0, 7)
    y.sum().backward()
    assert y.tolist() == [0.0, 0.0, 3.0, 7.0, 7.0]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(("zero_point", "below"), [(0, 0.0), (2, -2.0)])
def test_the_gradient_of_a_learned_scale_is_lsq_s(zero_point: int, below: float) -> None:
    """∂/∂s: round(x/s) − x/s inside the range, the code itself (from the zero point) outside."""
    limit = 7
    x = torch.tensor([0.26, 9.0, -9.0], requires_grad=True)
    scale = torch.tensor(0.1, requires_grad=True)
    y = quantize_learned(x, scale, zero_point, 0, limit)
    assert y.detach().tolist() == pytest.approx([0.3, 0.1 * (limit - zero_point), 0.1 * below])
    y.sum().backward()
    inside, above = 3 - 2.6, limit - zero_point
    assert float(scale.grad) == pytest.approx((inside + above + below) / math.sqrt(3 * limit), rel=1e-5)
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0, 0.0]


@QUICK
@given(st.floats(-20, 20, width=32), st.integers(0, 255))
def test_a_learned_grid_is_the_fixed_grid_of_its_scale(value: float, zero_point: int) -> None:
    x, scale = torch.tensor([value]), 0.0625
    fixed = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, 0, 255)
    assert torch.equal(quantize_learned(x, torch.tensor(scale), zero_point, 0, 255), fixed)
