"""Importance, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.numerics.importance import block_influence, contribution, divergence, next_token_nll


def test_block_influence_is_one_minus_the_cosine() -> None:
    given_ = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    made = torch.tensor([[4.0, 3.0], [0.0, 2.0]])  # cosines 24 / 25 and 0
    assert float(block_influence(given_, made)) == pytest.approx((1 / 25 + 1) / 2)
    assert float(block_influence(given_, 7 * given_)) == pytest.approx(0, abs=1e-12)
    assert float(block_influence(torch.zeros(2, 3), torch.ones(2, 3))) == 0


def test_a_divergence_by_hand() -> None:
    p, q = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0.0]])  # ¼, ¾ against ½, ½
    assert float(divergence(p, q)) == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert float(divergence(p, p + 5)) == pytest.approx(0, abs=1e-12)


def test_the_likelihood_of_each_token_is_read_one_place_before_it() -> None:
    logits = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]]]))
    assert float(next_token_nll(logits, torch.tensor([[0, 1, 0]]))) == pytest.approx(-math.log(0.5) - math.log(0.25))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_a_contribution_is_the_norm_of_what_a_unit_adds(units: int, size: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, units * size, generator=generator)
    x = torch.randn(7, units * size, generator=generator)
    parts = x.reshape(7, units, size)
    moments = torch.einsum("nus,nut->ust", parts, parts) / 7
    expected = []
    for unit in range(units):
        alone = torch.zeros_like(x)
        alone[:, unit * size : (unit + 1) * size] = parts[:, unit]
        expected.append((alone @ weight.T).square().sum(1).mean().sqrt())
    torch.testing.assert_close(contribution(weight, moments).float(), torch.stack(expected), rtol=1e-4, atol=1e-5)
