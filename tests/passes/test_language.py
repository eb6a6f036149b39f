"""The passes on language models: what is calibrated on what, and what is folded where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compress.applying import apply_one
from compress.errors import ModelError, PromiseBroken
from compress.models.dynamic import dynamic_layers, quantize_tokens
from compress.models.folding import find_sites
from compress.models.layers import weighted_layers
from compress.models.quantized import as_float, quantized_weights, stored
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.passes import CorrectBias, Pass, QuantizeDynamic, QuantizeWeights, Reconstruct, Smooth
from compress.targets import load
from tests.language import MODELS, context, decoder, logits
from tests.nets import context as images_context
from tests.nets import conv_net

on_all_models = pytest.mark.parametrize("kind", MODELS)


def error(given: list[Tensor], expected: list[Tensor]) -> float:
    """Of the logits, as a share of their spread."""
    off = torch.cat([(a - b).detach().flatten() for a, b in zip(given, expected, strict=True)])
    return float(off.square().mean().sqrt() / torch.cat([b.detach().flatten() for b in expected]).std())


def apply(model: nn.Module, *steps: Pass) -> nn.Module:
    for step in steps:
        assert step.problems(load("generic")) == []
        model = apply_one(step, model, context(model))
    return model


def weights(**options: Any) -> QuantizeWeights:
    return QuantizeWeights(**({"num_bits": 4, "strategy": "group", "group_size": 16, "symmetric": False} | options))


@on_all_models
@pytest.mark.parametrize("algorithm", ["rtn", "hqq", "awq", "gptq"])
def test_every_algorithm_takes_bodies_and_embeddings(kind: str, algorithm: str) -> None:
    model = MODELS[kind]()
    expected = logits(model)
    model = apply(model, weights(num_bits=6, targets=("*", "role:embedding"), algorithm=algorithm))
    assert error(logits(model), expected) < 0.15
    layers = weighted_layers(model)
    assert all(stored(layer) is not None for layer in layers.values())
    if algorithm != "awq":  # which scales float weights, where that changes nothing
        with as_float(model):
            assert error(logits(model), expected) < 1e-6
    else:
        with as_float(model):
            assert error(logits(model), expected) < 1e-4


def inputs_of_the_head(model: nn.Module) -> list[Tensor]:
    """The last hidden states for `sentences`."""
    found: list[Tensor] = []
    handle = model.lm_head.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0].detach()))
    logits(model)
    handle.remove()
    return found


@pytest.mark.parametrize("kind", ["gemma", "marian"])
def test_a_tied_embedding_is_calibrated_as_the_head(kind: str) -> None:
    errors = {}
    for algorithm in ("rtn", "gptq"):
        model = MODELS[kind]()
        expected = logits(model)
        head, hidden = model.lm_head, inputs_of_the_head(model)
        model = apply(model, weights(num_bits=3, targets=("role:embedding",), algorithm=algorithm))
        assert len(quantized_weights(model)) == 1
        assert len(expected) == len(hidden)
        with as_float(model):
            exact = [head(x) for x in hidden]
        errors[algorithm] = error([head(x) for x in hidden], exact)
    assert errors["gptq"] < errors["rtn"], errors


def test_an_embedding_that_is_no_head_is_rounded_to_nearest() -> None:
    model = decoder(tie_word_embeddings=False)
    twin = apply(decoder(tie_word_embeddings=False), weights(targets=("role:embedding",)))
    model = apply(model, weights(targets=("role:embedding",), algorithm="gptq"))
    name = "model.embed_tokens.weight"
    assert list(quantized_weights(model)) == [name]
    assert torch.equal(quantized_weights(model)[name].codes, quantized_weights(twin)[name].codes)


def test_adaround_refuses_an_embedding_by_name() -> None:
    model = decoder()
    with pytest.raises(ModelError) as caught:
        weights(targets=("role:embedding",), algorithm="adaround").requires(model, context(model))
    told = "model.embed_tokens is an embedding, too large for 'adaround': take gptq or rtn"
    assert str(caught.value) == f"quantize.weights: {told}"


def test_hqq_wants_zero_points() -> None:
    step = QuantizeWeights(4, algorithm="hqq")
    told = "algorithm 'hqq' seeks zero points of channels or groups: give 'symmetric: false'"
    assert step.problems(load("generic")) == [told]
    assert replace(step, symmetric=False).problems(load("generic")) == []


@pytest.mark.parametrize(("kind", "heads"), [("gemma", 1), ("llama", 1), ("llama", 2), ("qwen", 1)])
def test_sites_are_those_of_the_paper(kind: str, heads: int) -> None:
    model = decoder(kind, num_key_value_heads=heads)
    sites = find_sites(model, weighted_layers(model), context(model).example())
    inner = [s for s in sites if s.layers[0].startswith("model.layers.0")]
    short = {s.source.rpartition(".")[2]: [n.rpartition(".")[2] for n in s.layers] for s in inner}
    mlp_norm = "pre_feedforward_layernorm" if kind == "gemma" else "post_attention_layernorm"
    expected = {"input_layernorm": ["q_proj", "k_proj", "v_proj"], mlp_norm: ["gate_proj", "up_proj"]}
    expected |= {"up_proj": ["down_proj"]} | ({"v_proj": ["o_proj"]} if heads == 2 else {})
    assert short == expected
    assert {s.offset for s in inner if "norm" in s.source} == {1.0 if kind == "gemma" else 0.0}


@on_all_models
def test_smoothing_changes_nothing_in_float(kind: str) -> None:
    model = MODELS[kind]()
    expected = logits(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model = apply(model, Smooth(0.5))
    assert error(logits(model), expected) < 1e-4
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert changed or kind in ("marian",)  # whose norms come after the sum that others read


def test_smoothing_helps_where_one_channel_is_an_outlier() -> None:
    errors = {}
    for steps in ((), (Smooth(0.5),)):
        model = decoder("llama")
        with torch.no_grad():
            for layer in model.model.layers:  # one channel speaks a hundred times as loud
                layer.input_layernorm.weight[3] *= 100
                layer.self_attn.q_proj.weight[:, 3] /= 100
                layer.self_attn.k_proj.weight[:, 3] /= 100
                layer.self_attn.v_proj.weight[:, 3] /= 100
        expected = logits(model)
        errors[len(steps)] = error(logits(apply(model, *steps, QuantizeDynamic())), expected)
    assert errors[1] < 0.5 * errors[0]


def test_smoothing_refuses_what_is_quantized() -> None:
    model = apply(decoder(), weights())
    with pytest.raises(ModelError, match=r"^smooth: the weight of model.layers.0.self_attn.q_proj is quantized"):
        Smooth().requires(model, context(model))


@on_all_models
def test_dynamic_quantization_stays_near_and_survives_a_snapshot(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    expected = logits(model)
    model = apply(model, QuantizeDynamic())
    given = logits(model)
    assert 0 < error(given, expected) < 0.1
    assert {weight.num_bits for weight in quantized_weights(model).values()} == {8}
    with as_float(model):
        assert error(logits(model), expected) == 0
    save_snapshot(model, tmp_path)
    resumed = MODELS[kind]()
    load_snapshot(resumed, tmp_path)
    assert {f"{name}.weight" for name in dynamic_layers(resumed)} == set(quantized_weights(model))
    assert all(torch.equal(a, b) for a, b in zip(logits(resumed), given, strict=True))
    QuantizeDynamic().ensures(resumed, context(resumed))


def test_a_dynamic_layer_without_its_hook_breaks_the_promise() -> None:
    model = apply(decoder(), QuantizeDynamic())
    model.model.layers[1].mlp.up_proj._forward_pre_hooks.clear()
    with pytest.raises(PromiseBroken) as caught:
        QuantizeDynamic().ensures(model, context(model))
    told = "the inputs of model.layers.1.mlp.up_proj are float, 8 bits were asked for"
    assert str(caught.value) == f"quantize.dynamic: {told}"


def test_dynamic_quantization_refuses_convolutions_zero_points_and_other_devices() -> None:
    with pytest.raises(ModelError, match=r"^quantize.dynamic: conv_stem is a convolution"):
        QuantizeDynamic(("*",)).requires(conv_net(), images_context())
    model = apply(decoder(), weights())
    with pytest.raises(ModelError, match=r"has a float scale or a zero point for each group"):
        QuantizeDynamic().requires(model, context(model))
    told = "graphs of translators alone scale activations: write quantize.static"
    assert QuantizeDynamic().task_problems("denoising", ()) == [told]
    assert QuantizeDynamic().task_problems("translation", ("en", "fr")) == []


def test_each_token_has_a_grid_of_its_own() -> None:
    x = torch.tensor([[0.0, 255.0, 100.4], [-1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    step = 4 / 255  # of the second token; its zero point is 63.75 rounded to 64
    expected = torch.tensor([[0.0, 255.0, 100.0], [-64 * step, 0.0, 191 * step], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(quantize_tokens(x), expected)
    x.requires_grad_()
    quantize_tokens(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("kind", ["gemma", "marian"])
def test_biases_and_blocks_of_language_models_are_learned(kind: str) -> None:
    model = MODELS[kind]()
    expected = logits(model)
    model = apply(model, weights(num_bits=3))
    before = error(logits(model), expected)
    model = apply(model, Reconstruct(iterations=20, learning_rate=3e-3))
    after = error(logits(model), expected)
    assert after < before
    if kind == "marian":
        apply(model, CorrectBias())
