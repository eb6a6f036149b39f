"""-log p of given tokens under logits, for vocabularies so wide that a second copy of the logits would hurt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from compress.runtime.text.tensors import Ints, Logits

_BLOCK = 1 << 15  # of the vocabulary: what is computed on stays in the cache of a core


def log_sum_exp(row: Logits) -> float:
    """log Σ exp(row), float32 in blocks of the vocabulary, summed in float64.  row [vocabulary]."""
    highest = np.float32(row.max())
    total = 0.0
    for start in range(0, len(row), _BLOCK):
        block = row[start : start + _BLOCK] - highest
        total += float(np.exp(block, out=block).sum(dtype=np.float64))
    return float(highest) + float(np.log(total))


def token_nats(logits: Logits, targets: Ints) -> NDArray[np.float64]:
    """-log softmax(logits)[target] of each position.  logits [positions, vocabulary], targets [positions]."""
    pairs = zip(logits, targets, strict=True)
    return np.array([log_sum_exp(row) - float(row[target]) for row, target in pairs], np.float64)
