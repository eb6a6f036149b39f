"""Intervals: how far a figure that was measured on a sample may be from the truth.  All are two-sided, 95 %."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from compress.tasks.base import Figure

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


def wilson(successes: int, num_samples: int) -> Figure:
    """A share with its score interval.  Wilson 1927, doi:10.1080/01621459.1927.10502953.

    Stays within [0, 1], and is not empty at 0 or 1.  Raises ValueError unless 0 ≤ successes ≤ num_samples ≥ 1.
    """
    if not 0 <= successes <= num_samples or num_samples < 1:
        raise ValueError(f"{successes} of {num_samples} is not a share")
    share, n = successes / num_samples, num_samples
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    # Rounding must not push a bound past the share (0 of n: centre and half are equal up to the last bit).
    return Figure(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), num_samples)


def paired_difference(correct: ArrayLike, reference: ArrayLike) -> Figure:
    """Share of successes in `correct` minus that in `reference`, two outcomes of the same samples.

    correct, reference: bool [N], the same sample at the same place.  The interval is the score interval for paired
    proportions, Tango 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B: the differences that
    a score test on the discordant pairs does not reject.  Zero lies in it exactly if McNemar's test does not reject.
    """
    ours, theirs = np.asarray(correct, dtype=bool), np.asarray(reference, dtype=bool)
    if ours.shape != theirs.shape or ours.ndim != 1 or not len(ours):
        raise ValueError(f"paired outcomes must be two vectors of one length, not {ours.shape} and {theirs.shape}")
    n = len(ours)
    won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    difference = (won - lost) / n

    def kept(delta: float) -> bool:
        """Whether the score test keeps the hypothesis that the true difference is `delta`."""
        spread = delta * (1 - delta)
        b = -won - lost + (2 * n - won + lost) * delta
        # The share of pairs that only the reference gets right, if delta were true and else most likely.
        only_reference = (math.sqrt(b * b + 8 * n * lost * spread) - b) / (4 * n)
        variance = max(0.0, n * (2 * only_reference + spread))
        return abs(won - lost - n * delta) <= Z * math.sqrt(variance)

    return Figure(difference, _edge(kept, difference, -1.0), _edge(kept, difference, 1.0), n)


def mean_interval(values: ArrayLike, minimum: float = -math.inf) -> Figure:
    """The mean of values [N] with Student's interval, cut at `minimum`, below which no value can lie.

    A single value says nothing of its spread: low and high are None then.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError(f"a mean is of a vector with at least one value, not of shape {numbers.shape}")
    n, mean = len(numbers), float(numbers.mean())
    if n == 1:
        return Figure(mean, None, None, 1)
    half = student_quantile(n - 1) * float(numbers.std(ddof=1)) / math.sqrt(n)
    return Figure(mean, max(minimum, mean - half), mean + half, n)


def student_quantile(degrees_of_freedom: int) -> float:
    """Student's 97.5 % quantile.  Exact for 1 and 2; above, Abramowitz & Stegun 26.7.5, at most 0.13 % small."""
    if degrees_of_freedom == 1:
        return math.tan(0.475 * math.pi)
    if degrees_of_freedom == 2:
        return 0.95 / math.sqrt(2 * 0.975 * 0.025)
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + math.fsum(term / degrees_of_freedom**power for power, term in enumerate(terms, start=1))


def percentile(values: ArrayLike, percent: float) -> float:
    """The value below which `percent` % of values [N] lie, linear between neighbours: percentile([1, 2], 50) = 1.5."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), percent))


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """(lower quartile, median, upper quartile) of values [N]."""
    return percentile(values, 25), percentile(values, 50), percentile(values, 75)


def _edge(kept: Callable[[float], bool], inside: float, outside: float) -> float:
    """The end of the kept stretch between `inside`, which is kept, and `outside`, by bisection to the last bit."""
    if kept(outside):
        return outside
    while (middle := (inside + outside) / 2) not in (inside, outside):
        inside, outside = (middle, outside) if kept(middle) else (inside, middle)
    return inside
