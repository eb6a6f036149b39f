"""Intervals: worked by hand, from the literature, and by law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from compress.tasks.statistics import (
    Z,
    mean_interval,
    paired_difference,
    percentile,
    quartiles,
    student_quantile,
    wilson,
)

Counts = st.tuples(st.integers(0, 400), st.integers(1, 400)).map(lambda pair: (min(pair), max(pair[1], pair[0])))
Cells = st.tuples(*[st.integers(0, 60)] * 4).filter(lambda cells: sum(cells) > 0)


def pairs(both: int, ours: int, theirs: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Outcomes with these numbers of pairs: both right, only the first, only the second, none."""
    first = [True] * (both + ours) + [False] * (theirs + neither)
    second = [True] * both + [False] * ours + [True] * theirs + [False] * neither
    return first, second


def test_wilson_by_hand() -> None:
    # 0 of n: the upper bound is z²/(n + z²) = 3.8415 / 13.8415.
    figure = wilson(0, 10)
    assert (figure.value, figure.low, figure.num_samples) == (0.0, 0.0, 10)
    assert figure.high == pytest.approx(0.27754, abs=1e-5)
    # 8 of 10: centre (0.8 + 0.192073) / 1.384146 = 0.716741; half 1.96 · √(0.016 + 0.0096036) / 1.384146 = 0.226577.
    figure = wilson(8, 10)
    assert figure.low == pytest.approx(0.716741 - 0.226577, abs=1e-5)
    assert figure.high == pytest.approx(0.716741 + 0.226577, abs=1e-5)


def test_wilson_as_published() -> None:
    # Newcombe 1998, Stat. Med. 17:857, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for successes, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        assert wilson(successes, n).low == pytest.approx(low, abs=5e-5)
        assert wilson(successes, n).high == pytest.approx(high, abs=5e-5)
    assert wilson(1, 29).low == pytest.approx(0.0061, abs=5e-5)


@given(Counts)
def test_wilson_holds_its_share_and_stays_a_share(counts: tuple[int, int]) -> None:
    figure = wilson(*counts)
    assert 0 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.low < figure.high


@given(Counts)
def test_wilson_mirrors_and_rises(counts: tuple[int, int]) -> None:
    successes, n = counts
    assert wilson(successes, n).low == pytest.approx(1 - wilson(n - successes, n).high, abs=1e-12)
    assume(successes < n)
    assert wilson(successes, n).low <= wilson(successes + 1, n).low
    assert wilson(successes, n).high <= wilson(successes + 1, n).high


@given(Counts)
def test_wilson_narrows_with_more_of_the_same(counts: tuple[int, int]) -> None:
    few, many = wilson(*counts), wilson(4 * counts[0], 4 * counts[1])
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        wilson(successes, n)


def test_paired_difference_by_hand() -> None:
    # No pair differs: the score test keeps δ while n·δ² / (δ(1 − δ)) ≤ z², so the bounds are ± z² / (n + z²).
    figure = paired_difference(*pairs(90, 0, 0, 10))
    assert figure.value == 0
    assert figure.high == pytest.approx(3.841459 / 103.841459, abs=1e-7)
    assert figure.low == pytest.approx(-3.841459 / 103.841459, abs=1e-7)
    # All pairs differ one way: difference 1, and z²/(n + z²) away from it at the other end.
    figure = paired_difference(*pairs(0, 10, 0, 0))
    assert (figure.value, figure.high) == (1.0, 1.0)
    assert figure.low < 1


def test_paired_difference_as_published() -> None:
    # Airway hyper-responsiveness, Bentur et al. 2009, in Fagerland, Lydersen & Laake 2014, Stat. Med. 33:2850: of 21
    # children 1 both before and after, 1 only before, 7 only after; Tango's interval −0.517 … −0.026.
    figure = paired_difference(*pairs(1, 1, 7, 12))
    assert figure.value == pytest.approx(-6 / 21)
    assert figure.low == pytest.approx(-0.517, abs=5e-4)
    assert figure.high == pytest.approx(-0.026, abs=5e-4)


@given(Cells)
def test_paired_difference_holds_its_estimate_within_one(cells: tuple[int, int, int, int]) -> None:
    figure = paired_difference(*pairs(*cells))
    assert figure.value == pytest.approx((cells[1] - cells[2]) / sum(cells))
    assert -1 <= figure.low <= figure.value <= figure.high <= 1
    assert figure.low < figure.high
    assert figure.num_samples == sum(cells)


@given(Cells)
def test_paired_difference_mirrors(cells: tuple[int, int, int, int]) -> None:
    first, second = pairs(*cells)
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert one.low == pytest.approx(-other.high, abs=1e-9)
    assert one.high == pytest.approx(-other.low, abs=1e-9)


