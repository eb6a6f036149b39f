"""SessionRun: rows that a session is writing, a token at a time, whatever the session keeps of those before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from compress.runtime.text.tensors import Ints, Logits


class State(Protocol):
    """What a session keeps of the rows that it has read."""

    def select(self, rows: Ints) -> None:
        """Keep these rows, in this order, some perhaps more than once."""


class SessionRun:
    """A Run.  logits: float32 [rows, vocabulary], of the next token of each.

    step  reads tokens [rows, 1] into the state and gives their logits, [rows, 1, vocabulary]; they are copied.
    """

    def __init__(self, state: State, logits: Logits, step: Callable[[Ints], Logits]) -> None:
        self.state, self.logits, self.step = state, logits[:, 0].copy(), step

    def select(self, rows: Ints) -> None:
        """Go on with these rows, in this order, some perhaps more than once."""
        if np.array_equal(rows, np.arange(len(self.logits))):
            return
        self.state.select(rows)
        self.logits = self.logits[rows]

    def advance(self, tokens: Ints) -> None:
        """Append a token to each row.  tokens [rows]."""
        self.logits = self.step(tokens[:, None])[:, 0].copy()
