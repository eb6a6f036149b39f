"""Teachers of sequences that tests can foresee."""

from __future__ import annotations

from collections.abc import Sequence

from compress.runtime.text.values import Likelihood, Translation
from compress.tasks.translation import Example

TEXTS = ("Good morning.", "Where is the station?", "It rains.", "Thank you very much.", "One, two, three.", "Goodbye.")
BACKWARDS = tuple(Example("en", "fr", text, text.upper(), row) for row, text in enumerate(TEXTS))


class Backwards:
    """A `Writer` whose translations are the sources backwards; a longer one it holds less likely a token."""

    sha256 = "backwards"

    def __init__(self) -> None:
        self.translated: list[str] = []

    def open(self) -> Backwards:
        return self

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translation]:
        self.translated += texts
        return [Translation(text[::-1], (1,), True) for text in texts]

    def log_likelihood(
        self, sources: Sequence[str], references: Sequence[str], source: str, target: str
    ) -> list[Likelihood]:
        return [Likelihood(float(len(text)) ** 2, len(text)) for text in references]
