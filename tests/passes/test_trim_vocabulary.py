"""trim.vocabulary: which tokens stay, and what a translator is with them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from compress.applying import apply_one
from compress.data.parallel import open_parallel
from compress.data.prompts import Prompt
from compress.errors import DataError, ModelError, RecipeError
from compress.exporter.text import export_translator
from compress.models.source import ModelSource
from compress.models.translators import LoadedTranslator, load_translator
from compress.models.translators.trimmed import alike, trimmed
from compress.models.vocabulary import kept_tokens
from compress.passes import Context, QuantizeWeights, TrimVocabulary
from compress.preflight import check_jobs, read_jobs
from compress.recipe import parse
from compress.runtime.text import Decoding, open_translator
from compress.targets import load
from tests.language import decoder
from tests.nets import context as images_context
from tests.nets import conv_net
from tests.trained import like_gemma

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<unused1>", "<unused2>", "<turn>"]
SHOTS = (("Good morning.", "Bonjour."),)


@functools.cache
def trained() -> Tokenizer:
    """A tokenizer of the phrasebook's languages, in the way of Gemma's; one for all, as each training differs."""
    lines = [text for code in open_parallel("demo").languages for text in open_parallel("demo").texts(code)]
    tokenizer = like_gemma(lines, SPECIAL, vocab_size=3000, limit_alphabet=400)
    plain = json.loads(tokenizer.to_str())  # bytes are pieces, not special tokens
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(plain))


def translator() -> LoadedTranslator:
    """A decoder of random weights with that tokenizer."""
    tokenizer = trained()
    model: Any = decoder(vocab_size=tokenizer.get_vocab_size(), pad_token_id=0, eos_token_id=1, bos_token_id=2)
    prompt = Prompt(
        {"en": "English", "fr": "French", "de": "German"},
        template="{examples}{source_language}: {source}\n{target_language}:",
        example="{source_language}: {source}\n{target_language}: {target}\n\n",
        shots=dict.fromkeys(("en-fr", "fr-en", "en-de"), SHOTS),
        separator=" ",
        stop=("\n",),
    )
    settings = {"chat_template": "{{ '<turn>' }} <unused2>", "added_tokens_decoder": {"1": {}, "4": {}, "6": {}}}
    return LoadedTranslator(
        model, "decoder", tokenizer, prompt, files={"tokenizer_config.json": json.dumps(settings).encode()}
    )


def applied(loaded: LoadedTranslator, step: TrimVocabulary) -> tuple[LoadedTranslator, list[str]]:
    where = Context(lambda: iter(()), load("generic"), translator=loaded)
    assert apply_one(step, loaded.model, where) is loaded.model
    return trimmed(loaded), where.notes


def cut(before: LoadedTranslator, after: LoadedTranslator, code: str, dataset: str = "demo") -> float:
    """The share of a language's pieces that are cut as before."""
    found = alike(before.tokenizer, after.tokenizer, after.kept or (), open_parallel(dataset).texts(code))
    return found.pieces / found.num_pieces


def test_its_languages_are_cut_as_before_and_others_are_not() -> None:
    before = translator()
    rows = before.model.config.vocab_size
    after, notes = applied(before, TrimVocabulary(("en", "fr")))
    assert cut(before, after, "en") == 1
    assert cut(before, after, "fr", "demo[72:]") > 0.999  # whose text it was not shown
    assert cut(before, after, "ru") < 0.5
    kept = len(after.kept or ())
    assert notes[0] == f"{kept:,} of {rows:,} tokens are kept"
    assert notes[1].startswith("en: 100.00% of ")
    assert notes[2].endswith("and 100.00% of 72 texts are cut as before")
    assert kept < 0.7 * rows


