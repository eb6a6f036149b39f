"""Low rank by what a layer's inputs are: what is lost is known beforehand, and is the least."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.numerics.low_rank import num_parameters, rank_of_share, whitened_svd

sizes = st.integers(1, 12)


def problem(seed: int, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """A weight, and the second moments of inputs that go together."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, inputs, generator=generator) @ torch.randn(inputs, inputs, generator=generator)
    return torch.randn(outputs, inputs, generator=generator), x.T @ x / 40


def loss(weight: Tensor, other: Tensor, hessian: Tensor) -> float:
    off = weight.double() - other.double()
    return float((off @ hessian.double() * off).sum())


def test_the_input_that_is_loud_decides_by_hand() -> None:
    # the second input is ten times the first: of W = diag(2, 1), W L = diag(2, 10), and the first rank is the second
    weight, hessian = torch.diag(torch.tensor([2.0, 1.0])), torch.diag(torch.tensor([1.0, 100.0]))
    spectrum = whitened_svd(weight, hessian, damping=1e-12)
    assert spectrum.values.tolist() == pytest.approx([10.0, 2.0])
    down, up = spectrum.factors(1)
    assert (up @ down).flatten().tolist() == pytest.approx([0, 0, 0, 1])
    assert spectrum.rank_of(0.96) == 1  # 100 of 104
    assert spectrum.rank_of(0.97) == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), sizes, sizes, st.data())
def test_the_loss_of_a_rank_is_the_sum_of_the_squares_that_are_left(
    seed: int, outputs: int, inputs: int, data: st.DataObject
) -> None:
    weight, hessian = problem(seed, outputs, inputs)
    rank = data.draw(st.integers(1, min(outputs, inputs)))
    damped = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(inputs)
    spectrum = whitened_svd(weight, hessian, 0.01)
    down, up = spectrum.factors(rank)
    assert (down.shape, up.shape) == ((rank, inputs), (outputs, rank))
    whole = float(spectrum.values.square().sum())
    left = float(spectrum.values[rank:].square().sum())
    assert loss(weight, up @ down, damped) == pytest.approx(left, abs=1e-4 * whole)
    u, s, v = torch.linalg.svd(weight.double(), full_matrices=False)
    plain = (u[:, :rank] * s[:rank]) @ v[:rank]
    assert left <= loss(weight, plain, damped) + 1e-6 * whole


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), sizes, sizes, st.floats(0.01, 0.999))
def test_an_energy_is_kept_by_its_rank_and_by_none_below(seed: int, outputs: int, inputs: int, energy: float) -> None:
    spectrum = whitened_svd(*problem(seed, outputs, inputs))
    rank = spectrum.rank_of(energy)
    kept = spectrum.values.square().cumsum(0) / spectrum.values.square().sum()
    assert kept[rank - 1] >= energy or rank == len(kept)
    assert rank == 1 or kept[rank - 2] < energy


def test_a_weight_of_zeros_and_inputs_of_zeros_have_factors_too() -> None:
    spectrum = whitened_svd(torch.zeros(3, 4), torch.zeros(4, 4))
    assert spectrum.rank_of(0.9) == 1
    down, up = spectrum.factors(1)
    assert not bool((up @ down).any())


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.01, 0.99))
def test_a_share_is_the_most_that_it_allows(outputs: int, inputs: int, ratio: float) -> None:
    rank = rank_of_share(outputs, inputs, ratio)
    allowed = ratio * outputs * inputs
    assert rank == 1 or num_parameters(outputs, inputs, rank) <= allowed + 1e-6 * (outputs + inputs)
    assert num_parameters(outputs, inputs, rank + 1) > allowed
