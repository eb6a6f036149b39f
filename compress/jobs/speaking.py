"""An artefact's translator that translates and scores as its recipe decodes, with a progress bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compress.passes.base import Progress
from compress.runtime.text import Decoding, Likelihood, Translator
from compress.runtime.text import Translation as Translated

_CHUNK = 4  # batches a step of the progress bar: texts of like length still find each other


@dataclass(frozen=True)
class Speaker:
    """A Translates: an artefact's translator, with the recipe's decoding."""

    translator: Translator
    decoding: Decoding
    batch_size: int
    progress: Progress

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[Translated]:
        size = self.batch_size * _CHUNK
        chunks = [texts[start : start + size] for start in range(0, len(texts), size)]
        done: list[Translated] = []
        for chunk in self.progress(chunks, f"translating {source}-{target}", len(chunks)):
            done += self.translator.translate(chunk, source, target, self.decoding, self.batch_size)
        return done

    def log_likelihood(
        self, sources: Sequence[str], references: Sequence[str], source: str, target: str
    ) -> list[Likelihood]:
        size = self.batch_size * _CHUNK
        starts = range(0, len(sources), size)
        done: list[Likelihood] = []
        for start in self.progress(starts, f"likelihood {source}-{target}", len(starts)):
            now = slice(start, start + size)
            done += self.translator.log_likelihood(sources[now], references[now], source, target)
        return done
