"""Learned step sizes, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.numerics.lsq import quantize_learned, quantize_through, scale_through


def test_values_and_gradients_by_hand() -> None:
    """Step 0.5, codes −2 … 1: 0.4 → 1 step, −0.3 → −1, 2.0 is cut at 1, −3.0 at −2."""
    x = torch.tensor([0.4, -0.3, 2.0, -3.0], requires_grad=True)
    scale = torch.tensor([0.5], requires_grad=True)
    quantized = quantize_learned(x, scale, 0, -2, 1)
    assert quantized.tolist() == pytest.approx([0.5, -0.5, 0.5, -1.0])
    quantized.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert scale.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    inside = (1 - 0.4 / 0.5) + (-1 + 0.3 / 0.5)
    # 4 elements share the scale; the largest code is 1
    assert float(scale.grad) == pytest.approx((inside + 1 - 2) / math.sqrt(4 * 1), rel=1e-5)


def test_what_is_clipped_gets_the_gradient_that_leads_it_back() -> None:
    """Codes −2 … 1 of step 1, each clipped, with a gradient of either sign."""
    x = torch.tensor([3.0, 3.0, -4.0, -4.0], requires_grad=True)
    gradients = torch.tensor([1.0, -1.0, 1.0, -1.0])
    for returning, expected in ((True, [1.0, 0.0, 0.0, -1.0]), (False, [0.0, 0.0, 0.0, 0.0])):
        x.grad = None
        quantized = quantize_through(x, torch.ones(1), 0.0, -2, 1, returning)
        assert quantized.tolist() == [1.0, 1.0, -2.0, -2.0]
        (quantized * gradients).sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert x.grad.tolist() == expected


def test_scales_and_zero_points_of_groups_broadcast() -> None:
    """Two groups of two: steps 1 and 2, zero points 0 and 1."""
    x = torch.tensor([[1.2, -0.7], [3.5, -9.0]], requires_grad=True)
    step = torch.tensor([[1.0], [2.0]], requires_grad=True)
    quantized = quantize_through(x, step, torch.tensor([[0.0], [1.0]]), -2, 3)
    # 3.5 / 2 + 1 = 2.75 → 3 is the end; −9 / 2 + 1 = −3.5 is cut at −2, which is −3 steps from zero
    assert quantized.tolist() == [[1.0, -1.0], [4.0, -6.0]]
    quantized.sum().backward()  # type: ignore[no-untyped-call]
    assert step.grad is not None
    assert step.grad.tolist() == [[pytest.approx(-0.2 - 0.3)], [pytest.approx(0.25 - 3)]]


def test_the_gradient_of_a_step_whose_codes_are_given() -> None:
    codes = torch.tensor([[1, -1, 0], [2, 2, -1]], dtype=torch.int8)
    step = torch.tensor([[0.5], [2.0]], requires_grad=True)
    x = torch.zeros(2, 3, requires_grad=True)
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (scale_through(x, codes, step) * weights).sum().backward()  # type: ignore[no-untyped-call]
    assert step.grad is not None
    assert step.grad.tolist() == [[-1.0], [12.0]]
    assert x.grad is not None
    assert x.grad.tolist() == weights.tolist()
    assert scale_through(None, codes, step).tolist() == [[0.5, -0.5, 0.0], [4.0, 4.0, -2.0]]


@given(st.integers(2, 8), st.integers(0, 1000), st.floats(0.01, 2.0))
def test_the_result_lies_on_the_grid_and_within_half_a_step(num_bits: int, seed: int, step: float) -> None:
    x = torch.randn(3, 20, generator=torch.Generator().manual_seed(seed))
    low, high = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = torch.full((3, 1), step)
    codes = quantize_learned(x, scale, 0, low, high) / scale
    assert torch.allclose(codes, codes.round(), atol=1e-3)
    assert bool(((codes.round() >= low) & (codes.round() <= high)).all())
    inside = (x / scale >= low) & (x / scale <= high)
    assert bool(((codes * scale - x).abs()[inside] <= step / 2 + 1e-4).all())
