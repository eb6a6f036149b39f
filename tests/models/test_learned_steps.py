"""Grids that are trained: what a forward shows is what is stored, before and after they are frozen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.models.activations import QuantizedActivation
from compress.models.learned_steps import LearnedStepActivation, ObservedActivation

ENDS = st.floats(-1e6, 1e6, width=32)


@given(ENDS, ENDS, st.integers(2, 8))
def test_an_observed_grid_computes_what_it_settles_to(one: float, other: float, num_bits: int) -> None:
    grid = ObservedActivation(QuantizedActivation(1.0, 0, num_bits)).eval()
    grid.ends.copy_(torch.tensor(sorted((one, other))))
    x = torch.linspace(min(one, other) * 1.5 - 1, max(one, other) * 1.5 + 1, 101)
    assert torch.equal(grid.fake_quantize(x), grid.settled().fake_quantize(x))


def test_an_observed_grid_of_zeros_is_whole() -> None:
    grid = ObservedActivation(QuantizedActivation(1.0, 0))
    grid.ends.zero_()
    assert grid.settled() == QuantizedActivation(1.0, 0)


def test_an_observed_range_follows_batches_by_a_hundredth_each_until_it_is_frozen() -> None:
    grid = ObservedActivation(QuantizedActivation(0.01, 100))  # [-1, 1.55]
    grid.fake_quantize(torch.tensor([-3.0, 5.0]))
    assert grid.ends.tolist() == pytest.approx([-1.02, 1.5845])
    grid.freeze()
    grid.fake_quantize(torch.tensor([-30.0, 50.0]))
    assert grid.ends.tolist() == pytest.approx([-1.02, 1.5845])


def test_a_frozen_scale_stays_whatever_becomes_of_its_parameter_which_has_a_gradient_of_zero() -> None:
    grid = LearnedStepActivation(QuantizedActivation(0.5, 3, 4))
    grid.fake_quantize(torch.linspace(-2, 7, 10)).sum().backward()
    assert float(grid.scale.grad) != 0
    grid.freeze()
    grid.zero_grad()
    grid.fake_quantize(torch.linspace(-2, 7, 10)).sum().backward()
    assert float(grid.scale.grad) == 0
    with torch.no_grad():
        grid.scale.fill_(9.0)
    assert grid.settled() == QuantizedActivation(0.5, 3, 4)
    # another grid that its state is loaded into is frozen too
    other = LearnedStepActivation(QuantizedActivation(2.0, 0, 4))
    other.load_state_dict(grid.state_dict())
    assert other.settled() == grid.settled()
