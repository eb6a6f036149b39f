"""Bootstrap intervals: a figure of a whole set of rows, and how it would move had other rows been drawn.

Efron 1979, doi:10.1214/aos/1176344552; for translations Koehn 2004, "Statistical significance tests for machine
translation evaluation".  A resample is how often each row is drawn, so that the statistics of all resamples are one
matrix product; and the same resamples serve both sides of a comparison, which pairs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.tasks.base import Figure

NUM_RESAMPLES = 1000
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """A figure of the rows as they are, and of each resample [NUM_RESAMPLES]; nan where a resample has none."""

    value: float
    resamples: Float64

    def __sub__(self, other: Resampled) -> Resampled:
        return Resampled(self.value - other.value, self.resamples - other.resamples)

    def over(self, other: Resampled) -> Resampled:
        """The ratio; nan where `other` is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.append(self.resamples, self.value) / np.append(other.resamples, other.value)
        ratios[~np.isfinite(ratios)] = np.nan
        return Resampled(float(ratios[-1]), ratios[:-1])

    def figure(self, num_samples: int) -> Figure:
        """The value with the middle 95 % of the resamples.

        The interval is widened to the value where a skewed figure of few rows lies outside.  A single row says nothing
        of its spread: low and high are None then, as where no resample has a figure.
        """
        known = self.resamples[np.isfinite(self.resamples)]
        if num_samples < 2 or not len(known):
            return Figure(self.value, None, None, num_samples)
        low, high = np.percentile(known, [2.5, 97.5])
        return Figure(self.value, min(float(low), self.value), max(float(high), self.value), num_samples)


def mean_of(figures: Iterable[Resampled]) -> Resampled:
    """The unweighted mean."""
    each = list(figures)
    resamples = np.mean([figure.resamples for figure in each], axis=0)
    return Resampled(float(np.mean([figure.value for figure in each])), resamples)


@dataclass(frozen=True)
class Resampling:
    """Draws of rows with replacement, the same for all that is measured on them.

    rows   the numbers of all rows, ascending and unique.
    draws  [NUM_RESAMPLES, rows]: how often each is drawn.
    """

    rows: tuple[int, ...]
    draws: Float64

    def sums(self, rows: Sequence[int], statistics: Float64) -> tuple[Float64, Float64]:
        """The statistics [N, S] of these N rows summed: [S], and over each resample: [NUM_RESAMPLES, S]."""
        places = np.searchsorted(self.rows, rows)
        return statistics.sum(axis=0), self.draws[:, places] @ statistics

    def scored(self, rows: Sequence[int], statistics: Float64, score: Callable[[Float64], Float64]) -> Resampled:
        """The score of summed statistics, score: [..., S] → [...]; nan for a resample that draws none of the rows."""
        total, resampled = self.sums(rows, statistics)
        drawn = self.draws[:, np.searchsorted(self.rows, rows)].any(axis=1)
        return Resampled(float(score(total)), np.where(drawn, score(resampled), np.nan))


def resampling(rows: Iterable[int], seed: int = 0) -> Resampling:
    """NUM_RESAMPLES draws of as many rows as there are.  Raises ValueError if there is none."""
    unique = tuple(sorted(set(rows)))
    if not unique:
        raise ValueError("a bootstrap needs at least one row")
    shares = np.full(len(unique), 1 / len(unique))
    draws = np.random.default_rng(seed).multinomial(len(unique), shares, size=NUM_RESAMPLES)
    return Resampling(unique, draws.astype(np.float64))
