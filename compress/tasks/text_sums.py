"""Sums over rows of text, as they are and resampled, and the figures that are quotients of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from compress.tasks.base import Scores
from compress.tasks.bootstrap import Float64, Resampled, Resampling
from compress.tasks.statistics import wilson
from compress.tasks.translation_outputs import PairOutputs

Sums = tuple[Float64, Float64]  # [S] of the rows as they are, [resamples, S]


def likelihood_sums(draws: Resampling, found: PairOutputs) -> Sums:
    """Sums of nats, tokens and characters: [3] and [resamples, 3]."""
    rows = np.array([found.nats, found.num_tokens, found.num_chars], dtype=np.float64).T
    return draws.sums(found.rows, rows)


def ratio_of_sums(sums: Iterable[Sums], per: int) -> Resampled:
    """All first sums together, over all those at place `per`."""
    total, resampled = (np.sum(parts, axis=0) for parts in zip(*sums, strict=True))
    of = Resampled(float(total[0]), resampled[..., 0])
    return of.over(Resampled(float(total[per]), resampled[..., per]))


def shares(name: str, successes: Mapping[str, int], counts: Mapping[str, int]) -> Scores:
    """Overall and by pair, with Wilson intervals; nothing where there is nothing to count."""
    if not sum(counts.values()):
        return {}
    scores = {name: wilson(sum(successes.values()), sum(counts.values()))}
    return scores | {f"{name}.{pair}": wilson(count, counts[pair]) for pair, count in successes.items()}
