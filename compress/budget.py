"""What of its budget a measured artefact misses, in words."""

from __future__ import annotations

from collections.abc import Iterator

from compress.recipe import Budget
from compress.runtime.measurement import Measurement
from compress.tasks.base import Scores

_ROUNDING = 1e-9  # shares are quotients of counts: 0.893 − 0.888 is not 0.005 in binary


def misses(budget: Budget, measured: Measurement, float_scores: Scores) -> Iterator[str]:
    """A line for each limit that is not kept.

    A score falls from the float model's own figure on the same data, or, where it compares with the float model
    (agreement, identical), from 1.
    """
    for what, limit, taken in (
        ("the artefact", budget.size_bytes, measured.size_bytes),
        ("the model file", budget.model_size_bytes, measured.model_bytes),
        ("the process, at its peak,", budget.peak_memory_bytes, measured.peak_rss_bytes),
    ):
        if limit is not None and taken > limit:
            yield f"{what} takes {both(taken)}, the budget allows {both(limit)}"
    for name, points in sorted(budget.max_drop.items()):
        if name not in measured.scores:
            yield f"{name} was not measured (top5 needs more than five classes): take it out of budget.max_drop"
            continue
        before = float_scores[name].value if name in float_scores else 1.0
        worse, unit = worsening(name, before, measured.scores[name].value)
        if worse > points + _ROUNDING:
            yield f"{name} is worse by {worse:.2f} {unit}, the budget allows {points:g}"
    ratio = measured.latency_ratio
    if budget.latency_ratio is not None and ratio is not None and ratio.value > budget.latency_ratio:
        yield f"the latency is {ratio.value:.3f} of the float model's, the budget allows {budget.latency_ratio:g}"


def both(size: int) -> str:
    """Bytes, and what they are in both kinds of units: '5,000,001 bytes (5.00 MB, 4.77 MiB)'."""
    decimal, binary = ("GB", "GiB") if size >= 10**9 else ("MB", "MiB")
    power = 3 if size >= 10**9 else 2
    return f"{size:,} bytes ({size / 1000**power:.2f} {decimal}, {size / 1024**power:.2f} {binary})"


def worsening(name: str, before: float, now: float) -> tuple[float, str]:
    """By how much a score became worse, and in what unit: shares in points of a hundred, likelihoods in nats."""
    if name.startswith("nll_"):
        return now - before, "nats"
    if name.startswith("frechet_"):
        return (now / before - 1) * 100, "% of the float model's"
    if name in ("chrf", "bleu"):  # in points already
        return before - now, "points"
    return (before - now) * 100, "points"
