"""Errors of a block's output as shares of what it should be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compress.numerics.block_error import FisherError, SquaredError, row_sizes


def test_squared_errors_by_hand() -> None:
    """Goals 1, 3, 5, 7: mean 4, variance 5; one error of 2 among four: 4 / 4 / 5."""
    goal = torch.tensor([[1.0, 3.0], [5.0, 7.0]])
    error = SquaredError([goal])
    assert float(error(goal + torch.tensor([[2.0, 0.0], [0.0, 0.0]]), goal)) == pytest.approx(0.2)
    assert float(error(torch.full_like(goal, 4.0), goal)) == 1.0


def test_fisher_s_errors_by_hand() -> None:
    """Tokens (3, 1) and (30, 10): mean squares 5 and 500.  Information 1 and 4: the goals' own errors are
    (9 + 4·1)/5 a token, 5.2 over four elements.  An error of 1 in the first token's second channel: 4/5; of 10 in the
    second token's: the same."""
    goal = torch.tensor([[[3.0, 1.0], [30.0, 10.0]]])
    error = FisherError([goal], torch.tensor([1.0, 4.0]))
    small, large = torch.zeros_like(goal), torch.zeros_like(goal)
    small[0, 0, 1], large[0, 1, 1] = 1.0, 10.0
    for off in (small, large):
        torch.testing.assert_close(error(goal + off, goal), torch.tensor(0.8 / 5.2))


@given(st.sampled_from([(3, 4), (2, 3, 4), (2, 4, 3, 3)]), st.integers(0, 100))
def test_a_block_that_gives_nothing_errs_by_one_and_one_that_is_exact_by_none(
    shape: tuple[int, ...], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    goal = torch.randn(shape, generator=generator)
    error = FisherError([goal], torch.rand(4, generator=generator) + 0.1)
    torch.testing.assert_close(error(torch.zeros_like(goal), goal), torch.tensor(1.0))
    assert float(error(goal, goal)) == 0.0


def test_sizes_are_of_tokens_and_of_images() -> None:
    assert row_sizes(torch.ones(2, 3, 5)).shape == (2, 3, 1)
    assert row_sizes(2 * torch.ones(2, 3, 5, 5)).flatten().tolist() == [4.0, 4.0]
