"""What can be scored on translation: whatever translates and weighs translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Translated(Protocol):
    """One translation.  finished False: cut by a limit."""

    @property
    def text(self) -> str: ...

    @property
    def finished(self) -> bool: ...


class Scored(Protocol):
    """How likely a reference is: nats is the sum of −log p over its num_tokens tokens."""

    @property
    def nats(self) -> float: ...

    @property
    def num_tokens(self) -> int: ...


class Translates(Protocol):
    """A torch model or an artefact: the task cannot tell which.  Languages are codes."""

    def translate(self, texts: Sequence[str], source: str, target: str) -> Sequence[Translated]: ...

    def log_likelihood(
        self, sources: Sequence[str], references: Sequence[str], source: str, target: str
    ) -> Sequence[Scored]: ...
