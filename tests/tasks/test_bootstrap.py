"""Bootstrap intervals, by law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.tasks.bootstrap import NUM_RESAMPLES, Resampled, mean_of, resampling

Values = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


def mean(values: list[float], seed: int = 0) -> Resampled:
    statistics = np.array([[value, 1.0] for value in values])
    return resampling(range(len(values)), seed).scored(
        range(len(values)), statistics, lambda sums: sums[..., 0] / sums[..., 1]
    )


@settings(deadline=None)
@given(Values)
def test_the_interval_holds_the_value_and_stays_within_the_rows(values: list[float]) -> None:
    figure = mean(values).figure(len(values))
    assert figure.value == pytest.approx(sum(values) / len(values), abs=1e-9)
    assert figure.low <= figure.value <= figure.high
    assert min(values) - 1e-9 <= figure.low
    assert figure.high <= max(values) + 1e-9


@settings(deadline=None)
@given(Values)
def test_the_same_rows_lose_nothing(values: list[float]) -> None:
    figure = (mean(values) - mean(values)).figure(len(values))
    assert (figure.value, figure.low, figure.high) == (0, 0, 0)


def test_the_interval_of_a_mean_is_students_within_its_noise() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400).tolist()
    figure = mean(values).figure(400)
    half = 1.96 * np.std(values) / math.sqrt(400)
    assert figure.low == pytest.approx(figure.value - half, abs=0.03)
    assert figure.high == pytest.approx(figure.value + half, abs=0.03)


def test_each_resample_draws_as_many_rows_and_a_seed_is_a_set_of_draws() -> None:
    draws = resampling([7, 3, 3, 9]).draws
    assert draws.shape == (NUM_RESAMPLES, 3)
    assert (draws.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(draws, resampling([3, 7, 9]).draws)
    assert (draws != resampling([3, 7, 9], seed=1).draws).any()


def test_one_row_says_nothing_of_its_spread() -> None:
    figure = mean([3.0]).figure(1)
    assert (figure.value, figure.low, figure.high, figure.num_samples) == (3.0, None, None, 1)
    with pytest.raises(ValueError, match="at least one row"):
        resampling([])


def test_a_resample_without_the_rows_has_no_figure() -> None:
    draws = resampling(range(3))
    alone = draws.scored([1], np.array([[5.0]]), lambda sums: sums[..., 0])
    np.testing.assert_array_equal(np.isnan(alone.resamples), draws.draws[:, 1] == 0)
    assert alone.over(Resampled(0.0, np.zeros(NUM_RESAMPLES))).figure(3).low is None


def test_means_and_ratios_by_hand() -> None:
    one, two = Resampled(1.0, np.array([1.0, 2.0])), Resampled(3.0, np.array([0.0, 4.0]))
    assert mean_of([one, two]).value == 2
    np.testing.assert_array_equal(mean_of([one, two]).resamples, [0.5, 3.0])
    np.testing.assert_array_equal(one.over(two).resamples, [np.nan, 0.5])
    assert one.over(two).figure(2).low == pytest.approx(1 / 3)  # widened to the value
