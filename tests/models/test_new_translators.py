"""new:SHAPE: a translator that is to be trained, with a vocabulary of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from compress.errors import ModelError
from compress.models.source import ModelSource
from compress.models.translators import load_translator

NEW = ModelSource("new:tiny-marian", corpus="demo", languages=("en", "fr"), vocab_size=400, seed=3)


def test_a_new_translator_has_a_vocabulary_of_its_own() -> None:
    loaded = load_translator(NEW)
    assert loaded.model.get_input_embeddings().weight.shape[0] <= 400
    text = "Where is the station?"
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(text).ids) == text
    assert loaded.prompt.source_tokens == {"en": (">>eng<<",), "fr": (">>fra<<",)}
    again = load_translator(NEW)
    assert again.tokenizer.to_str() == loaded.tokenizer.to_str()
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), again.model.parameters(), strict=True))


def test_a_text_too_small_for_the_vocabulary_is_told() -> None:
    with pytest.raises(ModelError, match=r"^new:tiny-marian: corpus demo: .*[Vv]ocabulary size"):
        load_translator(replace(NEW, vocab_size=100_000))


def test_a_new_translator_is_a_marian() -> None:
    with pytest.raises(ModelError, match="a new translator is a Marian: write new:marian-small"):
        load_translator(replace(NEW, source="new:tiny-gemma3"))


def test_what_a_new_translator_lacks_is_told() -> None:
    assert ModelSource("new:marian-small").problems("translation") == [
        "corpus is missing: 'new:' learns a vocabulary: write corpus: parquet:text.parquet",
        "languages is missing: 'new:' learns a vocabulary: write languages: [en, fr]",
        "vocab_size is missing: 'new:' learns a vocabulary: write vocab_size: 8000",
    ]
    assert ModelSource("random:opus-mt", vocab_size=100).problems("translation") == [
        "vocab_size is for 'new:' translators: take it out"
    ]