def test_what_is_kept_beside_words() -> None:
    before = translator()
    after, _ = applied(before, TrimVocabulary(("fr",)))
    names = set(after.tokenizer.get_vocab())
    assert {f"<0x{byte:02X}>" for byte in range(256)} < names
    assert {*SPECIAL} - names == {"<unused1>"}  # a template writes the other
    assert {"é", "ç", "Z", ".", "ł"} < names
    assert {"я", "日"}.isdisjoint(names)
    assert {"English", "French"} <= before.prompt.languages.keys() | set(before.prompt.languages.values())
    settings = json.loads(after.files["tokenizer_config.json"])
    assert settings["added_tokens_decoder"].keys() == {"1", "5"}  # <turn> moved up by one
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_the_rows_are_those_of_the_pieces() -> None:
    before = translator()
    table = before.model.get_input_embeddings().weight.detach().clone()
    after, _ = applied(before, TrimVocabulary(("en", "fr"), vocab_size=700))
    now = before.model.get_input_embeddings().weight
    for name, number in after.tokenizer.get_vocab().items():
        assert torch.equal(now[number], table[before.tokenizer.token_to_id(name)])


@pytest.mark.parametrize("size", [500, 700, 1000])
def test_the_size_is_kept_to_and_what_is_lost_is_told(size: int) -> None:
    before = translator()
    after, notes = applied(before, TrimVocabulary(("en", "fr"), vocab_size=size))
    assert len(after.kept or ()) == size == before.model.get_input_embeddings().num_embeddings
    share = cut(before, after, "fr", "demo[0:72]")
    assert 0 < share < 1
    assert notes[2].startswith(f"fr: {share:.2%} of ")


def test_more_room_keeps_more_of_the_text() -> None:
    shares = []
    for size in (500, 800, 1100):
        before = translator()
        shares.append(cut(before, applied(before, TrimVocabulary(("en", "fr"), vocab_size=size))[0], "fr"))
    assert shares[0] < shares[1] < shares[2]


def test_a_second_trimming_goes_on_from_the_first() -> None:
    before = translator()
    where = Context(lambda: iter(()), load("generic"), translator=before)
    for languages in (("en", "fr"), ("en",)):
        apply_one(TrimVocabulary(languages), before.model, where)
    once = translator()
    apply_one(TrimVocabulary(("en",)), once.model, replace(where, translator=once))
    kept, single = kept_tokens(before.model), kept_tokens(once.model)
    assert kept is not None
    assert single is not None
    assert set(kept.tolist()) <= set(single.tolist())
    assert cut(translator(), trimmed(before), "en") == 1


def marian() -> LoadedTranslator:
    """Whose logits have a bias, and whose padding is the last token."""
    loaded = load_translator(ModelSource("random:tiny-marian"))
    loaded.model.final_logits_bias.copy_(torch.linspace(-1, 1, loaded.model.config.vocab_size))
    return loaded


@pytest.mark.parametrize("made", [translator, marian])
def test_a_trimmed_translator_is_exported_and_translates(made: Callable[[], LoadedTranslator], tmp_path: Path) -> None:
    before = made()
    where = Context(lambda: iter(()), load("generic"), translator=before)
    model = apply_one(TrimVocabulary(("en", "fr")), before.model, where)
    model = apply_one(QuantizeWeights(8, targets=("*", "role:embedding")), model, where)
    artefact = export_translator(before, tmp_path / "a", target="generic", lock={})
    kept = kept_tokens(model)
    assert kept is not None
    vocabulary = artefact.manifest["quantization"]["vocabulary"]
    assert vocabulary == {"tokens": len(kept), "of": before.tokenizer.get_vocab_size()}
    assert f"Vocabulary: {len(kept):,} of " in (tmp_path / "a" / "README.md").read_text()
    opened = open_translator(artefact)
    [said] = opened.translate(["Where is the station?"], "en", "fr", Decoding(max_new_tokens=5))
    assert all(token < len(kept) for token in said.tokens)
    assert Tokenizer.from_file(str(tmp_path / "a" / "tokenizer.json")).get_vocab_size() == len(kept)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["vocab_size"] == len(kept)


