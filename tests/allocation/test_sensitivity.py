"""What a rounded weight costs: measured, and estimated by the second-order term."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.allocation import sensitivity
from compress.allocation.sensitivity import Measured, logits, rows_of, second_order
from compress.errors import ModelError
from compress.models.layers import select
from compress.numerics.grid import nearest
from compress.passes.base import silent
from tests.language import decoder, sentences
from tests.nets import conv_net, images, transformer


def kl(model: nn.Module, other: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        p, q = functional.log_softmax(model(x), -1), functional.log_softmax(other(x), -1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_a_measured_loss_is_the_divergence_and_the_model_is_as_before() -> None:
    model = transformer()
    other = copy.deepcopy(model)
    rounded = nearest(model.blocks[0].up.weight.detach() if hasattr(model.blocks[0], "up") else model.head.weight, 2)
    name = "blocks.0.up" if hasattr(model.blocks[0], "up") else "head"
    other.get_submodule(name).weight.data.copy_(rounded.dequantize())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = images(6, 5)
    found = Measured(model, [(x,)]).lost(model.get_submodule(name), rounded.dequantize())  # type: ignore[arg-type]
    assert found == pytest.approx(kl(model, other, x), rel=1e-4)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("net", [conv_net, transformer])
def test_small_changes_cost_what_the_second_order_term_says(net: object) -> None:
    """Over all layers together, at a hundredth of the rounding error of 4 bits, within a fifth."""
    model = net()  # type: ignore[operator]
    layers = select(model, ["*"])
    x = images(256, 4)
    small = {
        name: layer.weight.detach() + 0.1 * (nearest(layer.weight.detach(), 4).dequantize() - layer.weight.detach())
        for name, layer in layers.items()
    }
    trials = {name: [lambda weight=weight: weight] for name, weight in small.items()}
    found = second_order(model, layers, trials, [(x,)] * 8, 0, silent)
    run = Measured(model, [(x,)])
    measured = {name: run.lost(layer, small[name]) for name, layer in layers.items()}
    assert sum(value for [value] in found.values()) == pytest.approx(sum(measured.values()), rel=0.2)


def test_operators_that_write_in_place_may_follow_a_layer() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    inplace = copy.deepcopy(plain)
    inplace[1] = nn.ReLU(inplace=True)
    found, x = [], torch.randn(8, 3, 8, 8)
    for model in (plain, inplace):
        layers = select(model, ["*"])
        trials = {name: [lambda layer=layer: 1.01 * layer.weight.detach()] for name, layer in layers.items()}
        found.append(second_order(model, layers, trials, [(x,)], 0, silent))
    assert found[0] == found[1]
    assert all(value > 0 for [value] in found[0].values())


def test_a_layer_that_pads_by_itself_is_run_as_it_is() -> None:
    class Same(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(functional.pad(x, (0, 1, 0, 1)))

    torch.manual_seed(0)
    model = nn.Sequential(Same(3, 4, 2), nn.Flatten(), nn.Linear(4 * 64, 5))
    layers = select(model, ["*"])
    trials = {name: [lambda layer=layer: 1.01 * layer.weight.detach()] for name, layer in layers.items()}
    found = second_order(model, layers, trials, [(torch.randn(8, 3, 8, 8),)], 0, silent)
    assert all(value > 0 for [value] in found.values())


def test_parameters_take_no_gradient_and_keep_what_they_require() -> None:
    model = conv_net()
    model.head.weight.requires_grad_(False)
    layers = select(model, ["*"])
    trials = {name: [lambda layer=layer: 1.01 * layer.weight.detach()] for name, layer in layers.items()}
    assert all(value > 0 for [value] in second_order(model, layers, trials, [(images(8),)], 0, silent).values())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["head.weight"]
    assert not model.conv_stem._forward_hooks


def test_a_tied_embedding_is_changed_in_both_its_places() -> None:
    model = decoder("gemma")
    layers = select(model, ["role:embedding"], embeddings=True)
    assert sorted(layers) == ["lm_head", "model.embed_tokens"]
    batches = sentences(model)
    table = layers["lm_head"].weight.detach()
    found = second_order(model, layers, {name: [lambda: 1.02 * table] for name in layers}, batches, 0, silent)
    assert all(value > 0 for [value] in found.values())
    once = Measured(model, batches).lost(layers["lm_head"], 1.02 * table)
    assert once == pytest.approx(Measured(model, batches).lost(layers["model.embed_tokens"], 1.02 * table), rel=1e-6)
    assert once > 0


def test_only_as_many_batches_are_read_as_give_enough_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "IMAGES", 20)
    model = conv_net()
    assert len(rows_of(((images(8),) for _ in range(9)), model)) == 3
    assert len(rows_of([(images(8),)], model)) == 1
    with pytest.raises(ModelError, match="no calibration data"):
        rows_of([], model)
    monkeypatch.setattr(sensitivity, "TOKENS", 15)
    assert len(rows_of(sentences(decoder("llama")), decoder("llama"))) == 2


def test_of_a_large_vocabulary_a_loss_is_measured_on_fewer_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder("llama")
    head, batches = model.lm_head, sentences(model)
    first = Measured(model, batches[:1]).lost(head, 1.02 * head.weight.detach())
    assert Measured(model, batches).lost(head, 1.02 * head.weight.detach()) != first
    monkeypatch.setattr(sensitivity, "_LOGITS", 14 * 199)
    assert Measured(model, batches).lost(head, 1.02 * head.weight.detach()) == first


def test_logits_are_found_in_what_a_model_returns() -> None:
    model = decoder("llama")
    assert logits(model, sentences(model)[0]).shape == (2, 7, 199)
