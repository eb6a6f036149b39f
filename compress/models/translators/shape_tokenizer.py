"""A tokenizer for a shape without one: byte-level, exact on any text, made by rule.

One token a byte, special tokens where the config has them, tokens of languages at the end, and words that no text is
cut into for all other rows: so that every token that a model of random weights may choose can be written out.
"""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from compress.data.languages import LANGUAGES, Language


def made_tokenizer(shape: dict[str, Any], config: Any) -> Tokenizer:
    """The tokenizer of a shape (see `shape.py`), as large as its config's vocabulary."""
    size = config.vocab_size
    special = {number: token for token, number in shape["tokens"].items()}
    free = [number for number in range(size) if number not in special]
    named = languages(shape["languages"])
    special |= dict(zip(free[len(free) - len(named) :], named, strict=True))
    free = free[: len(free) - len(named)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *(f"Ġw{number}" for number in free[len(alphabet) :])]
    vocabulary = {token: number for number, token in special.items()}
    vocabulary |= {word: number for number, word in zip(free, words, strict=True)}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(special[number], special=True, normalized=False) for number in sorted(special)])
    first, last = shape["config"].get("bos_token_id"), shape["config"].get("eos_token_id")
    around = ([special[first]] if shape["begin"] else [], [special[last]] if shape["end"] else [])
    if around != ([], []):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*around[0], "$A", *around[1]],
            special_tokens=[(token, vocabulary[token]) for token in dict.fromkeys((*around[0], *around[1]))],
        )
    return tokenizer


def languages(kind: str | None) -> list[str]:
    """The tokens of the languages that a kind of model knows: ['eng_Latn', …], ['__en__', …], …"""
    if kind is None:
        return []

    def named(language: Language) -> str | None:
        return {
            "nllb": language.nllb,
            "m2m100": language.m2m100 and f"__{language.m2m100}__",
            "marian": None if language.code == "zh-Hant" else f">>{language.iso}<<",
            "madlad": language.madlad and f"<2{language.madlad}>",
        }[kind]

    return [token for language in LANGUAGES.values() if (token := named(language))]
