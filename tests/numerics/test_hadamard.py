"""Hadamard matrices and rotations: orthogonal, by every construction, and applied as fast as they are written."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.numerics.hadamard import core_order, fast_hadamard, hadamard, random_rotation

# All orders up to 256 that can be and are not built here: they want residues of a field that is none of a prime, or
# matrices found by search (Williamson's and others).
NOT_BUILT = {52, 92, 100, 116, 156, 172, 184, 188, 232, 236, 244}
ORDERS = [1, 2, *(order for order in range(4, 257, 4) if order not in NOT_BUILT)]


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_that_is_claimed_is_a_hadamard_matrix(order: int) -> None:
    matrix = hadamard(order)
    assert set(matrix.unique().tolist()) <= {-1.0, 1.0}
    assert torch.equal(matrix @ matrix.T, order * torch.eye(order, dtype=torch.float64))


def test_other_orders_are_refused() -> None:
    for order in set(range(1, 257)) - set(ORDERS):
        assert core_order(order) is None
        with pytest.raises(ValueError, match=rf"^no Hadamard matrix of order {order} is built here$"):
            hadamard(order)


def test_small_ones_by_hand() -> None:
    assert hadamard(1).tolist() == [[1]]
    assert hadamard(2).tolist() == [[1, 1], [1, -1]]
    assert hadamard(4).tolist() == [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
    # Paley's of q = 11, whose squares are 1, 3, 4, 5, 9: row 1 is −1, then 1 + χ(0), χ(−1), χ(−2), …
    assert hadamard(12)[0].tolist() == [1] * 12
    assert hadamard(12)[1].tolist() == [-1, 1, -1, 1, -1, -1, -1, 1, 1, 1, -1, 1]


def test_the_part_that_is_no_power_of_two_is_as_small_as_can_be() -> None:
    assert [core_order(size) for size in (64, 576, 640, 896, 960, 1152, 1536, 2560)] == [1, 36, 20, 28, 60, 36, 12, 20]
    assert core_order(104) == 104  # 103 is prime, and there is none of order 26 or 52 here
    assert core_order(6) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 8), st.integers(1, 5))
def test_the_fast_transform_is_the_product_with_the_matrix(seed: int, exponent: int, rows: int) -> None:
    x = torch.randint(-9, 10, (rows, 2**exponent), generator=torch.Generator().manual_seed(seed)).double()
    assert torch.equal(fast_hadamard(x), x @ hadamard(2**exponent))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 96), st.integers(1, 3))
def test_a_rotation_is_orthogonal_in_each_block_and_leaves_the_others_alone(seed: int, size: int, blocks: int) -> None:
    rotation = random_rotation(size, torch.Generator().manual_seed(seed), blocks)
    one = torch.eye(size * blocks, dtype=torch.float64)
    matrix = rotation(one)
    torch.testing.assert_close(matrix @ matrix.T, one, rtol=0, atol=1e-12)
    inside = torch.block_diag(*[torch.ones(size, size)] * blocks).bool()
    assert not bool(matrix[~inside].any())
    if core_order(size) is not None:  # every number goes in equal parts to all of its block
        torch.testing.assert_close(matrix[inside].abs(), torch.full_like(matrix[inside], size**-0.5))
    again = random_rotation(size, torch.Generator().manual_seed(seed), blocks)
    assert torch.equal(again(one), matrix)


def test_a_rotation_is_signs_then_the_matrix() -> None:
    rotation = random_rotation(24, torch.Generator().manual_seed(3), 2)
    first, second = rotation.signs[:, :, None] * hadamard(24) / 24**0.5
    x = torch.randn(5, 48, dtype=torch.float64)
    torch.testing.assert_close(rotation(x), torch.cat([x[:, :24] @ first, x[:, 24:] @ second], 1))
    assert len(rotation.signs.unique(dim=0)) == 2
    wide = torch.randn(5, 96, dtype=torch.float64)
    blocks = [x @ matrix for x, matrix in zip(wide.split(24, 1), (first, first, second, second), strict=True)]
    torch.testing.assert_close(rotation.repeated(2)(wide), torch.cat(blocks, 1))


def test_what_a_rotation_is_made_of_is_told() -> None:
    told = [random_rotation(size, torch.Generator().manual_seed(0)).told for size in (64, 640, 12, 26)]
    assert told == [
        "a Hadamard matrix of order 64",
        "a Hadamard matrix of order 20 · 32",
        "a Hadamard matrix of order 12",
        "a random orthogonal matrix of order 26, by QR",
    ]


def test_the_largest_number_of_a_spike_becomes_the_mean() -> None:
    spike = torch.zeros(640)
    spike[7] = 1.0
    turned = random_rotation(640, torch.Generator().manual_seed(0))(spike)
    torch.testing.assert_close(turned.abs(), torch.full_like(turned, 640**-0.5))
