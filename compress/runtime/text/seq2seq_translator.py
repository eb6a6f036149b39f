"""Translations by an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.errors import ArtefactError, DataError, unknown
from compress.runtime.artefact import TARGET_TOKENIZER, TOKENIZER
from compress.runtime.text.choosing import Rules
from compress.runtime.text.generation import Run
from compress.runtime.text.likelihood import token_nats
from compress.runtime.text.seq2seq import Seq2SeqModel
from compress.runtime.text.translator import (
    ENDLESS,
    Translator,
    batches,
    opened,
)
from compress.runtime.text.values import Likelihood


class Seq2SeqTranslator(Translator):
    """An encoder–decoder."""

    def __init__(self, directory: Path, threads: int) -> None:
        target = directory / TARGET_TOKENIZER
        files = [directory / TOKENIZER, *([target] if target.is_file() else [])]
        self.model, tokenizers = opened(lambda: Seq2SeqModel(directory, threads), files)
        super().__init__(directory, tokenizers[0], tokenizers[-1])
        if self.settings.decoder_start is None or not self.settings.ends:
            raise ArtefactError(f"{directory}: neither config names decoder_start_token_id and eos_token_id")
        self.before, self.after = self._surroundings()

    def log_likelihood(
        self, sources: Sequence[str], references: Sequence[str], source: str, target: str
    ) -> list[Likelihood]:
        self._check_languages(source, target)
        inputs = [self._input(text, source, target) for text in sources]
        start, end = self._start(target), self.settings.ends[0]
        written = [[*self._target(reference), end] for reference in references]
        pairs = [*zip(inputs, written, strict=True)]
        context = self.settings.context
        for number, (own, labels) in enumerate(pairs):
            self._check_room(number, len(own))
            if context is not None and len(start) + len(labels) - 1 > context:
                raise self._too_long(number, "its reference", len(start) + len(labels) - 1, context)
        found = [Likelihood(0.0, 0)] * len(pairs)
        for batch in batches(pairs):
            nats = self._nats([pairs[number] for number in batch], start)
            for number, value in zip(batch, nats, strict=True):
                found[number] = Likelihood(value, len(written[number]))
        return found

    def _nats(self, pairs: Sequence[tuple[list[int], list[int]]], start: list[int]) -> list[float]:
        """-log p of what is written after `start`.  Rows begin together; what follows a row's end is not looked at."""
        memory = self.model.encode([own for own, _ in pairs])
        longest = max(len(labels) for _, labels in pairs)
        tokens = np.full((len(pairs), len(start) + longest - 1), start[0], np.int64)
        for row, (_, labels) in enumerate(pairs):
            given = [*start, *labels[:-1]]
            tokens[row, : len(given)] = given
        nats = [0.0] * len(pairs)
        for column, logits in self.model.read(memory, tokens, longest):
            first = column - (len(start) - 1)  # of the labels, the one that the first column foretells
            for row, (_, labels) in enumerate(pairs):
                targets = labels[first : first + logits.shape[1]]
                if targets:
                    nats[row] += float(token_nats(logits[row, : len(targets)], np.array(targets)).sum())
        return nats

    def _input(self, text: str, source: str, target: str) -> list[int]:
        return [*self._front(source, target), *self.prompt_tokens(self.prompt.render(text, source, target))]

    def prompt_tokens(self, prompt: str) -> list[int]:
        return [*self.tokenizer.encode(prompt, add_special_tokens=False).ids, *self.after]

    def begin(self, tokens: Sequence[int]) -> Run:
        return self.model.begin([tokens], [self.settings.decoder_start or 0])

    def _front(self, source: str, target: str) -> list[int]:
        """Tokens in front of the encoder's input."""
        named = self.prompt.source_tokens
        if not named:
            return self.before
        code = self.prompt.named_in_front(source, target)
        if code not in named:
            raise DataError(unknown("language", code, named))
        return self._named(self.tokenizer, named[code])

    def _start(self, target: str) -> list[int]:
        """What the decoder reads before it writes."""
        named, first = self.prompt.target_tokens, self.settings.forced_first
        if named and target not in named:
            raise DataError(unknown("language", target, named))
        forced = self._named(self.target_tokenizer, named[target]) if named else [] if first is None else [first]
        return [self.settings.decoder_start or 0, *forced]

    def _target(self, text: str) -> list[int]:
        return list(self.target_tokenizer.encode(text, add_special_tokens=False).ids)

    def _surroundings(self) -> tuple[list[int], list[int]]:
        """What the tokenizer itself puts before and after a text; an end token where it puts nothing."""
        bare = self.tokenizer.encode("a", add_special_tokens=False).ids
        whole = self.tokenizer.encode("a", add_special_tokens=True).ids
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return whole[:start], whole[start + len(bare) :] or ([] if start else [self.settings.ends[0]])
        raise ArtefactError(f"{self.directory / TOKENIZER}: its special tokens change the text between them")

    def _begin(self, inputs: Sequence[list[int]], source: str, target: str) -> Run:
        return self.model.begin(inputs, self._start(target))

    def _rules(self, source: str, target: str) -> Rules:
        forced = len(self._start(target)) - 1
        return Rules(self._ends(), self.settings.suppressed, self.settings.forced_last, forced)

    def _check_room(self, number: int, length: int) -> None:
        context = self.settings.context
        if context is not None and length > context:
            raise self._too_long(number, "it", length, context)

    def _room(self, length: int, target: str) -> int:
        # The last token that is written is not read again.
        return ENDLESS if self.settings.context is None else self.settings.context + 1 - len(self._start(target))
