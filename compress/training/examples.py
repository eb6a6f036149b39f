"""Examples: what a model is trained on, and in which order: a function of the seed and the epoch, of nothing else."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

NOTHING = -100  # as a label: nothing is asked there


@dataclass(frozen=True)
class Batch:
    """Some examples.

    inputs  the model's positional arguments, the batch in front.
    labels  int64: the class of each row of the model's logits, NOTHING where none is asked.  [N] of images; of texts
            [N, T], the token that should come next at each place.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor


class Examples(Protocol):
    """A set of labelled examples that a model can be given."""

    def __len__(self) -> int: ...

    def batch(self, rows: Sequence[int], draw: np.random.Generator | None) -> Batch:
        """The examples of these rows; varied at random by `draw` (augmentation), or as they are."""
        ...


@functools.lru_cache(maxsize=2)  # a batch may begin in one epoch and end in the next
def order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """All rows once, in the order of that epoch; not to be changed."""
    shuffled: NDArray[np.int64] = np.random.default_rng((seed, epoch)).permutation(count)
    return shuffled


def rows_of_step(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The rows that step `step` reads: epochs follow each other without a gap, so that every batch is full."""
    rows: list[int] = []
    place = step * batch_size
    while len(rows) < batch_size:
        epoch, start = divmod(place + len(rows), count)
        rows += order(count, seed, epoch)[start : start + batch_size - len(rows)].tolist()
    return rows
