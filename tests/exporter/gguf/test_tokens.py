"""Tokenizers as keys of a GGUF header, read back as the same tokenizer; and those that no keys describe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from compress.errors import ModelError, ParityError
from compress.exporter.gguf.tokens import TEXTS, tokenizer_values
from compress.models.source import ModelSource
from compress.models.translators import LoadedTranslator, load_translator
from compress.models.translators.gguf_file import GgufFile
from compress.models.translators.gguf_tokenizer import CUTS, tokenizer_of
from compress.models.translators.merges import merges_of

ROWS = 512
LEARNED = ("the", "he", "in", "an", "st", "or", "en", "tr", "ain", "from", "th", "ro", "om", "fr", "ai")


def sentencepiece(prefix: bool) -> Tokenizer:
    """Bytes, letters and some pieces, as SentencePiece's byte-pair encoding becomes a tokenizer."""
    pieces = [*LEARNED, *(f"▁{piece}" for piece in ("t", "th", "the", "f", "fr"))]
    letters = sorted({*"▁", *"".join(pieces), *"abcdefghij", *"GTZ.,"})
    found = [] if prefix else ["▁▁"]  # with a prefix, a run of spaces at the beginning is another in llama.cpp
    known = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{value:02X}>" for value in range(256)), *found]
    tokens = [*known, *pieces, *letters]
    scores = {piece: -float(place) for place, piece in enumerate(pieces)} | dict.fromkeys(letters, -1e3)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    made = Tokenizer(BPE(vocabulary, merges_of(scores), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("▁")] if prefix else []
    made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    last = [decoders.Strip(" ", 1, 0)] if prefix else []
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *last])
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens[:4]])
    made.add_tokens([AddedToken(token, special=False, normalized=True) for token in found])
    made.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 2)])
    return made


def byte_level(*cuts: str) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [piece for piece in sorted(LEARNED, key=len) if len(piece) < 4]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *words, "12"])}
    pairs = [(word[:-1], word[-1]) for word in words if word[:-1] in vocabulary] + [("1", "2")]
    made = Tokenizer(BPE(vocabulary, [pair for pair in pairs if "".join(pair) in vocabulary]))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not cuts)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*(pre_tokenizers.Split(Regex(cut), "isolated") for cut in cuts), whole]
    )
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False)])
    return made


def with_tokenizer(tokenizer: Tokenizer, files: dict[str, bytes] | None = None) -> LoadedTranslator:
    loaded = load_translator(ModelSource("random:tiny-qwen3"))
    return replace(loaded, tokenizer=tokenizer, files=files or {})


def read_back(loaded: LoadedTranslator, architecture: str = "qwen3") -> tuple[Tokenizer, dict[str, object]]:
    values = tokenizer_values(loaded, ROWS, architecture)
    return tokenizer_of(GgufFile(Path("none"), dict(values), {})), dict(values)


@pytest.mark.parametrize("prefix", [False, True])
def test_sentencepiece_s_pieces_get_scores_and_kinds(prefix: bool) -> None:
    tokenizer = sentencepiece(prefix)
    read, values = read_back(with_tokenizer(tokenizer))
    for text in (*TEXTS, "the train from the  station", "<eos>x"):
        assert read.encode(text).ids == tokenizer.encode(text).ids
        assert read.decode(read.encode(text).ids) == tokenizer.decode(tokenizer.encode(text).ids)
    assert len(tokenizer.encode("the from").ids) < 7  # pieces are merged at all
    kinds = values["tokenizer.ggml.token_type"]
    assert isinstance(kinds, list)
    assert kinds[:5] == [3, 3, 3, 2, 6]
    assert kinds[260] == (1 if prefix else 4)
    assert kinds[-1] == 5
    expected = {"model": "llama", "pre": "default", "add_space_prefix": prefix, "add_bos_token": True}
    expected |= {"bos_token_id": 2, "unknown_token_id": 3}
    assert {key: values[f"tokenizer.ggml.{key}"] for key in expected} == expected


@pytest.mark.parametrize("cut", ["gpt-2", "llama-bpe", "qwen2", "deepseek-v3"])
def test_byte_level_tokens_get_merges_and_the_name_of_their_cut(cut: str) -> None:
    tokenizer = byte_level(*CUTS[cut])
    read, values = read_back(with_tokenizer(tokenizer))
    assert values["tokenizer.ggml.pre"] == cut
    assert values["tokenizer.ggml.add_bos_token"] is False
    for text in TEXTS:
        assert read.encode(text).ids == tokenizer.encode(text).ids
        assert read.decode(read.encode(text).ids) == text
    assert ("12" in tokenizer.encode("the 12").tokens) == (cut != "qwen2")


def test_hunyuan_s_cut_has_its_own_name() -> None:
    assert read_back(with_tokenizer(byte_level(*CUTS["hunyuan-dense"])), "hunyuan-dense")[1]["tokenizer.ggml.pre"] == (
        "hunyuan-dense"
    )


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template.jinja": b"{{ x }}"},
        {"tokenizer_config.json": json.dumps({"chat_template": "{{ x }}"}).encode()},
        {"tokenizer_config.json": json.dumps({"chat_template": [{"name": "default", "template": "{{ x }}"}]}).encode()},
    ],
)
def test_the_chat_template_comes_along(files: dict[str, bytes]) -> None:
    assert read_back(with_tokenizer(byte_level(), files))[1]["tokenizer.chat_template"] == "{{ x }}"


def test_several_end_tokens_are_end_of_text_and_end_of_turn() -> None:
    loaded = with_tokenizer(byte_level())
    loaded.model.config.eos_token_id = [7, 9]
    values = read_back(loaded)[1]
    assert (values["tokenizer.ggml.eos_token_id"], values["tokenizer.ggml.eot_token_id"]) == (7, 9)


def test_what_no_key_can_say_is_refused() -> None:
    other = Tokenizer(Unigram([("a", 0.0), ("<unk>", 0.0)], 1, False))
    with pytest.raises(ModelError, match="Unigram"):
        read_back(with_tokenizer(other))
    with pytest.raises(ModelError, match="cuts text into words by a rule that has no name"):
        read_back(with_tokenizer(byte_level(r"\p{L}+")))
    lowered = byte_level()
    lowered.normalizer = normalizers.Lowercase()
    with pytest.raises(ModelError, match="cuts text into words by a rule that has no name"):
        read_back(with_tokenizer(lowered))
    doubled = byte_level()
    doubled.post_processor = processors.TemplateProcessing("a b $A", special_tokens=[("a", 0), ("b", 1)])
    with pytest.raises(ModelError, match="more than one token around a text"):
        read_back(with_tokenizer(doubled))


def test_merges_that_scores_cannot_say_are_found_by_reading_back() -> None:
    """'he' is merged before 'th': a tokenizer that merges nothing with 'he' leaves '▁the' in two; scores would not."""
    state = json.loads(sentencepiece(False).to_str())
    state["model"]["merges"] = [pair for pair in state["model"]["merges"] if pair[1] != "he"]
    with pytest.raises(ParityError, match="the tokenizer cannot be said in GGUF: it makes"):
        read_back(with_tokenizer(Tokenizer.from_str(json.dumps(state))))
