"""Tokenizers of Marian and M2M100 make the numbers that transformers' own make, on models trained here."""

from __future__ import annotations

import functools
import io
import json
import re
import shutil
import tempfile
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compress.errors import ModelError
from compress.models.translators.convert import m2m100_tokenizer, marian_tokenizers
from compress.models.translators.merges import merges_of
from compress.models.translators.sentencepiece import read_sentencepiece

sentencepiece = pytest.importorskip("sentencepiece")
transformers = pytest.importorskip("transformers")

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Der schnelle braune Fuchs springt über den faulen Hund; größer wird er nicht.",
    "Le renard brun saute par-dessus le chien paresseux, n'est-ce pas ?",
    "Быстрая лиса прыгает через ленивую собаку.",
    "敏捷的棕色狐狸跳过了懒狗。今天天气很好。",
    "تقفز الثعلبة السريعة فوق الكلب الكسول.",
    "तेज़ लोमड़ी आलसी कुत्ते के ऊपर कूदती है।",
    "สุนัขจิ้งจอกกระโดดข้ามสุนัขขี้เกียจ",
]
OTHERS = ["こんにちは、世界。元気ですか。", "Ĉu vi parolas Esperanton? Jes, iomete!", "여우가 게으른 개를 뛰어넘는다."]
# Characters of the training text, spaces of all kinds, what normalization changes, and what no model has seen.
ALPHABET = sorted({*"".join(SENTENCES), *" \t\n\u3000\u00a0ﬁ½Ａé①▁", *"\u0301☃😀"})
# Marks on one letter are in canonical order, and none is on the sign that stands for a space.
# Of a compatibility character with a mark above it the tokenizers library gives a piece less than sentencepiece.
LIGATURE = re.compile("[ﬁ½Ａ①]\u0301")
TEXTS = st.one_of(st.text(st.sampled_from(ALPHABET)), st.lists(st.sampled_from(SENTENCES)).map(" ".join)).map(
    lambda text: unicodedata.normalize("NFC", text).replace("▁\u0301", "▁")
)


def train(path: Path, kind: str, sentences: list[str], size: int) -> list[str]:
    """Write a SentencePiece model; its pieces."""
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 4),
        model_writer=stream,
        vocab_size=size,
        model_type=kind,
        character_coverage=1.0,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path.write_bytes(stream.getvalue())
    model = sentencepiece.SentencePieceProcessor(model_proto=stream.getvalue())
    return [model.id_to_piece(number) for number in range(model.get_piece_size())]


