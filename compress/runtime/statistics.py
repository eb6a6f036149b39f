"""What interleaved times say: percentiles, and the ratio of two models with its spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES = 2000


@dataclass(frozen=True)
class Ratio:
    """This model's time as a share of the other's, from pairs of runs that followed each other.

    value          median of the pairs' ratios.
    quartile_low   a quarter of the pairs lies below.
    quartile_high  a quarter of the pairs lies above.
    low, high      95 % interval of the median, by resampling the pairs.
    """

    value: float
    quartile_low: float
    quartile_high: float
    low: float
    high: float
    num_pairs: int


def ratio_of(times: Sequence[float], reference: Sequence[float]) -> Ratio:
    """times[i] / reference[i], i over the pairs, at least one."""
    ratios = np.asarray(times, np.float64) / np.asarray(reference, np.float64)
    resamples = np.random.default_rng(0).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[resamples], axis=1), [2.5, 97.5])
    quartile_low, median, quartile_high = np.percentile(ratios, [25, 50, 75])
    return Ratio(float(median), float(quartile_low), float(quartile_high), float(low), float(high), len(ratios))


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear between the nearest values."""
    return float(np.percentile(np.asarray(values, np.float64), percent))