@pytest.mark.parametrize("shape", ["tiny-m2m100", "tiny-marian", "tiny-t5"])
def test_tokens_of_other_languages_go_with_their_languages(shape: str) -> None:
    before = load_translator(ModelSource(f"random:{shape}"))
    after, _ = applied(before, TrimVocabulary(("en", "fr")))
    assert set(after.prompt.languages) == {"en", "fr"}
    assert {*after.prompt.source_tokens, *after.prompt.target_tokens} <= {"en", "fr"}
    for tokens in (*after.prompt.source_tokens.values(), *after.prompt.target_tokens.values()):
        assert all(after.tokenizer.token_to_id(token) is not None for token in tokens)


def test_what_cannot_be_trimmed_is_told_before_anything_changes() -> None:
    loaded, step = translator(), TrimVocabulary(("en", "fr"))
    where = Context(lambda: iter(()), load("generic"), translator=loaded)
    with pytest.raises(ModelError, match=r"^trim.vocabulary: it needs the tokenizer of a translator"):
        step.requires(conv_net(), images_context())
    with pytest.raises(DataError, match="unknown language 'ja'"):
        TrimVocabulary(("ja",)).requires(loaded.model, where)
    with pytest.raises(ModelError, match=r"vocab_size is 100: \d+ tokens are special ones, bytes, letters and signs"):
        TrimVocabulary(("en",), vocab_size=100).apply(loaded.model, where)
    assert kept_tokens(loaded.model) is None
    with pytest.raises(DataError, match="unknown language 'sw'"):
        TrimVocabulary(("sw",)).data_sha256()
    QuantizeWeights(8, targets=("role:embedding",)).apply(loaded.model, where)
    with pytest.raises(ModelError, match=r"^trim.vocabulary: the weight of model.embed_tokens is quantized"):
        step.requires(loaded.model, where)


def test_parameters_and_tasks_that_make_no_sense() -> None:
    generic = load("generic")
    assert TrimVocabulary(("en", "fr")).problems(generic) == []
    [unknown, dataset] = TrimVocabulary(("en", "frr"), "folder:x").problems(generic)
    assert unknown.startswith("languages: unknown language 'frr'")
    assert dataset.startswith("dataset 'folder:x'")
    step = TrimVocabulary(("en", "fr"))
    assert step.task_problems("translation", ("en", "fr")) == []
    assert step.task_problems("translation", ("en", "de")) == [
        "languages: the task translates de too: add it here, or take it out there"
    ]
    assert step.task_problems("image_classification", ()) == [
        "it trims the vocabulary of a translator, and the task is image_classification: take it out"
    ]


BROKEN = """
name: x
model: package:efficientnet-lite0
task: image_classification
passes:
  - trim.vocabulary: {languages: [en, frr], dataset: "folder:text"}
  - trim.vocabulary: {languages: []}
"""


def test_a_recipe_tells_them_before_any_work() -> None:
    with pytest.raises(RecipeError) as caught:
        parse(BROKEN)
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    assert "trim.vocabulary: languages: unknown language 'frr': did you mean 'fr'?" in told
    assert "trim.vocabulary: dataset 'folder:text': unknown kind of parallel text" in told
    assert "trims the vocabulary of a translator, and the task is image_classification: take it out" in told
    assert "trim.vocabulary.languages is a list of 0" in told


def test_a_dataset_without_a_language_is_told_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    step = "passes:\n  - trim.vocabulary: {languages: [en, fr, sw]}\n"
    file.write_text("name: x\nmodel: random:tiny-gemma3\ntask: {translation: {pairs: [en-fr]}}\n" + step)
    with pytest.raises(RecipeError, match=r"x.yaml:5: trim.vocabulary: dataset .*unknown language 'sw'"):
        check_jobs(read_jobs([str(file)]), allow_code=False)


def test_the_data_decide_the_result() -> None:
    assert TrimVocabulary(("en",)).data_sha256() != TrimVocabulary(("en",), "demo[0:71]").data_sha256()
    assert TrimVocabulary(("en", "fr")).data_sha256() != TrimVocabulary(("fr", "en")).data_sha256()
