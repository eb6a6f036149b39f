"""From logits to tokens: what may not be written, the most likely ones, and draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.runtime.text.likelihood import log_sum_exp
from compress.runtime.text.tensors import Ints, Logits
from compress.runtime.text.values import Decoding

_GROUPS = 64
_FIRST = 1024


@dataclass(frozen=True)
class Rules:
    """What ends a text and what may not be in it.

    ends          end tokens.
    suppressed    tokens that are never written.
    forced_last   written as the last token of a text that is cut; None: no such token.
    forced_first  how many tokens were forced at the beginning of each output; they count in its length.
    """

    ends: frozenset[int]
    suppressed: tuple[int, ...] = ()
    forced_last: int | None = None
    forced_first: int = 0

    def restrict(self, logits: Logits, tokens: Sequence[int], size: int, last: bool) -> Logits:
        """logits [vocabulary] with -inf for what may not follow `tokens`; `size` is that of n-grams not repeated.

        They may be changed in place.  last: only one token more fits.
        """
        logits[list(self.suppressed)] = -np.inf
        logits[repeating(tokens, size)] = -np.inf
        if last and self.forced_last is not None:
            forced = np.full_like(logits, -np.inf)
            forced[self.forced_last] = 0.0
            return forced
        return logits


def repeating(tokens: Sequence[int], size: int) -> list[int]:
    """Tokens that would repeat an n-gram of this size which is in `tokens` already; none for size 0."""
    if size == 0 or len(tokens) < size:
        return []
    last = tuple(tokens[len(tokens) - size + 1 :])
    starts = range(len(tokens) - size + 1)
    return [tokens[start + size - 1] for start in starts if tuple(tokens[start : start + size - 1]) == last]


def top(values: Logits, number: int) -> Ints:
    """Places of the `number` greatest values, the greatest first; of equal ones the first comes first.

    The vocabulary is not sorted: the greatest value of each of many groups is found, and no value below the
    `number`-th greatest of those can be among them.
    """
    groups = len(values) // _GROUPS
    if groups < 4 * number:
        return np.argsort(-values, kind="stable")[:number].astype(np.int64)
    highest = values[: groups * _GROUPS].reshape(_GROUPS, groups).max(axis=0)
    threshold = np.partition(highest, groups - number)[groups - number]
    places = np.flatnonzero(values >= threshold)
    return places[np.argsort(-values[places], kind="stable")][:number].astype(np.int64)


def choose(logits: Logits, decoding: Decoding, random: np.random.Generator) -> int:
    """The next token: the most likely one at temperature 0, else drawn.  logits [vocabulary].

    The draw is from softmax(logits / temperature), cut to top_k, then to top_p, as in transformers.
    """
    if decoding.temperature == 0:
        return int(logits.argmax())
    places, chances = _nucleus(logits / np.float32(decoding.temperature), decoding)
    sums = np.cumsum(chances)
    drawn = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
    return int(places[min(drawn, len(places) - 1)])


def _nucleus(logits: Logits, decoding: Decoding) -> tuple[Ints, NDArray[np.float64]]:
    """(tokens, weights) that may be drawn: cut to top_k, then to the fewest that have top_p of what is left."""
    size = len(logits)
    if decoding.top_k == 0 and decoding.top_p == 1:
        return np.arange(size), np.exp(logits.astype(np.float64) - logits.max())
    # Without top_k most nuclei lie in the first thousand; where one does not, all are sorted.
    for number in (min(decoding.top_k, size),) if decoding.top_k else (min(_FIRST, size), size):
        places = top(logits, number)
        whole = log_sum_exp(logits[places] if decoding.top_k else logits)
        chances = np.exp(logits[places].astype(np.float64) - whole)
        if chances.sum() >= decoding.top_p:
            break
    before = np.cumsum(chances) - chances  # of those that are more likely
    number = max(1, int(np.count_nonzero(before < decoding.top_p)))
    return places[:number], chances[:number]