def number(folder: Path, first: list[str], pieces: list[str], last: list[str], name: str = "vocab.json") -> None:
    vocabulary = list(dict.fromkeys((*first, *(piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")))))
    (folder / name).write_text(json.dumps({piece: i for i, piece in enumerate([*vocabulary, *last])}))


# Cached functions, no fixtures: hypothesis would print a whole tokenizer with each example that fails.
@functools.cache
def marian() -> tuple[Any, Any, Any]:
    """(transformers' own, ours of the source, ours of the target)."""
    folder = Path(tempfile.mkdtemp())
    pieces = train(folder / "source.spm", "unigram", SENTENCES, 400)
    pieces += train(folder / "target.spm", "unigram", [*SENTENCES, *OTHERS], 500)
    number(folder, ["</s>", "<unk>", ">>fra<<", ">>deu<<"], pieces, ["<pad>"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 'Recommended: pip install sacremoses': it is not used for this
        own = transformers.MarianTokenizer(*(str(folder / n) for n in ("source.spm", "target.spm", "vocab.json")))
    found = own, *marian_tokenizers(folder, separate=False)
    shutil.rmtree(folder)
    return found


@functools.cache
def m2m100(kind: str) -> tuple[Any, Any]:
    """(transformers' own, ours)."""
    folder = Path(tempfile.mkdtemp())
    pieces = train(folder / "sentencepiece.bpe.model", kind, SENTENCES, 400)
    number(folder, ["<s>", "<pad>", "</s>", "<unk>"], pieces, [])
    own = transformers.M2M100Tokenizer(
        str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"), src_lang="en"
    )
    codes = [token.strip("_") for token in own.lang_token_to_id]
    ours = m2m100_tokenizer(folder, codes)
    shutil.rmtree(folder)
    return own, ours


@settings(deadline=None, max_examples=150)
@given(text=TEXTS, language=st.sampled_from(["", ">>fra<< ", ">>deu<<"]))
def test_marian_numbers_are_those_of_transformers(text: str, language: str) -> None:
    assume(not LIGATURE.search(text))
    own, source, target = marian()
    assert source.encode(language + text).ids == own(language + text).input_ids
    numbers = own(text_target=text).input_ids
    assert target.encode(text).ids == numbers
    assert target.decode(numbers).strip() == own.decode(numbers, skip_special_tokens=True).strip()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(deadline=None, max_examples=150)
@given(text=TEXTS)
def test_m2m100_numbers_are_those_of_transformers(kind: str, text: str) -> None:
    own, ours = m2m100(kind)
    numbers = ours.encode(text).ids
    assert [ours.token_to_id("__en__"), *numbers] == own(text).input_ids
    assert ours.decode(numbers).strip() == own.decode(numbers, skip_special_tokens=True).strip()


def test_a_decomposed_text_is_that_of_its_letters() -> None:
    for text in ("springt über größer", "é", "tiếng Việt"):
        decomposed = unicodedata.normalize("NFD", text)
        for own, ours in (m2m100("bpe"), marian()[:2]):
            assert ours.encode(decomposed).ids == ours.encode(text).ids
            assert own(decomposed).input_ids == own(text).input_ids


def test_tokens_of_languages_are_numbered_after_the_table() -> None:
    own, ours = m2m100("bpe")
    assert {token: ours.token_to_id(token) for token in own.lang_token_to_id} == own.lang_token_to_id


def test_a_side_writes_the_pieces_of_the_other() -> None:
    own, source, target = marian()
    for piece, i in own.encoder.items():
        if not piece.startswith(("<", ">>", "▁")):
            assert source.decode([i]) == target.decode([i]) == piece


def test_a_converted_tokenizer_survives_its_file() -> None:
    for tokenizer in (*marian()[1:], m2m100("bpe")[1]):
        again = tokenizer.from_str(tokenizer.to_str())
        for text in SENTENCES:
            assert again.encode(text).ids == tokenizer.encode(text).ids


def test_separate_vocabularies_number_each_side(tmp_path: Path) -> None:
    number(tmp_path, ["</s>", "<unk>"], train(tmp_path / "source.spm", "unigram", SENTENCES, 400), ["<pad>"])
    others = train(tmp_path / "target.spm", "unigram", OTHERS, 80)
    number(tmp_path, ["</s>", "<unk>"], others, ["<pad>"], "target_vocab.json")
    source, target = marian_tokenizers(tmp_path, separate=True)
    assert target is not None
    assert source.get_vocab_size() > target.get_vocab_size()
    assert target.decode(target.encode(OTHERS[0]).ids) == OTHERS[0]


def test_one_model_for_both_sides_is_one_tokenizer(tmp_path: Path) -> None:
    number(tmp_path, ["</s>", "<unk>"], train(tmp_path / "source.spm", "unigram", SENTENCES, 400), ["<pad>"])
    (tmp_path / "target.spm").write_bytes((tmp_path / "source.spm").read_bytes())
    assert marian_tokenizers(tmp_path, separate=False)[1] is None


def test_damaged_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"vocab\.json: cannot be read as JSON"):
        marian_tokenizers(tmp_path, separate=False)
    (tmp_path / "vocab.json").write_text('{"</s>": 0, "<unk>": 2}')
    with pytest.raises(ModelError, match="pieces and their numbers 0, 1, 2"):
        marian_tokenizers(tmp_path, separate=False)
    model = tmp_path / "a.spm"
    train(model, "unigram", OTHERS, 80)
    content = model.read_bytes()
    for damaged in (b"", b"\xff" * 40, content[: len(content) // 2]):
        model.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"a\.spm: "):
            read_sentencepiece(model)


def test_merges_come_best_score_first() -> None:
    scores = {"a": -9.0, "b": -9.0, "ab": -1.0, "aba": -2.0}
    assert merges_of(scores) == [("a", "b"), ("ab", "a")]
