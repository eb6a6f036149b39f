"""Ratios of times that were taken in turn."""

from __future__ import annotations

import numpy as np
import pytest

from compress.runtime.statistics import percentile, ratio_of


def test_a_ratio_is_of_pairs_so_that_drift_cancels() -> None:
    reference = [1.0, 2.0, 4.0, 8.0, 16.0]  # a machine that slows down all the time
    ratio = ratio_of([0.5 * time for time in reference], reference)
    assert ratio.value == ratio.quartile_low == ratio.quartile_high == ratio.low == ratio.high == 0.5
    assert ratio.num_pairs == 5


def test_quartiles_and_median_by_hand() -> None:
    ratio = ratio_of([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5)
    assert (ratio.quartile_low, ratio.value, ratio.quartile_high) == (2.0, 3.0, 4.0)


def test_the_interval_holds_the_median_and_narrows_with_pairs() -> None:
    noise = np.random.default_rng(3).lognormal(0, 0.2, 400)
    few, many = ratio_of(0.5 * noise[:20], np.ones(20)), ratio_of(0.5 * noise, np.ones(400))
    assert few.low <= few.value <= few.high
    assert many.low <= 0.5 <= many.high
    assert many.high - many.low < few.high - few.low
    assert many == ratio_of(0.5 * noise, np.ones(400))  # the resampling has a seed of its own


def test_percentiles_lie_between_values() -> None:
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([0.0, 10.0], 95) == pytest.approx(9.5)
