"""Models that drop tokens: the others keep their rows, their logits, and their meaning in the configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compress.errors import ModelError
from compress.models.layers import tied, weighted_layers
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.models.vocabulary import KEPT, first_vocabulary_size, keep_tokens, kept_tokens, named_tokens
from compress.passes import PruneMagnitude, QuantizeWeights
from tests.language import MODELS, VOCABULARY, context, decoder, encoder_decoder
from tests.nets import conv_net

on_all_models = pytest.mark.parametrize("kind", MODELS)
TOKENS = st.sets(st.integers(4, VOCABULARY - 1), min_size=3, max_size=150)


def chosen(model: nn.Module, more: set[int]) -> torch.Tensor:
    """Some tokens, and those that cannot go, rising."""
    return torch.tensor(sorted({0, 1, 2, 3} | named_tokens(model) | more))


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    inputs = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, use_cache=False, **inputs).logits
    return found


@on_all_models
@settings(deadline=None, max_examples=15)
@given(more=TOKENS)
def test_the_logits_of_kept_tokens_stay(kind: str, more: set[int]) -> None:
    model = MODELS[kind]()
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.copy_(torch.arange(float(VOCABULARY)))
    kept = chosen(model, more)
    ids = torch.arange(2 * 7).reshape(2, 7) % (len(kept) - 4) + 4
    expected = logits(model, kept[ids])[..., kept]
    table = model.get_input_embeddings().weight.detach().clone()
    keep_tokens(model, kept)
    assert torch.equal(model.get_input_embeddings().weight, table[kept])
    torch.testing.assert_close(logits(model, ids), expected, rtol=1e-6, atol=1e-6)  # the order of sums may differ
    assert torch.equal(kept_tokens(model), kept)
    assert first_vocabulary_size(model) == VOCABULARY


@on_all_models
def test_what_was_tied_stays_tied_and_what_was_not_does_not(kind: str) -> None:
    model = MODELS[kind]()
    before = {name: tied(weighted_layers(model, True), name) for name in weighted_layers(model, True)}
    keep_tokens(model, chosen(model, {5, 9}))
    layers = weighted_layers(model, True)
    assert {name: tied(layers, name) for name in layers} == before


def test_an_untied_head_and_its_bias_are_cut_too() -> None:
    model = decoder("llama", tie_word_embeddings=False)
    model.lm_head.bias = nn.Parameter(torch.arange(float(VOCABULARY)))
    kept = chosen(model, {7, 190})
    expected = logits(model, kept[None])[..., kept]
    keep_tokens(model, kept)
    torch.testing.assert_close(logits(model, torch.arange(len(kept))[None]), expected, rtol=1e-6, atol=1e-6)
    assert model.lm_head.out_features == model.get_input_embeddings().num_embeddings == len(kept)


def test_tokens_in_configs_get_their_new_numbers() -> None:
    model = encoder_decoder()
    settings_ = model.generation_config
    model.config.pad_token_id = settings_.pad_token_id = settings_.decoder_start_token_id = 198
    settings_.eos_token_id = [0, 50]
    settings_.bad_words_ids = [[198], [50, 60], [60]]
    settings_.suppress_tokens = [60]
    keep_tokens(model, torch.tensor([0, 1, 50, 198]))
    assert (model.config.vocab_size, model.config.pad_token_id) == (4, 3)
    assert (settings_.decoder_start_token_id, settings_.eos_token_id) == (3, [0, 2])
    assert settings_.bad_words_ids == [[3]]
    assert settings_.suppress_tokens is None


def test_a_second_time_counts_from_the_first_vocabulary() -> None:
    model = decoder()
    table = model.get_input_embeddings().weight.detach().clone()
    keep_tokens(model, torch.tensor([0, 1, 2, 10, 20, 30]))
    keep_tokens(model, torch.tensor([0, 1, 2, 4]))
    assert kept_tokens(model).tolist() == [0, 1, 2, 20]
    assert torch.equal(model.get_input_embeddings().weight, table[[0, 1, 2, 20]])
    assert first_vocabulary_size(model) == VOCABULARY


@on_all_models
def test_a_snapshot_drops_the_tokens_again(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    keep_tokens(model, chosen(model, {5, 9, 77}))
    model = QuantizeWeights(8, targets=("*", "role:embedding")).apply(model, context(model))
    save_snapshot(model, tmp_path)
    resumed = MODELS[kind]()
    load_snapshot(resumed, tmp_path)
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(logits(resumed, ids), logits(model, ids))
    assert torch.equal(resumed.get_buffer(KEPT), model.get_buffer(KEPT))
    assert resumed.generation_config.to_dict() == model.generation_config.to_dict()
    assert resumed.config.to_dict() == model.config.to_dict()


def test_what_cannot_be_done_is_told() -> None:
    quantized = decoder()
    QuantizeWeights(8, targets=("role:embedding",)).apply(quantized, context(quantized))
    pruned = decoder()
    PruneMagnitude(0.5, targets=("role:embedding",)).apply(pruned, context(pruned))
    m2m100 = encoder_decoder("m2m100")
    m2m100.config.bos_token_id = m2m100.generation_config.bos_token_id = None
    separate = encoder_decoder()
    separate.config.share_encoder_decoder_embeddings = False
    for model, kept, message in [
        (quantized, [0, 1, 2], "the weight of model.embed_tokens is quantized: drop tokens before quantizing"),
        (pruned, [0, 1, 2], "the weight of model.embed_tokens is pruned: drop tokens before pruning"),
        (conv_net(), [0], "tokens are dropped from language models of transformers, and this is none"),
        (decoder(), [1, 0, 2], "tokens to keep must be rising numbers below 199"),
        (decoder(), [0, 1, 2, 199], "tokens to keep must be rising numbers below 199"),
        (decoder(), [0, 1, 5], "the model's config names the token 2, which is not kept"),
        (m2m100, [1, 2], "the model counts positions from the number of its padding token: keep all tokens below it"),
        (separate, [0, 1], "the model has a vocabulary for each side: such a model is not trimmed here"),
    ]:
        with pytest.raises(ModelError) as caught:
            keep_tokens(model, torch.tensor(kept))
        assert str(caught.value) == message


def test_a_table_of_its_own_for_the_decoder_is_told() -> None:
    model = encoder_decoder("t5")
    model.decoder.embed_tokens = nn.Embedding(VOCABULARY, 16)
    with pytest.raises(ModelError, match=r"a vocabulary for each side \(decoder.embed_tokens\)"):
        keep_tokens(model, torch.tensor([0, 1]))
