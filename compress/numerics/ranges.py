"""Ranges of activations, from histograms that are filled while data streams by: memory does not grow with the data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BINS = 2048
EXACT = 2**24  # float32, in which torch counts, holds every integer up to here
CANDIDATES = 100  # clipped ranges that the searches try


class Histogram:
    """Counts of one tensor's values between its smallest and largest, which a first pass over the data finds.

    First `observe_range` for all batches, then `observe_counts` for the same batches.
    """

    def __init__(self) -> None:
        self.low, self.high = float("inf"), float("-inf")
        self.counts = torch.zeros(BINS, dtype=torch.float64)

    def observe_range(self, x: Tensor) -> None:
        low, high = torch.aminmax(x.detach())
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def observe_counts(self, x: Tensor) -> None:
        # not low + (high − low), which may fall short of a tiny high and leave it uncounted
        end = max(self.high, self.low + 1e-12)
        for part in torch.split(x.detach().float().flatten(), EXACT):
            self.counts += torch.histc(part, BINS, self.low, end).double()

    @property
    def centres(self) -> Tensor:
        """The middle of every bin, float64 [BINS]."""
        width = max(self.high - self.low, 1e-12) / BINS
        return self.low + (torch.arange(BINS, dtype=torch.float64) + 0.5) * width


# A range finder: histogram, number of bits, percentile → (low, high), both including zero.
RangeFinder = Callable[[Histogram, int, float], tuple[float, float]]


def minmax(histogram: Histogram, num_bits: int, percentile: float) -> tuple[float, float]:
    """Everything that was seen."""
    return min(histogram.low, 0.0), max(histogram.high, 0.0)


def percentile_range(histogram: Histogram, num_bits: int, percentile: float) -> tuple[float, float]:
    """What leaves out (100 − percentile) % of the values, half of it at each end that is not zero."""
    share = histogram.counts.cumsum(0) / histogram.counts.sum()
    outside = (100 - percentile) / 100
    # a one-sided tensor (after a ReLU) has all its outliers at the other end
    below = 0.0 if histogram.low >= 0 else outside / (2 if histogram.high > 0 else 1)
    above = outside - below
    centres = histogram.centres
    last = BINS - 1
    low = centres[min(int(torch.searchsorted(share, below, right=True)), last)]
    high = centres[min(int(torch.searchsorted(share, 1 - above)), last)]
    low_value = histogram.low if below == 0 else max(float(low), histogram.low)
    high_value = histogram.high if above == 0 else min(float(high), histogram.high)
    return min(low_value, 0.0), max(high_value, 0.0)


def mse(histogram: Histogram, num_bits: int, percentile: float) -> tuple[float, float]:
    """The clipped range whose grid loses the least squared error (rounding and clipping together)."""

    def loss(low: float, high: float) -> float:
        step = max(high - low, 1e-12) / (2**num_bits - 1)
        centres = histogram.centres
        rounded = ((centres.clamp(low, high) - low) / step).round() * step + low
        # inside a step the values are spread evenly: bins finer than a step hide that part of the error
        return float(((centres - rounded).square() * histogram.counts).sum())

    return _search(histogram, loss)


def entropy(histogram: Histogram, num_bits: int, percentile: float) -> tuple[float, float]:
    """The clipped range whose quantized distribution is nearest in KL divergence (TensorRT, Migacz 2017)."""
    levels = 2**num_bits

    def loss(low: float, high: float) -> float:
        centres = histogram.centres
        inside = (centres >= low) & (centres <= high)
        if int(inside.sum()) < levels // 2:
            return float("inf")
        p = histogram.counts * inside
        first, last = int(inside.nonzero()[0]), int(inside.nonzero()[-1])
        p[first] += histogram.counts[:first].sum()
        p[last] += histogram.counts[last + 1 :].sum()
        bins = ((centres - low) / max(high - low, 1e-12) * (levels - 1)).round().long().clamp(0, levels - 1)
        filled = (histogram.counts > 0) & inside
        mass = torch.zeros(levels, dtype=torch.float64).index_add_(0, bins[filled], histogram.counts[filled])
        size = torch.zeros(levels, dtype=torch.float64).index_add_(0, bins[filled], filled[filled].double())
        q = torch.zeros_like(p)
        q[filled] = (mass / size.clamp_min(1))[bins[filled]]
        p, q = p / p.sum(), q / q.sum().clamp_min(1e-12)
        used = p > 0
        return float((p[used] * (p[used] / q[used].clamp_min(1e-12)).log()).sum())

    return _search(histogram, loss)


FINDERS: dict[str, RangeFinder] = {
    "minmax": minmax,
    "percentile": percentile_range,
    "mse": mse,
    "entropy": entropy,
}


def affine_grid(low: float, high: float, num_bits: int) -> tuple[float, int]:
    """Scale and zero point of q in [0, 2^b − 1] that cover [low, high], to half a step, and hold zero exactly."""
    limit = 2**num_bits - 1
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(torch.tensor((high - low) / limit, dtype=torch.float32))
    if scale < torch.finfo(torch.float32).tiny:  # all zero, or so near that float32 has no scale for it
        return 1.0, 0
    return scale, min(max(round(-low / scale), 0), limit)


def symmetric_grid(high: float, num_bits: int) -> tuple[float, int]:
    """Scale and zero point of q in [0, 2^b − 1] that cover [−high, high] with zero in the middle, 2^(b−1).

    As signed codes q − 2^(b−1) the zero point is 0; the lowest of them is not needed.
    """
    middle = 2 ** (num_bits - 1)
    scale, _ = affine_grid(0.0, high * (2**num_bits - 1) / (middle - 1), num_bits)
    return scale, middle


def _search(histogram: Histogram, loss: Callable[[float, float], float]) -> tuple[float, float]:
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    shares = [1 - i / (CANDIDATES + 25) for i in range(CANDIDATES)]  # down to a fifth of what was seen
    best = min(shares, key=lambda share: loss(low * share, high * share))
    return low * best, high * best
