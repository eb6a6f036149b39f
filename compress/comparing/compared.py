"""What artefacts did on the same data, beside each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compress.tasks.base import Scores


@dataclass(frozen=True)
class Changed:
    """A sample whose answer changed: which it is, by how much, what is right, and both answers."""

    item: str
    change: float
    truth: str
    one: str
    other: str


@dataclass(frozen=True)
class Compared:
    """scores: of each artefact.  differences: of each pair that was asked for.  changed: from the first to the second
    artefact, those most that changed most; `unit` says in what."""

    scores: tuple[Scores, ...]
    differences: tuple[Scores, ...]
    changed: tuple[Changed, ...]
    unit: str


NUM_CHANGED = 10
Pair = tuple[int, int]  # places of an artefact and of the one that it is compared with


def most_changed(
    changes: NDArray[np.floating], told: Callable[[int], tuple[str, str, str, str]]
) -> tuple[Changed, ...]:
    """The samples that changed most, of equal ones the first.

    changes  [samples].
    told     by a sample's place: which it is, what is right, and both answers.
    """
    found = []
    for place in np.argsort(-changes, kind="stable")[:NUM_CHANGED].tolist():
        item, truth, one, other = told(place)
        found.append(Changed(item, float(changes[place]), truth, one, other))
    return tuple(found)
