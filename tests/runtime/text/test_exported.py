"""Artefacts of transformers models: their runtime gives the tokens and likelihoods that transformers gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy
from transformers import GenerationConfig

from compress.exporter.text import write_graphs
from compress.runtime.text import Decoding, Translator, open_translator
from compress.runtime.text.causal_translator import CausalTranslator
from compress.runtime.text.seq2seq_translator import Seq2SeqTranslator
from tests.runtime.text.toys import BOS, DECODER_PROMPT, ENCODER_PROMPT, EOS, FR, PAD, VOCABULARY, write_rest

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "head_dim": 16,
    "tie_word_embeddings": True,
}
LAYERS = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 512,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "bos_token_id": BOS,
    "decoder_start_token_id": EOS,
    "forced_eos_token_id": None,
}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": VOCABULARY}
TEXTS = ["Hi", "Good morning!", "A sentence that is longer than the window of the attention of Gemma."]


def random_model(name: str, **config: Any) -> Any:
    """A transformers model of random weights that are large enough for its outputs to differ."""
    torch.manual_seed(0)
    kind = getattr(transformers, f"{name}Config")(**config)
    classes = {"Gemma3Text": "Gemma3ForCausalLM", "M2M100": "M2M100ForConditionalGeneration", "Marian": "MarianMTModel"}
    suffix = "ForConditionalGeneration" if name == "T5" else "ForCausalLM"
    model = getattr(transformers, classes.get(name, f"{name}{suffix}"))(kind).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "embed_positions" not in name:  # sinusoids are no weights
            parameter.data.normal_(0, 0.2)
    return model


@pytest.fixture(
    scope="module",
    params=[("Llama", {}), ("Gemma3Text", {"sliding_window": 64}), ("Qwen3", {})],
    ids=lambda given: given[0],
)
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(model, its translator)"""
    name, config = request.param
    model = random_model(name, **SIZES, **config)
    directory = tmp_path_factory.mktemp(name)
    write_graphs(model, directory, "test")
    write_rest(directory, DECODER_PROMPT, 512, {"bos_token_id": BOS, "eos_token_id": EOS})
    return model, open_translator(directory, threads=1)


@pytest.fixture(
    scope="module",
    params=[("M2M100", LAYERS), ("Marian", LAYERS), ("T5", T5)],
    ids=lambda given: given[0],
)
def encoder_decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(model, its translator)"""
    name, config = request.param
    model = random_model(name, **config)
    directory = tmp_path_factory.mktemp(name)
    write_graphs(model, directory, "test")
    settings = {"decoder_start_token_id": EOS, "eos_token_id": EOS, "pad_token_id": PAD}
    write_rest(directory, ENCODER_PROMPT, 512, settings)
    return model, open_translator(directory, threads=1)


def generated(model: Any, tokens: list[int], more: dict[str, Any], **settings: Any) -> tuple[int, ...]:
    """What transformers writes, without what it is given, end and padding."""
    common = {"do_sample": False, "eos_token_id": EOS, "pad_token_id": PAD}
    given = torch.tensor([tokens])
    with torch.no_grad():
        found = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            generation_config=GenerationConfig(**common, **settings),
            **more,
        )
    output = found[0].tolist()
    output = output[len(tokens) :] if not model.config.is_encoder_decoder else output[2:]
    return tuple(output[: output.index(EOS)] if EOS in output else output)


def apart(translator: Translator) -> Translator:
    """The same translator, which reads every prompt in full."""
    assert isinstance(translator, CausalTranslator)
    other = CausalTranslator(translator.directory, 1)
    other.reuse_prefixes = False
    return other


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_decoder_writes_what_transformers_writes(decoder: Any, num_beams: int) -> None:
    model, translator = decoder
    decoding = Decoding(16, num_beams)
    together = translator.translate(TEXTS, "en", "fr", decoding)
    alone = [apart(translator).translate([text], "en", "fr", decoding)[0] for text in TEXTS]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    for text, found in zip(TEXTS, together, strict=True):
        prompt = translator._input(text, "en", "fr")
        assert found.tokens == generated(model, prompt, {}, max_new_tokens=16, num_beams=num_beams)


def test_the_likelihood_of_a_decoder_is_torchs_cross_entropy(decoder: Any) -> None:
    model, translator = decoder
    references = ["Salut", "Bonjour !", "Une phrase plus longue que la fenêtre."]
    found = translator.log_likelihood(TEXTS, references, "en", "fr")
    for text, reference, likelihood in zip(TEXTS, references, found, strict=True):
        prompt = translator._input(text, "en", "fr")
        written = translator.tokenizer.encode(" " + reference, add_special_tokens=False).ids
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *written]])).logits[0, len(prompt) - 1 : -1]
        expected = cross_entropy(logits, torch.tensor(written), reduction="sum").item()
        assert likelihood.nats == pytest.approx(expected, rel=1e-4)
        assert likelihood.num_tokens == len(written)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_an_encoder_decoder_writes_what_transformers_writes(encoder_decoder: Any, num_beams: int) -> None:
    model, translator = encoder_decoder
    assert isinstance(translator, Seq2SeqTranslator)
    together = translator.translate(TEXTS, "en", "fr", Decoding(16, num_beams))
    start = {"decoder_input_ids": torch.tensor([[EOS, FR]])}
    if num_beams > 1:  # a token that is forced counts in the length, one that is given does not
        start = {}
    for text, found in zip(TEXTS, together, strict=True):
        settings = {"decoder_start_token_id": EOS, "num_beams": num_beams}
        settings |= {"max_new_tokens": 16} if start else {"max_new_tokens": 17, "forced_bos_token_id": FR}
        assert found.tokens == generated(model, translator._input(text, "en", "fr"), start, **settings)


def test_the_likelihood_of_an_encoder_decoder_is_torchs_cross_entropy(encoder_decoder: Any) -> None:
    model, translator = encoder_decoder
    references = ["Salut", "Bonjour !", "Une phrase plus longue que la fenêtre."]
    found = translator.log_likelihood(TEXTS, references, "en", "fr")
    for text, reference, likelihood in zip(TEXTS, references, found, strict=True):
        labels = [*translator.tokenizer.encode(reference, add_special_tokens=False).ids, EOS]
        given = torch.tensor([translator._input(text, "en", "fr")])
        with torch.no_grad():
            logits = model(given, decoder_input_ids=torch.tensor([[EOS, FR, *labels[:-1]]])).logits[0, 1:]
        expected = cross_entropy(logits, torch.tensor(labels), reduction="sum").item()
        assert likelihood.nats == pytest.approx(expected, rel=1e-4)
        assert likelihood.num_tokens == len(labels)
