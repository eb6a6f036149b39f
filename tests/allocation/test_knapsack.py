"""Of each item one choice, so that sizes fit and losses are least."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.allocation.knapsack import TooSmall, choose


def test_by_hand() -> None:
    """Room for one large choice of two: the item that loses more by being small gets it."""
    losses = np.array([[5.0, 1.0], [9.0, 1.0]])
    sizes = np.array([[2, 4], [2, 4]])
    assert choose(losses, sizes, 8).tolist() == [1, 1]
    assert choose(losses, sizes, 7).tolist() == [0, 1]
    assert choose(losses, sizes, 4).tolist() == [0, 0]
    with pytest.raises(TooSmall, match="the smallest choices take 4 bytes, and there is room for 3") as caught:
        choose(losses, sizes, 3)
    assert (caught.value.smallest, caught.value.room) == (4, 3)


def test_what_is_impossible_is_not_chosen_and_of_equals_the_smaller_is() -> None:
    losses = np.array([[np.inf, 3.0, 3.0]])
    sizes = np.array([[1, 6, 5]])
    assert choose(losses, sizes, 100).tolist() == [2]
    with pytest.raises(TooSmall):
        choose(losses, sizes, 4)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), items=st.integers(1, 5), choices=st.integers(1, 4))
def test_no_other_choice_that_fits_loses_less(data: st.DataObject, items: int, choices: int) -> None:
    numbers = st.integers(0, 1000)
    losses = np.array([[data.draw(numbers) for _ in range(choices)] for _ in range(items)], float)
    sizes = np.array([[data.draw(st.integers(1, 10**6)) for _ in range(choices)] for _ in range(items)], np.int64)
    room = data.draw(st.integers(int(sizes.min(1).sum()), int(sizes.max(1).sum())))
    found = choose(losses, sizes, room)
    every = np.arange(items)
    assert sizes[every, found].sum() <= room
    best = min(
        losses[every, list(other)].sum()
        for other in itertools.product(range(choices), repeat=items)
        if sizes[every, list(other)].sum() <= room
    )
    assert losses[every, found].sum() == best
