"""Masks: exactly as many as was asked, always the smallest, always the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.numerics.sparsity import (
    FIRST,
    channels_innermost,
    global_masks,
    group_mask,
    in_groups,
    layer_mask,
    magnitude,
    num_to_prune,
    row_mask,
    wanda,
)

shares = st.floats(0.001, 0.999)
seeds = st.integers(0, 2**31)


def drawn(seed: int, *shape: int) -> Tensor:
    """Scores of few different values, so that many are equal, some zero and some pruned already."""
    numbers = torch.randint(-1, 6, shape, generator=torch.Generator().manual_seed(seed)).float()
    return torch.where(numbers < 0, FIRST, numbers / 4)


def rightly_pruned(scores: Tensor, mask: Tensor) -> bool:
    """Whether nothing that is kept scores less than what is pruned, and of equal ones the first are pruned."""
    scores, mask = scores.flatten(), mask.flatten()
    if bool(mask.all()) or not bool(mask.any()):
        return True
    height = scores[~mask].max()
    at = mask[scores == height]
    return bool(scores[mask].min() >= height) and bool((at.int().diff() >= 0).all())


def test_magnitude_and_wanda_by_hand() -> None:
    weight = torch.tensor([[-3.0, 1.0], [2.0, -4.0]])
    assert magnitude(weight).tolist() == [[3, 1], [2, 4]]
    assert wanda(weight, torch.tensor([1.0, 5.0])).tolist() == [[3, 5], [2, 20]]
    kernels = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]])  # two groups of one channel each
    assert wanda(kernels, torch.tensor([[1.0, 10.0], [2.0, 20.0]])).flatten().tolist() == [1, 20, 6, 80]


def test_masks_by_hand() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    assert row_mask(scores, 0.5).int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert layer_mask(scores, 0.5).int().tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    first, second = global_masks([scores, scores / 10], 0.75)
    assert second.int().tolist() == [[0] * 4] * 2
    assert first.int().tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert group_mask(torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 9.0]]), 2, 4).int().tolist() == [
        [1, 0, 1, 0, 0, 0, 1, 1]
    ]


def test_half_of_an_odd_number_is_the_nearest_even_one() -> None:
    assert [num_to_prune(0.5, count) for count in (1, 3, 5, 27)] == [0, 2, 2, 14]
    assert num_to_prune(0.3, 10) == 3


@settings(max_examples=60, deadline=None)
@given(seeds, shares, st.integers(1, 9), st.integers(1, 30))
def test_every_row_loses_exactly_what_was_asked(seed: int, sparsity: float, rows: int, columns: int) -> None:
    scores = drawn(seed, rows, columns)
    mask = row_mask(scores, sparsity)
    assert (~mask).sum(1).tolist() == [num_to_prune(sparsity, columns)] * rows
    assert all(rightly_pruned(some, kept) for some, kept in zip(scores, mask, strict=True))


@settings(max_examples=60, deadline=None)
@given(seeds, shares, st.lists(st.tuples(st.integers(1, 6), st.integers(1, 20)), min_size=1, max_size=4))
def test_all_layers_together_lose_exactly_what_was_asked(
    seed: int, sparsity: float, shapes: list[tuple[int, int]]
) -> None:
    scores = [drawn(seed + number, *shape) for number, shape in enumerate(shapes)]
    masks = global_masks(scores, sparsity)
    total = sum(score.numel() for score in scores)
    assert sum(int((~mask).sum()) for mask in masks) == num_to_prune(sparsity, total)
    assert rightly_pruned(torch.cat([s.flatten() for s in scores]), torch.cat([m.flatten() for m in masks]))
    alone = layer_mask(scores[0], sparsity)
    assert int((~alone).sum()) == num_to_prune(sparsity, scores[0].numel())
    assert rightly_pruned(scores[0], alone)


@settings(max_examples=40, deadline=None)
@given(seeds, shares, st.integers(1, 400))
def test_the_threshold_is_the_one_that_sorting_finds(seed: int, sparsity: float, count: int) -> None:
    scores = torch.rand(count, generator=torch.Generator().manual_seed(seed)) * 1e3
    expected = torch.ones(count, dtype=torch.bool)
    expected[scores.argsort(stable=True)[: num_to_prune(sparsity, count)]] = False
    assert torch.equal(layer_mask(scores, sparsity), expected)


def test_a_negative_zero_is_a_zero() -> None:
    assert layer_mask(torch.tensor([0.0, -0.0, 1e-30, -0.0]), 0.5).tolist() == [False, False, True, True]


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 7), st.integers(2, 8), st.integers(1, 5), st.integers(1, 5))
def test_every_group_keeps_exactly_n_of_m(seed: int, kept: int, size: int, rows: int, groups: int) -> None:
    kept = min(kept, size - 1)
    scores = drawn(seed, rows, groups * size)
    mask = group_mask(scores, kept, size)
    assert bool((mask.reshape(-1, size).sum(1) == kept).all())
    pairs = zip(scores.reshape(-1, size), mask.reshape(-1, size), strict=True)
    assert all(rightly_pruned(some, chosen) for some, chosen in pairs)


def test_groups_of_a_convolution_are_input_channels_at_one_place() -> None:
    assert channels_innermost((7, 2, 3)).tolist() == [0, 3, 1, 4, 2, 5]
    assert channels_innermost((7, 4)).tolist() == [0, 1, 2, 3]
    scores = drawn(0, 3, 8, 2, 2)
    mask = in_groups(scores, 2, 4)
    assert bool((mask.reshape(3, 2, 4, 4).sum(2) == 2).all())  # [out, group, channel in it, place]
    with pytest.raises(ValueError, match="3 input channels cannot be cut into groups of 4"):
        in_groups(torch.ones(2, 3, 2, 2), 2, 4)
    with pytest.raises(ValueError, match="6 columns cannot be cut into groups of 4"):
        group_mask(torch.ones(2, 6), 2, 4)
