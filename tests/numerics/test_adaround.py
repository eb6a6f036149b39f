"""AdaRound of one layer: each weight up or down, never worse than the nearest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from compress.numerics.adaround import adaround
from compress.numerics.grid import nearest, steps, zeros
from compress.numerics.weight import QuantizedWeight, code_range


def problem(seed: int, groups: int = 1) -> tuple[Tensor, Tensor]:
    """A weight [4, 6] and the second moments of inputs that go together, [groups, 6, 6]."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(groups, 30, 6, generator=generator) @ torch.randn(groups, 6, 6, generator=generator)
    return torch.randn(4, 6, generator=generator), inputs.mT @ inputs / 30


def loss(weight: Tensor, quantized: QuantizedWeight, hessian: Tensor) -> float:
    off = (weight - quantized.dequantize()).reshape(hessian.shape[0], -1, hessian.shape[1])
    return float((off @ hessian * off).sum())


@pytest.mark.parametrize("seed", range(6))
def test_it_is_never_worse_than_nearest_and_goes_up_or_down_by_less_than_a_step(seed: int) -> None:
    weight, hessian = problem(seed, groups=1 + seed % 2)
    plain = nearest(weight, 3, **[{}, {"group_size": 4}, {"symmetric": False}][seed % 3])
    learned = adaround(weight, plain, hessian, iterations=100)
    assert loss(weight, learned, hessian) <= loss(weight, plain, hessian) * (1 + 1e-6)
    low, high = code_range(3)
    ideal = (weight / steps(plain, 6) + zeros(plain, 6)).clamp(low, high)
    codes = learned.codes.float()
    assert bool(((codes == ideal.floor()) | (codes == ideal.ceil())).all())
    assert learned.scales is plain.scales


def test_two_equal_inputs_share_one_rounding_error() -> None:
    """The output is 0.4 + 0.3 times the input: one code of 1 misses it by 0.3, nearest (0 and 0) by 0.7."""
    weight = torch.tensor([[0.4, 0.3]])
    grid = QuantizedWeight(torch.zeros(1, 2, dtype=torch.int8), torch.ones(1, 1), None, None, 4, None)
    learned = adaround(weight, grid, torch.ones(1, 2, 2))
    assert int(learned.codes.sum()) == 1


def test_inputs_that_have_nothing_in_common_are_rounded_to_nearest() -> None:
    weight, _ = problem(0)
    plain = nearest(weight, 3)
    assert torch.equal(adaround(weight, plain, torch.eye(6)[None], iterations=200).codes, plain.codes)


def test_inputs_that_go_together_are_rounded_together() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.relu(torch.randn(300, 24, generator=generator) @ torch.randn(24, 24, generator=generator))
    weight, hessian = torch.randn(8, 24, generator=generator), (inputs.T @ inputs / 300)[None]
    plain = nearest(weight, 4)
    assert loss(weight, adaround(weight, plain, hessian), hessian) < 0.95 * loss(weight, plain, hessian)


def test_a_layer_that_only_saw_zeros_is_rounded_to_nearest() -> None:
    weight, _ = problem(1)
    plain = nearest(weight, 3)
    assert torch.equal(adaround(weight, plain, torch.zeros(1, 6, 6), iterations=5).codes, plain.codes)


def test_what_is_pruned_keeps_the_code_of_zero_and_its_twin_makes_up_for_nothing() -> None:
    """Of two equal inputs, the one that is gone has no error: the other's 0.4 alone is nearest to 0."""
    weight, mask = torch.tensor([[0.4, 0.0]]), torch.tensor([[True, False]])
    grid = QuantizedWeight(torch.zeros(1, 2, dtype=torch.int8), torch.ones(1, 1), None, None, 4, None)
    assert adaround(weight, grid, torch.ones(1, 2, 2), mask=mask).codes.tolist() == [[0, 0]]
    weight, hessian = problem(0)
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    learned = adaround(weight * mask, nearest(weight * mask, 3, symmetric=False), hessian, mask=mask)
    assert bool((learned.dequantize()[~mask] == 0).all())
