"""export_translator(): a translator's directory appears all at once, with all that its readers look for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from compress.data.prompts import Prompt, read_prompt
from compress.errors import ArtefactError, ModelError, ParityError
from compress.exporter.text import export_translator
from compress.models.translators import LoadedTranslator
from compress.runtime.artefact import open_artefact, with_scores
from compress.targets import load as load_target
from compress.tasks.base import Figure
from tests.exporter.text.tiny import VOCABULARY, decoder, encoder_decoder, quantize


def loaded(model: Any, two_tokenizers: bool = False) -> LoadedTranslator:
    letters = {chr(97 + index % 26) * (1 + index // 26): index for index in range(60)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({**letters, "[UNK]": 60}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")  # a token a letter
    return LoadedTranslator(
        model=model,
        family="encoder-decoder" if model.config.is_encoder_decoder else "decoder",
        tokenizer=tokenizer,
        target_tokenizer=tokenizer if two_tokenizers else None,
        prompt=Prompt({"en": "English", "fr": "French"}, template="{source}"),
        files={"tokenizer_config.json": b"{}\n"},
        description="A tiny translator",
        licence="mit",
        random_weights=True,
    )


def test_what_ships_of_a_decoder(tmp_path: Path) -> None:
    given = loaded(quantize(decoder("gemma3"), 4, 32))
    artefact = export_translator(given, tmp_path / "a", target="generic", lock={"seed": 0})
    assert sorted(artefact.file_bytes) == [
        "README.md",
        "compress.json",
        "config.json",
        "generation_config.json",
        "model.onnx",
        "model.onnx_data",
        "tokenizer.json",
        "tokenizer_config.json",
        "translation.json",
    ]
    assert artefact.model_path == tmp_path / "a" / "model.onnx"
    assert artefact.model_bytes == artefact.file_bytes["model.onnx"] + artefact.file_bytes["model.onnx_data"]
    assert artefact.random_weights
    assert read_prompt(tmp_path / "a") == given.prompt
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"]) == ("gemma3_text", VOCABULARY)
    assert json.loads((tmp_path / "a" / "generation_config.json").read_text())["eos_token_id"] == 2
    assert tokenizers.Tokenizer.from_file(str(tmp_path / "a" / "tokenizer.json")).encode("abc").ids == [0, 1, 2]
    quantization = artefact.manifest["quantization"]
    assert quantization["weights"]["model.embed_tokens.weight"]["num_bits"] == 4
    assert "lm_head.weight" not in quantization["weights"]
    card = (tmp_path / "a" / "README.md").read_text()
    assert "pipeline_tag: translation" in card
    assert "compress translate . --from en --to fr" in card


def test_what_ships_of_an_encoder_and_a_decoder(tmp_path: Path) -> None:
    given = loaded(encoder_decoder("marian-two-vocabularies"), two_tokenizers=True)
    artefact = export_translator(given, tmp_path / "a", target="generic", verify_texts=["abcde", "the cat sat"])
    models = ["decoder_model_merged.onnx", "encoder_model.onnx", "model.onnx_data"]
    assert {*models, "target_tokenizer.json"} <= set(artefact.file_bytes)
    assert artefact.model_path.name == "decoder_model_merged.onnx"
    assert artefact.model_bytes == sum(artefact.file_bytes[name] for name in models)
    with_scores(artefact, {"bleu": Figure(1.0)})
    assert open_artefact(tmp_path / "a").scores["bleu"].value == 1.0


def test_the_hash_of_a_model_is_that_of_its_weights_too(tmp_path: Path) -> None:
    model = decoder("llama")
    one = export_translator(loaded(model), tmp_path / "one", target="generic")
    same = export_translator(loaded(model), tmp_path / "same", target="generic")
    model.lm_head.weight.data[0, 0] += 1.0
    other = export_translator(loaded(model), tmp_path / "other", target="generic")
    assert (tmp_path / "one" / "model.onnx").read_bytes() == (tmp_path / "other" / "model.onnx").read_bytes()
    assert one.model_sha256 == same.model_sha256 != other.model_sha256


def test_nothing_appears_where_the_graph_is_not_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.exporter.text.decoder_only.MASKED", 0.0)
    with pytest.raises(ParityError, match="not the same function"):
        export_translator(loaded(decoder("llama")), tmp_path / "a", target="generic")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_unless_forced(tmp_path: Path) -> None:
    given = loaded(decoder("llama"))
    export_translator(given, tmp_path / "a", target="generic")
    with pytest.raises(ArtefactError, match="exists already"):
        export_translator(given, tmp_path / "a", target="generic")
    export_translator(given, tmp_path / "a", target="generic", force=True)


def test_other_runtimes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="translators run on onnxruntime"):
        export_translator(loaded(decoder("llama")), tmp_path / "a", target=load_target("rk3588"))
    assert list(tmp_path.iterdir()) == []


def test_texts_of_too_few_tokens_compare_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing to compare: give texts of more than 3 tokens"):
        export_translator(loaded(decoder("llama")), tmp_path / "a", target="generic", verify_texts=["ab"])
