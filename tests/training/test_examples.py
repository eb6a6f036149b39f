"""The order of examples."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from compress.training.examples import rows_of_step


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), st.integers(1, 6))
def test_every_epoch_shows_each_example_once(count: int, batch_size: int, seed: int, epochs: int) -> None:
    """However batches and epochs fall together, the first n · count rows are each example n times."""
    steps = -(-epochs * count // batch_size)
    rows = [row for step in range(steps) for row in rows_of_step(count, batch_size, seed, step)]
    assert set(Counter(rows[: epochs * count]).values()) == {epochs}


@given(st.integers(2, 60), st.integers(1, 30), st.integers(0, 99))
def test_two_processes_read_what_one_reads_with_the_doubled_batch(count: int, half: int, step: int) -> None:
    whole = rows_of_step(count, 2 * half, 0, step)
    assert len(whole) == 2 * half
    assert whole == rows_of_step(count, 2 * half, 0, step)


def test_another_seed_is_another_order() -> None:
    assert rows_of_step(100, 100, 0, 0) != rows_of_step(100, 100, 1, 0)
