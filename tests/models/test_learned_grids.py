"""Grids of weights that are trained: they begin on given codes, stay of their kind, settle to what they computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.models.learned_grids import (
    FixedCodes,
    LearnedGrid,
    LearnedStepWeight,
    RangedWeight,
    SparseTernaryWeight,
    grid_of,
)
from compress.numerics.grid import nearest
from compress.numerics.ternary import ternary
from compress.numerics.weight import QuantizedWeight, with_given_codes


def three_of_four(weight: Tensor, group_size: int | None = None) -> QuantizedWeight:
    """A zero in a place of every four that has nothing to do with the weights, and signs alike."""
    draw = torch.Generator().manual_seed(len(weight))
    codes = torch.randint(0, 2, weight.shape, generator=draw) * 2 - 1
    zero = torch.randint(0, 4, (codes.numel() // 4, 1), generator=draw)
    codes = codes.reshape(-1, 4).scatter(-1, zero, 0).reshape(weight.shape).to(torch.int8)
    return with_given_codes(ternary(weight, "3:4", group_size), codes)


def three_are_kept(weight: QuantizedWeight) -> bool:
    return bool(((weight.codes.reshape(-1, 4) == 0).sum(-1) == 1).all())


KINDS: dict[str, Callable[[Tensor], QuantizedWeight]] = {
    "channel": lambda w: nearest(w, 4),
    "tensor": lambda w: nearest(w, 3, per_tensor=True),
    "group": lambda w: nearest(w, 2, 4),
    "uneven groups": lambda w: nearest(w, 3, 5),
    "one group": lambda w: nearest(w, 5, 64),
    "affine": lambda w: nearest(w, 3, 4, symmetric=False),
    "affine channel": lambda w: nearest(w, 8, symmetric=False),
    "integer": lambda w: nearest(w, 4, 4, integer_scales=True),
    "midrise": lambda w: nearest(w, 2, 4, midrise=True),
    "midrise integer": lambda w: nearest(w, 3, 4, integer_scales=True, midrise=True),
    "ternary": lambda w: ternary(w, "trits", 8),
    "3:4": lambda w: three_of_four(w, 8),
    "3:4 channel": three_of_four,
}
on_all_kinds = pytest.mark.parametrize("kind", KINDS)
on_all_kinds_and_grids = pytest.mark.parametrize(
    ("kind", "make"), [(kind, make) for kind in KINDS for make in (grid_of, FixedCodes)]
)


def weight_of(seed: int = 0, rows: int = 6, columns: int = 24) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def far(first: QuantizedWeight, seed: int = 0) -> QuantizedWeight:
    """Codes that rounding would never give, of the same kind."""
    low, high = first.code_range
    draw = torch.Generator().manual_seed(seed)
    if first.keeps_three_of_four:
        order = torch.randperm(len(first.codes), generator=draw)
        return with_given_codes(first, first.codes[order])
    return with_given_codes(first, torch.randint(low, high + 1, first.codes.shape, generator=draw).to(torch.int8))


def trained(grid: LearnedGrid, original: Tensor, make: Callable[[Any], torch.optim.Optimizer], steps: int = 20) -> None:
    """A few steps towards nonsense."""
    original.requires_grad_()
    optimizer = make([original, grid.scales])
    goal = weight_of(5).reshape(original.shape)
    for _ in range(steps):
        optimizer.zero_grad()
        (grid(original) - goal).square().sum().backward()
        optimizer.step()
    original.requires_grad_(False)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.3, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.3),
}


@on_all_kinds_and_grids
@pytest.mark.parametrize("moved", [False, True])
def test_a_grid_begins_as_the_given_weight_exactly_wherever_its_codes_are(
    kind: str, make: Callable[[QuantizedWeight], LearnedGrid], moved: bool
) -> None:
    original = weight_of()
    first = far(KINDS[kind](original)) if moved else KINDS[kind](original)
    grid = make(first)
    latent = grid.begun(original, first.codes)
    assert torch.equal(grid(latent), first.dequantize())
    settled = grid.settled(latent)
    assert torch.equal(settled.codes, first.codes)
    assert torch.equal(settled.scales, first.scales)
    assert torch.equal(settled.dequantize(), first.dequantize())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 8),
    st.integers(1, 5),
    st.integers(1, 40),
    st.none() | st.integers(2, 12),
    st.booleans(),
    st.integers(0, 1000),
    st.floats(1e-3, 1e3),
)
def test_every_uniform_grid_begins_on_the_given_codes(
    num_bits: int, rows: int, columns: int, group_size: int | None, symmetric: bool, seed: int, size: float
) -> None:
    original = size * weight_of(seed, rows, columns)
    first = far(nearest(original, num_bits, group_size, symmetric=symmetric), seed)
    grid = LearnedStepWeight(first)
    assert torch.equal(grid(grid.begun(original, first.codes)), first.dequantize())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 1000), st.sampled_from([0.0, 1e-30, 0.1, 30.0]))
def test_every_sparse_grid_begins_on_the_given_codes(rows: int, fours: int, seed: int, size: float) -> None:
    original = size * weight_of(seed, rows, 4 * fours)
    first = three_of_four(original)
    grid = SparseTernaryWeight(first)
    assert torch.equal(grid(grid.begun(original, first.codes)), first.dequantize())


@on_all_kinds_and_grids
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_whatever_an_optimizer_does_a_grid_settles_to_what_it_computed_of_its_kind_and_can_be_stored(
    kind: str, make: Callable[[QuantizedWeight], LearnedGrid], optimizer: str
) -> None:
    original = weight_of()
    first = KINDS[kind](original)
    grid = make(first)
    latent = grid.begun(original, first.codes)
    trained(grid, latent, OPTIMIZERS[optimizer])
    settled = grid.settled(latent)
    assert torch.equal(settled.dequantize(), grid(latent))
    assert torch.equal(settled.scales.half().float(), settled.scales)
    assert bool((settled.scales > 0).all())
    assert not torch.equal(settled.scales, first.scales)
    assert torch.equal(settled.codes, first.codes) == (make is FixedCodes)
    low, high = first.code_range
    assert low <= int(settled.codes.min()) <= int(settled.codes.max()) <= high
    assert (settled.packing, settled.midrise) == (first.packing, first.midrise)
    if first.keeps_three_of_four:
        assert three_are_kept(settled)
    for part in ("zero_points", "multipliers"):
        before, after = getattr(first, part), getattr(settled, part)
        assert (before is None and after is None) or torch.equal(before, after)


def test_the_gradient_of_scales_by_hand() -> None:
    """[2, 4] in groups of two, 2 bits, scales 0.5 in the first row and 1 in the second.

    x/s      0.8 −0.6 | 4    −1.5        0.2 −3 | 1.2 0.4
    code     1   −1   | 1    −2          0   −2 | 1   0
    d of s   0.2 −0.4 | 1    −0.5        −0.2 −2 | 1  −0.4

    A relative scale has the scale's gradient times its first value; both are divided by √(2 a group · largest code 1).
    """
    x = torch.tensor([[0.4, -0.3, 2.0, -0.75], [0.2, -3.0, 1.2, 0.4]])
    scales = torch.tensor([[0.5, 0.5], [1.0, 1.0]])
    first = QuantizedWeight(torch.tensor([[1, -1, 1, -2], [0, -2, 1, 0]], dtype=torch.int8), scales, None, None, 2, 2)
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
    expected = torch.tensor([[0.2 - 0.8, 3.0 - 2.0], [-2.2, 1.0 - 0.4]]) / math.sqrt(2)
    for relative, unit in ((False, 1.0), (True, scales)):
        grid = LearnedStepWeight(first, relative)
        x.requires_grad_().grad = None
        (grid(x) * weights).sum().backward()
        torch.testing.assert_close(grid.scales.grad, expected * unit)
        # 4, −3 and 1.2 are clipped: a step against these gradients leads the second away, and the others back
        assert x.grad is not None
        assert x.grad.tolist() == [[1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 1.0, 1.0]]


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 8), st.none() | st.integers(2, 12), st.booleans(), st.integers(0, 1000))
def test_a_ranged_grid_follows_the_weight_and_settles_to_what_it_computed(
    num_bits: int, group_size: int | None, midrise: bool, seed: int
) -> None:
    original = weight_of(seed)
    grid = RangedWeight(nearest(original, num_bits, group_size, midrise=midrise), relative=False)
    assert not list(grid.parameters())
    moved = (30 * weight_of(seed + 1)).requires_grad_()  # far beyond the grid that it began on
    on_grid = grid(moved)
    settled = grid.settled(moved)
    assert torch.equal(settled.dequantize(), on_grid)
    assert torch.equal(settled.scales.half().float(), settled.scales)
    largest = 2 ** (num_bits - 1) - (0.5 if midrise else 1)
    each = torch.repeat_interleave(settled.scales, group_size or 24, dim=1)[:, :24]
    off = (on_grid - moved).detach().abs() / each
    assert float(off.amax()) <= 0.5 + 1e-3 * largest  # nothing is clipped but by what float16 rounds of a scale
    (weights := weight_of(7)).mul(on_grid).sum().backward()
    assert moved.grad is not None
    torch.testing.assert_close(moved.grad, weights)


def test_sparse_codes_by_hand() -> None:
    """Of each four the smallest is zero, and zero that is kept counts as +; the scale's gradient is of the codes."""
    first = QuantizedWeight(
        torch.tensor([[0, 1, -1, 1, 1, -1, 0, 1]], dtype=torch.int8), torch.ones(1, 1), None, None, 2, None
    )
    grid = SparseTernaryWeight(first)
    x = torch.tensor([[0.3, 0.0, -0.2, 5.0, 0.0, 0.0, 1.0, -1.0]], requires_grad=True)
    assert grid(x).tolist() == [[1, 0, -1, 1, 0, 1, 1, -1]]
    weights = torch.arange(8.0)[None]
    (grid(x) * weights).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == weights.tolist()
    assert grid.scales.grad is not None
    assert float(grid.scales.grad) == pytest.approx((0 - 2 + 3 + 5 + 6 - 7) / math.sqrt(8))


def test_a_residual_adds_a_share_of_the_float_weight() -> None:
    original = weight_of()
    grid = grid_of(ternary(original, "trits"))
    plain = grid(original)
    grid.residual = 0.25
    torch.testing.assert_close(grid(original), plain + 0.25 * original)
    assert torch.equal(grid.settled(original).dequantize(), plain)


def test_scales_that_float16_cannot_hold_begin_as_they_are_and_others_do_not_get_there() -> None:
    original = weight_of() * torch.tensor([[1e-9], [1], [1], [1], [1], [1]])
    first = nearest(original, 4)
    assert float(first.scales.min()) < 1e-8
    grid = grid_of(first)
    assert torch.equal(grid(grid.begun(original, first.codes)), first.dequantize())
    torch.nn.init.zeros_(grid.scales)
    assert grid.settled(original).scales[:, 0].tolist() == [float(first.scales[0])] + [2.0**-14] * 5
