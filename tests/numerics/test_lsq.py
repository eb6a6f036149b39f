"""Learned step sizes, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.numerics.lsq import quantize_learned


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
