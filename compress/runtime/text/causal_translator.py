"""Translations by a decoder alone, which is asked by a prompt."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compress.runtime.artefact import TOKENIZER
from compress.runtime.text.causal import CausalModel, Prefix, shared
from compress.runtime.text.choosing import Rules
from compress.runtime.text.generation import Run
from compress.runtime.text.likelihood import token_nats
from compress.runtime.text.translator import ENDLESS, Translator, batches, opened
from compress.runtime.text.values import Likelihood

_PREFIXES = 8  # language pairs whose shots are kept read
_LEAST = 8  # tokens that a shared prefix must have to be worth a run of its own
_PROBES = ("A", "1")


class CausalTranslator(Translator):
    """A decoder-only model that is asked by a prompt.  What all prompts of a language pair begin with is read once."""

    def __init__(self, directory: Path, threads: int) -> None:
        self.model, [tokenizer] = opened(lambda: CausalModel(directory, threads), [directory / TOKENIZER])
        super().__init__(directory, tokenizer, tokenizer)
        self.prefixes: OrderedDict[tuple[str, str], Prefix | None] = OrderedDict()
        self.reuse_prefixes = True

    def log_likelihood(
        self, sources: Sequence[str], references: Sequence[str], source: str, target: str
    ) -> list[Likelihood]:
        self._check_languages(source, target)
        prompts = [self._input(text, source, target) for text in sources]
        written = [self._encode(self.prompt.separator + reference) for reference in references]
        pairs = [*zip(prompts, written, strict=True)]
        context = self.settings.context
        for number, (prompt, own) in enumerate(pairs):
            if context is not None and len(prompt) + len(own) > context:
                raise self._too_long(number, "the prompt with its reference", len(prompt) + len(own), context)
        prefix = self._prefix(source, target)
        found = [Likelihood(0.0, 0)] * len(pairs)
        for batch in batches(pairs):
            nats = self._nats([pairs[number] for number in batch], prefix)
            for number, value in zip(batch, nats, strict=True):
                found[number] = Likelihood(value, len(written[number]))
        return found

    def _nats(self, pairs: Sequence[tuple[list[int], list[int]]], prefix: Prefix | None) -> list[float]:
        """-log p of what is written after each prompt.  All rows end together, so the last columns are those needed."""
        cache, tokens, real = self.model.padded([[*prompt, *own[:-1]] for prompt, own in pairs], prefix)
        columns = tokens.shape[1]
        longest = max(len(own) for _, own in pairs)
        if longest > columns:  # the prefix reaches into what is scored: read it again
            cache, tokens, real = self.model.padded([[*prompt, *own[:-1]] for prompt, own in pairs], None)
            columns = tokens.shape[1]
        nats = [0.0] * len(pairs)
        for column, logits in self.model.read(cache, tokens, real, longest):
            for row, (_, own) in enumerate(pairs):
                offset = columns - len(own)  # the column that foretells the first of the written tokens
                begin = max(0, column - offset)
                targets = own[begin : max(0, column + logits.shape[1] - offset)]
                if targets:
                    place = offset + begin - column
                    scored = logits[row, place : place + len(targets)]
                    nats[row] += float(token_nats(scored, np.array(targets)).sum())
        return nats

    def _input(self, text: str, source: str, target: str) -> list[int]:
        return self.prompt_tokens(self.prompt.render(text, source, target))

    def prompt_tokens(self, prompt: str) -> list[int]:
        tokens, first = self._encode(prompt), self.settings.first
        return [first, *tokens] if self.prompt.add_bos and first is not None else tokens

    def begin(self, tokens: Sequence[int]) -> Run:
        return self.model.begin([tokens])

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _begin(self, inputs: Sequence[list[int]], source: str, target: str) -> Run:
        return self.model.begin(inputs, self._prefix(source, target))

    def _prefix(self, source: str, target: str) -> Prefix | None:
        """What the prompts of a language pair begin with, read; None where that is too little.

        It is found by asking for two texts that begin differently.  Whether a true prompt begins with all of it is
        looked up again for each one, since a text may melt into the tokens before it.
        """
        if not self.reuse_prefixes:
            return None
        pair = source, target
        if pair not in self.prefixes:
            one, other = (self._input(probe, source, target) for probe in _PROBES)
            length = shared(one, other)
            self.prefixes[pair] = self.model.prefix(one[:length]) if length >= _LEAST else None
            if len(self.prefixes) > _PREFIXES:
                self.prefixes.popitem(last=False)
        self.prefixes.move_to_end(pair)
        return self.prefixes[pair]

    def _rules(self, source: str, target: str) -> Rules:
        return Rules(self._ends(), self.settings.suppressed, self.settings.forced_last)

    def _check_room(self, number: int, length: int) -> None:
        context = self.settings.context
        if context is not None and length >= context:
            raise self._too_long(number, "its prompt", length, context)

    def _room(self, length: int, target: str) -> int:
        return ENDLESS if self.settings.context is None else self.settings.context - length
