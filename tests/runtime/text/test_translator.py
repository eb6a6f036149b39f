"""Caches, padding, shared prefixes and batches change how long it takes to translate, never what comes out."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.data.prompts import Prompt
from compress.errors import ArtefactError, DataError
from compress.runtime.text import Decoding, Likelihood, Translation, open_translator
from compress.runtime.text.causal_translator import CausalTranslator
from compress.runtime.text.seq2seq_translator import Seq2SeqTranslator
from tests.runtime.text import oracles
from tests.runtime.text.toys import BOS, DE, DECODER_PROMPT, EOS, FR, tokenizer, write_decoder, write_encoder_decoder

TEXTS = ["Good morning!", "Hi", "The café opens at nine o'clock tomorrow.", "", "Wait.", "   ", "Où?"]
SHORT = Decoding(max_new_tokens=12)


def encoded(text: str) -> list[int]:
    return list(tokenizer().encode(text, add_special_tokens=False).ids)


def prompt_tokens(text: str) -> list[int]:
    return [BOS, *encoded(DECODER_PROMPT.render(text, "en", "fr"))]


@pytest.fixture(scope="module", params=[True, False], ids=["kept", "all logits"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_decoder(tmp_path_factory.mktemp("decoder"), kept=request.param)


@pytest.fixture(scope="module", params=[True, False], ids=["kept", "all logits"])
def encoder_decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder_decoder(tmp_path_factory.mktemp("encoder_decoder"), kept=request.param)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_decoder_writes_what_reading_everything_again_would_write(decoder: Path, batch_size: int) -> None:
    found = open_translator(decoder, threads=1).translate(TEXTS, "en", "fr", SHORT, batch_size)
    following = oracles.decoder(decoder)
    for text, translation in zip(TEXTS, found, strict=True):
        expected = oracles.greedy(following, prompt_tokens(text), 12, [EOS]) if text.strip() else ()
        assert translation.tokens == expected
        assert translation.finished == (len(expected) < 12)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_an_encoder_decoder_writes_what_reading_everything_again_would_write(
    encoder_decoder: Path, batch_size: int
) -> None:
    found = open_translator(encoder_decoder, threads=1).translate(TEXTS, "en", "de", SHORT, batch_size)
    for text, translation in zip(TEXTS, found, strict=True):
        expected: tuple[int, ...] = ()
        if text.strip():
            following = oracles.encoder_decoder(encoder_decoder, [*encoded(text), EOS])
            expected = oracles.greedy(following, [EOS, DE], 12, [EOS])
        assert translation.tokens == expected


def test_the_shots_are_read_once_and_change_nothing(decoder: Path) -> None:
    shared, apart = (open_translator(decoder, threads=1) for _ in range(2))
    assert isinstance(shared, CausalTranslator)
    assert isinstance(apart, CausalTranslator)
    apart.reuse_prefixes = False
    assert shared.translate(TEXTS, "en", "fr", SHORT) == apart.translate(TEXTS, "en", "fr", SHORT)
    prefix = shared.prefixes["en", "fr"]
    assert prefix is not None
    assert tokenizer().decode(prefix.tokens) == DECODER_PROMPT.render("\0", "en", "fr").split("\0")[0]
    kept = prefix.cache
    shared.translate(["Once more."], "en", "fr", SHORT)
    assert shared.prefixes["en", "fr"] is prefix
    assert prefix.cache is kept


def test_a_text_that_is_much_longer_than_the_others_changes_nothing(decoder: Path) -> None:
    texts = ["A", "x" * 300]  # the padding of the first is longer than the shots
    translator = open_translator(decoder, threads=1)
    together = translator.translate(texts, "en", "fr", SHORT)
    assert together == [translator.translate([text], "en", "fr", SHORT)[0] for text in texts]


def test_the_likelihood_of_a_decoder_is_that_of_separator_and_reference(decoder: Path) -> None:
    sources, references = ["One.", "A longer sentence.", "Hm", "Nothing"], ["Un.", "Une phrase plus longue.", "H", ""]
    found = open_translator(decoder, threads=1).log_likelihood(sources, references, "en", "fr")
    following = oracles.decoder(decoder)
    for source, reference, likelihood in zip(sources, references, found, strict=True):
        written = encoded(" " + reference)
        assert likelihood.num_tokens == len(written)
        assert likelihood.nats == pytest.approx(oracles.nats(following, prompt_tokens(source), written), rel=1e-4)


def test_the_likelihood_of_an_encoder_decoder_counts_the_end_token(encoder_decoder: Path) -> None:
    sources, references = ["One.", "A longer sentence.", "Hm"], ["Un.", "Une phrase plus longue.", ""]
    found = open_translator(encoder_decoder, threads=1).log_likelihood(sources, references, "en", "fr")
    for source, reference, likelihood in zip(sources, references, found, strict=True):
        written = [*encoded(reference), EOS]
        following = oracles.encoder_decoder(encoder_decoder, [*encoded(source), EOS])
        assert likelihood.num_tokens == len(written)
        assert likelihood.nats == pytest.approx(oracles.nats(following, [EOS, FR], written), rel=1e-4)


def test_blocks_of_logits_change_nothing(decoder: Path, encoder_decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, references = ["One.", "A longer sentence."], ["Un.", "Une phrase plus longue."]
    for directory in (decoder, encoder_decoder):
        translator = open_translator(directory, threads=1)
        whole = translator.log_likelihood(sources, references, "en", "fr")
        written = translator.translate(sources, "en", "fr", SHORT)
        with monkeypatch.context() as patch:
            patch.setattr("compress.runtime.text.tensors._LOGITS_BYTES", 2 * 3 * 261 * 4)
            blocks = translator.log_likelihood(sources, references, "en", "fr")
            assert open_translator(directory, threads=1).translate(sources, "en", "fr", SHORT) == written
        assert [one.nats for one in blocks] == pytest.approx([one.nats for one in whole], rel=1e-5)


def test_pieces_join_to_the_whole(decoder: Path, encoder_decoder: Path) -> None:
    for directory in (decoder, encoder_decoder):
        translator = open_translator(directory, threads=1)
        for decoding in (Decoding(40), Decoding(40, temperature=1.5, seed=3), Decoding(10, num_beams=3)):
            [whole] = translator.translate(["Good morning!"], "en", "fr", decoding)
            assert "".join(translator.stream("Good morning!", "en", "fr", decoding)) == whole.text


def test_a_draw_depends_on_its_seed_alone(decoder: Path) -> None:
    translator = open_translator(decoder, threads=1)
    drawn = Decoding(20, temperature=1.0, seed=1)
    together = translator.translate(TEXTS, "en", "fr", drawn, batch_size=4)
    alone = [translator.translate([text], "en", "fr", drawn)[0] for text in TEXTS]
    assert together == alone
    assert translator.translate(TEXTS, "en", "fr", Decoding(20, temperature=1.0, seed=2)) != together


def test_a_draw_from_one_token_is_greedy(decoder: Path) -> None:
    translator = open_translator(decoder, threads=1)
    greedy = translator.translate(TEXTS, "en", "fr", SHORT)
    assert translator.translate(TEXTS, "en", "fr", Decoding(12, temperature=2.0, top_k=1)) == greedy
    assert translator.translate(TEXTS, "en", "fr", Decoding(12, temperature=1.0, top_p=1e-9)) == greedy


def test_a_stop_text_ends_the_translation_and_is_cut_off(tmp_path: Path) -> None:
    whole = open_translator(write_decoder(tmp_path / "a"), threads=1).translate(["Hi"], "en", "fr", Decoding(30))[0]
    printable = [place for place, letter in enumerate(whole.text) if letter.isascii() and place > 3]
    assert printable, whole.text
    stop = whole.text[printable[0]]
    prompt = Prompt(**{**vars(DECODER_PROMPT), "stop": (stop,)})
    translator = open_translator(write_decoder(tmp_path / "b", prompt), threads=1)
    for decoding in (Decoding(30), Decoding(30, num_beams=2)):
        [cut] = translator.translate(["Hi"], "en", "fr", decoding)
        assert stop not in cut.text
        if decoding.num_beams == 1:
            assert cut.text == whole.text[: whole.text.index(stop)].strip()
            assert cut.finished
            assert cut.tokens == whole.tokens[: len(cut.tokens)]


def test_no_ngram_is_repeated(decoder: Path, encoder_decoder: Path) -> None:
    for directory in (decoder, encoder_decoder):
        translator = open_translator(directory, threads=1)
        for beams in (1, 2):
            [found] = translator.translate(["Hi"], "en", "fr", Decoding(60, beams, no_repeat_ngram_size=2))
            pairs = [*zip(found.tokens, found.tokens[1:], strict=False)]
            assert len(set(pairs)) == len(pairs)


def test_suppressed_tokens_are_never_written(tmp_path: Path) -> None:
    [free] = open_translator(write_decoder(tmp_path / "a"), threads=1).translate(["Hi"], "en", "fr", Decoding(30))
    banned = sorted(set(free.tokens))[:3]
    directory = write_decoder(tmp_path / "b", bad_words_ids=[[banned[0]], [7, 8]], suppress_tokens=banned[1:])
    [found] = open_translator(directory, threads=1).translate(["Hi"], "en", "fr", Decoding(30))
    assert not set(found.tokens) & set(banned)


def test_the_context_is_never_exceeded(tmp_path: Path) -> None:
    length = len(prompt_tokens("Hi"))
    directory = write_decoder(tmp_path / "decoder", context=length + 5)
    translator = open_translator(directory, threads=1)
    [found] = translator.translate(["Hi"], "en", "fr")
    assert len(found.tokens) == 5 or found.finished
    with pytest.raises(
        DataError, match=r"^text 2: its prompt takes \d+ tokens: the model's context is \d+: shorten it$"
    ):
        translator.translate(["Hi", "Good morning!"], "en", "fr")
    with pytest.raises(DataError, match=r"^text 1: the prompt with its reference takes"):
        translator.log_likelihood(["Hi"], ["longer"], "en", "fr")
    directory = write_encoder_decoder(tmp_path / "encoder_decoder", context=8)
    translator = open_translator(directory, threads=1)
    [found] = translator.translate(["Hi"], "en", "fr")
    assert len(found.tokens) <= 7
    with pytest.raises(DataError, match=r"^text 1: it takes 14 tokens: the model's context is 8: shorten it$"):
        translator.translate(["Good morning!"], "en", "fr")


def test_an_unknown_language_is_told_even_without_a_text(decoder: Path) -> None:
    translator = open_translator(decoder, threads=1)
    with pytest.raises(DataError, match="unknown language 'xx': known: de, en, fr"):
        translator.translate([""], "en", "xx")
    with pytest.raises(DataError, match="unknown language pair 'en-de': did you mean 'en-fr'"):
        translator.translate(["Hi"], "en", "de")
    with pytest.raises(DataError, match="unknown language 'xx'"):
        translator.log_likelihood([], [], "xx", "fr")


def test_each_text_is_told_once_and_the_list_keeps_its_order(decoder: Path) -> None:
    told: dict[int, Translation] = {}
    found = open_translator(decoder, threads=1).translate(TEXTS, "en", "fr", SHORT, 2, told.__setitem__)
    assert [told[number] for number in range(len(TEXTS))] == found
    assert found[3] == found[5] == Translation("", (), True)


@pytest.mark.parametrize("end", [[EOS], [EOS, 200, 201]])
def test_every_end_token_ends(tmp_path: Path, end: list[int]) -> None:
    directory = write_decoder(tmp_path, eos_token_id=end)
    found = open_translator(directory, threads=1).translate(["Hi", "Good morning!"], "en", "fr", Decoding(40))
    for text, translation in zip(["Hi", "Good morning!"], found, strict=True):
        assert translation.tokens == oracles.greedy(oracles.decoder(directory), prompt_tokens(text), 40, end)


def test_source_tokens_stand_in_front_and_arrows_name_the_target(tmp_path: Path) -> None:
    plain = {"languages": {"en": "English", "fr": "French", "de": "German"}}
    by_source = Prompt(**plain, source_tokens={"en": ("<s>",), "fr": ("<fr>",), "de": ("<de>",)})
    translator = open_translator(write_encoder_decoder(tmp_path, by_source), threads=1)
    assert isinstance(translator, Seq2SeqTranslator)
    assert translator._input("a", "en", "fr") == [BOS, *encoded("a"), EOS]
    unknown = Prompt(**plain, source_tokens={"fr": (">>fr<<",)})
    translator = open_translator(write_encoder_decoder(tmp_path, unknown), threads=1)
    with pytest.raises(ArtefactError, match="its prompt names '>>fr<<', which its tokenizer does not know"):
        translator.translate(["a"], "en", "fr")
    with pytest.raises(DataError, match="unknown language 'de'"):
        translator.translate(["a"], "en", "de")


def test_special_tokens_in_a_text_are_text(decoder: Path) -> None:
    translator = open_translator(decoder, threads=1)
    assert EOS not in translator._input("a</s>b", "en", "fr")


def test_values_out_of_range_are_told() -> None:
    for wrong, message in (
        ({"num_beams": 0}, "num_beams is 0: write 1 or more"),
        ({"top_p": 0.0}, "top_p is 0.0: write a number above 0, at most 1"),
        ({"temperature": float("nan")}, "temperature is nan: write 0 or more"),
        ({"num_beams": 2, "temperature": 0.5}, "num_beams is 2 and temperature 0.5: a beam search draws nothing"),
    ):
        with pytest.raises(DataError, match=message):
            Decoding(**wrong)  # type: ignore[arg-type]


def test_what_is_no_translator_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such directory: name the directory of a translator"):
        open_translator(tmp_path / "none")
    with pytest.raises(ArtefactError, match=r"holds neither model\.onnx nor decoder_model_merged\.onnx"):
        open_translator(tmp_path)
    directory = write_decoder(tmp_path / "decoder")
    (directory / "tokenizer.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"tokenizer\.json: damaged"):
        open_translator(directory)
    write_decoder(directory)
    (directory / "translation.json").unlink()
    with pytest.raises(ArtefactError, match="this is no translator"):
        open_translator(directory)


def test_an_empty_reference_of_a_decoder_is_its_separator(decoder: Path) -> None:
    [found] = open_translator(decoder, threads=1).log_likelihood(["a"], [""], "en", "fr")
    assert found.num_tokens == 1
    assert isinstance(found, Likelihood)