@given(Cells)
def test_zero_is_in_the_interval_exactly_if_mcnemar_does_not_reject(cells: tuple[int, int, int, int]) -> None:
    won, lost = cells[1], cells[2]
    statistic = abs(won - lost) / math.sqrt(won + lost) if won + lost else 0.0
    assume(abs(statistic - Z) > 1e-6)
    figure = paired_difference(*pairs(*cells))
    assert (figure.low <= 0 <= figure.high) == (statistic < Z)


@given(Cells)
def test_the_bounds_are_where_the_score_statistic_is_z(cells: tuple[int, int, int, int]) -> None:
    """With the nuisance share found by search over the likelihood instead of the closed form."""
    n, won, lost = sum(cells), cells[1], cells[2]
    figure = paired_difference(*pairs(*cells))
    for bound in (figure.low, figure.high):
        assert bound is not None
        if not -0.999 < bound < 0.999:
            continue
        low, high = max(0.0, -bound), (1 - bound) / 2
        for _ in range(200):  # ternary search: the log likelihood is concave in the share of `lost`

            def loss(share: float, bound: float = bound) -> float:
                terms = ((won, share + bound), (lost, share), (n - won - lost, 1 - 2 * share - bound))
                return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

            left, right = low + (high - low) / 3, high - (high - low) / 3
            low, high = (low, right) if loss(left) < loss(right) else (left, high)
        share = (low + high) / 2
        deviation = math.sqrt(n * (2 * share + bound - bound * bound))
        assert abs(won - lost - n * bound) / deviation == pytest.approx(Z, rel=1e-3)


def test_pairing_is_what_narrows_the_interval() -> None:
    paired = paired_difference(*pairs(400, 5, 7, 60))
    alone = wilson(405, 472)
    unpaired = math.sqrt(2) * (alone.high - alone.low)  # of the difference between two such shares
    assert paired.high - paired.low < 0.4 * unpaired


@pytest.mark.parametrize(("first", "second"), [([True], [True, False]), ([], []), ([[True]], [[True]])])
def test_paired_difference_refuses_what_is_not_paired(first: list[bool], second: list[bool]) -> None:
    with pytest.raises(ValueError, match="two vectors of one length"):
        paired_difference(first, second)


def test_mean_interval_by_hand() -> None:
    # 1, 2, 3: deviation 1, t(2) = 4.30265: 2 ± 4.30265 / √3.
    figure = mean_interval([1, 2, 3])
    assert (figure.value, figure.num_samples) == (2.0, 3)
    assert figure.low == pytest.approx(2 - 2.484138, abs=1e-5)
    assert figure.high == pytest.approx(2 + 2.484138, abs=1e-5)
    assert mean_interval([1, 2, 3], minimum=0.0).low == 0.0
    one = mean_interval([5])
    assert (one.value, one.low, one.high, one.num_samples) == (5.0, None, None, 1)
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval([])


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227), (471, 1.96500)],
)
def test_student_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert student_quantile(freedom) == pytest.approx(quantile, rel=1.3e-3)
    assert student_quantile(freedom) <= quantile + 1e-4


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.floats(-1e3, 1e3))
def test_mean_interval_moves_with_its_values(values: list[float], shift: float) -> None:
    figure, moved = mean_interval(values), mean_interval([value + shift for value in values])
    assert figure.low <= figure.value <= figure.high
    assert moved.value == pytest.approx(figure.value + shift, abs=1e-6)
    assert moved.high - moved.low == pytest.approx(figure.high - figure.low, abs=1e-6)


def test_intervals_cover_the_truth_95_times_of_100() -> None:
    generator = np.random.default_rng(0)
    covered = {"wilson": 0, "paired": 0, "mean": 0}
    for _ in range(400):
        ours, theirs = generator.random((2, 150)) < [[0.8], [0.75]]
        share, difference, mean = wilson(int(ours.sum()), 150), paired_difference(ours, theirs), None
        mean = mean_interval(generator.normal(3, 2, 12))
        covered["wilson"] += share.low <= 0.8 <= share.high
        covered["paired"] += difference.low <= 0.05 <= difference.high
        covered["mean"] += mean.low <= 3 <= mean.high
    for name, count in covered.items():
        assert 0.92 <= count / 400 <= 0.98, name


def test_percentiles_by_hand() -> None:
    assert percentile([1, 2], 50) == 1.5
    assert percentile([4, 1, 3, 2, 5], 95) == pytest.approx(4.8)
    assert quartiles([1, 2, 3, 4, 5]) == (2.0, 3.0, 4.0)
