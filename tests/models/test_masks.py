"""Masks as data on a model: the weight is its original where it is kept, and zero elsewhere whatever comes later."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compress.models.layers import raw_weight, weighted_layers
from compress.models.learned import LearnedBlock
from compress.models.masks import Mask, mask_of, masked_layers, masks, num_pruned, set_mask, settle_masks
from compress.models.paging import SETTING, is_paged, page
from compress.models.quantized import as_float, original_weight, quantized_weights, set_weight, stored
from compress.models.snapshot import load_snapshot, save_snapshot
from compress.numerics.grid import nearest
from tests.nets import conv_net, images, run


def half(weight: Tensor, seed: int = 0) -> Tensor:
    """A mask that keeps about half of a weight."""
    return torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) > 0.5


def pruned_net(seed: int = 0) -> nn.Module:
    model = conv_net(seed)
    for layer in weighted_layers(model).values():
        set_mask(layer, half(layer.weight))
    return model


def test_a_weight_is_its_original_where_it_is_kept_and_a_positive_zero_elsewhere() -> None:
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-1.0, 2.0, -3.0], [4.0, -5.0, 6.0]]))
    parameter = layer.weight
    set_mask(layer, torch.tensor([[False, True, False], [True, True, False]]))
    assert layer.weight.tolist() == [[0, 2, 0], [4, -5, 0]]
    assert not bool(torch.signbit(layer.weight[0]).any())  # −0 would be other bytes than 0
    assert isinstance(layer, nn.Linear)
    assert raw_weight(layer) is parameter  # an optimizer that has it keeps it


def test_a_float_layer_has_no_mask() -> None:
    assert mask_of(nn.Linear(2, 2)) is None
    assert masks(conv_net()) == {}
    assert num_pruned(nn.Linear(4, 3)) == (0, 12)


def test_a_second_mask_takes_the_place_of_the_first_and_what_it_brings_back_begins_at_zero() -> None:
    layer = nn.Linear(2, 1, bias=False)
    set_mask(layer, torch.tensor([[True, False]]))
    set_mask(layer, torch.tensor([[True, True]]))
    assert layer.weight[0, 1] == 0
    layer.weight.sum().backward()
    assert layer.parametrizations["weight"].original.grad.tolist() == [[1, 1]]
    assert len(layer.parametrizations["weight"]) == 1


@pytest.mark.parametrize("mask", [torch.ones(2, 3), torch.ones(3, 2, dtype=torch.bool)])
def test_a_mask_of_another_form_is_refused(mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"a mask of a weight \(2, 3\) is bool and of its shape, not "):
        set_mask(nn.Linear(3, 2), mask)


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1),
    "adamw": lambda net: torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps_before", [0, 3])
def test_zeros_survive_training_also_with_an_optimizer_that_was_moving_them(name: str, steps_before: int) -> None:
    model = conv_net().train()
    optimizer = OPTIMIZERS[name](model)

    def train(steps: int) -> None:
        for step in range(steps):
            optimizer.zero_grad()
            model(images(seed=step)).square().mean().backward()
            optimizer.step()

    train(steps_before)
    chosen = {layer: half(layer.weight) for layer in weighted_layers(model).values()}
    for layer, mask in chosen.items():
        set_mask(layer, mask)
    before = {layer: layer.weight.detach().clone() for layer in chosen}
    train(5)
    for layer, mask in chosen.items():
        assert bool((layer.weight[~mask] == 0).all())
        assert not bool(raw_weight(layer).grad[~mask].any())
        assert not torch.equal(layer.weight[mask], before[layer][mask])
    expected = run(model.eval(), images())
    settle_masks(model)
    assert torch.equal(run(model, images()), expected)
    assert all(torch.equal(raw_weight(layer), layer.weight) for layer in chosen)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_state_dict_and_a_copy_carry_masks(quantized: bool) -> None:
    first, second = pruned_net(0), pruned_net(1)
    for net in (first, second):
        set_mask(net.head, half(net.head.weight, 1 if net is first else 2))
        if quantized:
            set_weight(net.head, nearest(net.head.weight, 4))
    second.load_state_dict(first.state_dict())
    assert torch.equal(run(first, images()), run(second, images()))
    assert torch.equal(mask_of(first.head), mask_of(second.head))
    other = copy.deepcopy(first)
    assert torch.equal(run(first, images()), run(other, images()))
    set_mask(other.head, torch.zeros_like(mask_of(first.head)))
    assert bool(mask_of(first.head).any())


def test_codes_lie_over_the_mask_and_the_float_model_is_the_pruned_one() -> None:
    model = pruned_net()
    expected = run(model, images())
    weight = model.head.weight.detach().clone()
    set_weight(model.head, nearest(weight, 4))
    first = nearest(weight, 3)
    set_weight(model.head, first)  # again: the codes change, the mask stays
    assert [type(part).__name__ for part in model.head.parametrizations["weight"]] == ["Mask", "StoredWeight"]
    assert torch.equal(model.head.weight, first.dequantize())
    assert torch.equal(original_weight(model.head), weight)
    with as_float(model):
        assert torch.equal(run(model, images()), expected)
    assert list(quantized_weights(model)) == ["head.weight"]


def test_a_mask_that_comes_after_codes_goes_below_them() -> None:
    layer = nn.Linear(4, 2)
    set_weight(layer, nearest(layer.weight, 4))
    set_mask(layer, half(layer.weight))
    assert isinstance(layer.parametrizations["weight"][0], Mask)
    assert stored(layer) is layer.parametrizations["weight"][1]


def test_tied_weights_share_one_mask() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    set_mask(model[1], half(model[0].weight), model)
    assert model[0].parametrizations["weight"][0] is model[1].parametrizations["weight"][0]
    assert raw_weight(model[0]) is raw_weight(model[1])
    assert list(masked_layers(model)) == ["0"]
    pruned = int((~mask_of(model[0])).sum())
    assert num_pruned(model) == (pruned, 15)
    set_weight(model[0], nearest(model[0].weight, 4), model)
    assert len(model[1].parametrizations["weight"]) == 2


@pytest.mark.parametrize("trained", [False, True])
def test_a_snapshot_carries_masks(trained: bool, tmp_path: Path) -> None:
    model = pruned_net()
    set_weight(model.conv_stem, nearest(model.conv_stem.weight, 4))
    if trained:  # an optimizer has moved what is pruned
        raw_weight(model.head).data.add_(1.0)
    save_snapshot(model, tmp_path)
    other = conv_net(1)
    load_snapshot(other, tmp_path)
    first, second = model.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(run(other, images()), run(model, images()))


def test_a_single_layer_s_mask_is_in_its_snapshot_too(tmp_path: Path) -> None:
    layer, other = nn.Linear(4, 3), nn.Linear(4, 3)
    set_mask(layer, half(layer.weight))
    save_snapshot(layer, tmp_path)
    load_snapshot(other, tmp_path)
    assert torch.equal(other.weight, layer.weight)
    assert torch.equal(mask_of(other), mask_of(layer))


def test_learned_rounding_keeps_zeros() -> None:
    model = conv_net()
    layer = model.blocks[0].conv1
    mask = half(layer.weight)
    set_mask(layer, mask)
    set_weight(layer, nearest(layer.weight, 3, symmetric=False))
    with LearnedBlock(model, "blocks.0", 0.0, torch.Generator()) as learned:
        learned.weights[layer].offsets.data.fill_(0.5).sub_(1e-3)
        assert bool((layer.weight[~mask] == 0).all())
        layer.weight.square().sum().backward()
        assert not bool(learned.weights[layer].offsets.grad[~mask.reshape(6, -1)].any())
        learned.settle()
    assert bool((layer.weight[~mask] == 0).all())


def test_the_mask_of_a_paged_weight_is_paged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "always")
    layer = nn.Linear(1024, 512)
    page(layer)
    mask = half(layer.weight)
    set_mask(layer, mask)
    assert is_paged(mask_of(layer))
    assert is_paged(raw_weight(layer))
    assert torch.equal(mask_of(layer), mask)
    assert bool((layer.weight[~mask] == 0).all())
