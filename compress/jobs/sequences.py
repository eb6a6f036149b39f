"""Calibration texts of translators as tokens: what a model reads when it works, at most `longest` tokens at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from compress.data.pairs import parse_pair
from compress.data.prompts import Prompt
from compress.tasks.translation import Example

if TYPE_CHECKING:
    from compress.models.translators import LoadedTranslator


def examples_in_a_row(
    source: LoadedTranslator, examples: Sequence[Example], longest: int
) -> Iterator[tuple[list[int]]]:
    """Of a decoder: (input ids,), calibration pairs of a language pair as its prompt shows them, one after another."""
    prompt = source.prompt
    first = source.model.generation_config.bos_token_id
    begin = [first] if prompt.add_bos and first is not None else []
    for pair in dict.fromkeys(example.pair for example in examples):
        tokens = list(begin)
        for example in (each for each in examples if each.pair == pair):
            text = _shown(prompt, example)
            more = source.tokenizer.encode(text, add_special_tokens=False).ids
            if len(tokens) > len(begin) and len(tokens) + len(more) > longest:
                yield (tokens,)
                tokens = list(begin)
            tokens = [*tokens, *more][:longest]
        if len(tokens) > len(begin):
            yield (tokens,)


def _shown(prompt: Prompt, example: Example) -> str:
    """A pair of sentences as the prompt shows an example, or, where it shows none, as question and answer."""
    languages = parse_pair(example.pair)
    if prompt.example:
        one = replace(prompt, template="{examples}", shots={example.pair: ((example.source, example.reference),)})
        return one.render("", *languages)
    return prompt.render(example.source, *languages) + prompt.separator + example.reference


def sentence_pairs(
    source: LoadedTranslator, examples: Sequence[Example], longest: int
) -> Iterator[tuple[list[int], ...]]:
    """Of an encoder–decoder: (input ids, attention mask, decoder input ids), a calibration pair each."""
    settings, prompt = source.model.generation_config, source.prompt
    ends = settings.eos_token_id
    end = ends[0] if isinstance(ends, list) else ends
    written = source.target_tokenizer or source.tokenizer
    for example in examples:
        from_language, to_language = parse_pair(example.pair)
        text = prompt.render(example.source, from_language, to_language)
        marks = prompt.source_tokens.get(prompt.named_in_front(from_language, to_language), ())
        given = [known for known in map(source.tokenizer.token_to_id, marks) if known is not None]
        given += source.tokenizer.encode(text, add_special_tokens=False).ids[: longest - len(given) - 1]
        given.append(end)
        asked = prompt.target_tokens.get(to_language, ())
        begun = [known for known in map(written.token_to_id, asked) if known is not None]
        reference = written.encode(example.reference, add_special_tokens=False).ids[:longest]
        yield given, [1] * len(given), [settings.decoder_start_token_id, *begun, *reference]
