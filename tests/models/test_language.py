"""Language models under the passes' tools: blocks, selectors of embeddings, and weights that are tied."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from compress.errors import ModelError
from compress.models.blocks import BlockWalk, find_blocks, run_block, stages
from compress.models.calls import record
from compress.models.layers import select, weighted_layers
from compress.models.quantized import as_float, original_weight, quantized_weights, set_weight, stored
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.numerics.grid import nearest
from tests.language import MODELS, decoder, encoder_decoder, logits, sentences

on_all_models = pytest.mark.parametrize("kind", MODELS)


@on_all_models
def test_a_walk_over_sentences_of_different_lengths_gives_the_plain_forward(kind: str) -> None:
    model = MODELS[kind]()
    batches, expected = sentences(model), logits(model)
    blocks = find_blocks(model, *batches[0])
    walk = BlockWalk(model, blocks, batches)
    for block in blocks:
        walk.done(block, run_block(model, block, walk.inputs(block)))
    factor = model.config.d_model**-0.5 if kind == "t5" and model.config.tie_word_embeddings else 1.0
    assert factor > 0
    for given, wanted in zip(walk.outputs[blocks[-1]], expected, strict=True):
        bias = model.final_logits_bias if kind == "marian" else 0.0
        torch.testing.assert_close(given + bias, wanted)


def test_layers_that_read_one_tensor_are_decided_together_and_in_the_order_of_the_forward() -> None:
    model = decoder()
    graph = record(model, *sentences(model)[0])
    first = [name for name in weighted_layers(model) if name.startswith("model.layers.0.")]
    short = [[[n.rpartition(".")[2] for n in names] for names in stage] for stage in stages(graph, first)]
    assert short == [[["q_proj", "k_proj", "v_proj"]], [["o_proj"]], [["gate_proj", "up_proj"]], [["down_proj"]]]


def test_a_block_is_a_layer_of_the_model_and_so_is_its_embedding() -> None:
    model = decoder()
    blocks = find_blocks(model, *sentences(model)[0])
    assert blocks == ["model.embed_tokens", "model.layers.0", "model.layers.1", "lm_head"]


def test_an_embedding_is_meant_only_by_what_means_nothing_else() -> None:
    model = decoder()
    both = ["model.embed_tokens", "lm_head"]
    for selector in (*both, "*embed*", "re:embed_tokens$", "role:embedding", "*_head"):
        assert list(select(model, [selector], embeddings=True)) == both, selector
    inner = [name for name in weighted_layers(model) if name != "lm_head"]
    for selector in ("*", "model", "role:linear", "re:."):
        assert list(select(model, [selector], embeddings=True)) == inner, selector
    assert list(select(model, ["*"])) == inner
    with pytest.raises(ModelError, match=r"unknown layer 'lm_head'"):
        select(model, ["lm_head"])
    untied = decoder(tie_word_embeddings=False)
    assert list(select(untied, ["role:embedding"], embeddings=True)) == ["model.embed_tokens"]
    assert "lm_head" in select(untied, ["*"])


def test_tables_of_positions_are_no_embeddings_of_tokens() -> None:
    model = encoder_decoder("t5")
    chosen = select(model, ["role:embedding"], embeddings=True)
    assert {tuple(module.weight.shape) for module in chosen.values()} == {(199, 16)}
    assert "shared" in chosen


@pytest.mark.parametrize("kind", ["gemma", "marian", "t5"])
def test_a_tied_weight_is_quantized_once(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    names = list(select(model, ["role:embedding"], embeddings=True))
    table = model.get_submodule(names[0])
    before, expected = table.weight.detach().clone(), logits(model)
    for num_bits in (4, 8):  # the second takes the place of the first
        quantized = nearest(before, num_bits)
        set_weight(table, quantized, model)
    parts = {stored(model.get_submodule(name)) for name in names}
    assert len(parts) == 1
    assert list(quantized_weights(model)) == [f"{names[0]}.weight"]
    assert len({original_weight(model.get_submodule(name)) for name in names}) == 1
    assert torch.equal(original_weight(table), before)
    for name in names:
        assert torch.equal(model.get_submodule(name).weight, quantized.dequantize())
    assert len({value.data_ptr() for name, value in model.state_dict().items() if name.endswith(".codes")}) == 1
    with as_float(model):
        assert all(torch.equal(a, b) for a, b in zip(logits(model), expected, strict=True))
    given = logits(model)
    assert not torch.equal(given[0], expected[0])

    save_snapshot(model, tmp_path)
    size = sum(p.numel() for p in model.parameters()) * 4 + quantized.codes.numel()
    assert (tmp_path / "values.safetensors").stat().st_size < size + 25_000
    resumed = MODELS[kind]()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.zero_()
    load_snapshot(resumed, tmp_path)
    assert len({stored(resumed.get_submodule(name)) for name in names}) == 1
    assert all(torch.equal(a, b) for a, b in zip(logits(resumed), given, strict=True))
    twin = copy.deepcopy(model)
    assert len({stored(twin.get_submodule(name)) for name in names}) == 1
    for name in names:
        parametrize.remove_parametrizations(model.get_submodule(name), "weight", leave_parametrized=False)
    assert len({model.get_submodule(name).weight for name in names}) == 1
    assert all(torch.equal(a, b) for a, b in zip(logits(model), expected, strict=True))


def test_a_weight_that_is_not_tied_is_its_own() -> None:
    model = decoder(tie_word_embeddings=False)
    set_weight(model.lm_head, nearest(model.lm_head.weight, 4), model)
    assert stored(model.model.embed_tokens) is None
    assert isinstance(model.lm_head, nn.Linear)
