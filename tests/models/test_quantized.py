"""Quantization as data on a model, which keeps its class, its state and its training loop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.models.activations import QuantizedActivation, active_activations, quantized_activations, set_activations
from compress.models.calls import INPUT
from compress.models.quantized import as_float, original_weight, quantized_weights, set_weight, stored
from compress.numerics.grid import nearest
from tests.nets import conv_net, images, run

GRID = QuantizedActivation(0.5, 3, 4)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_a_quantized_layer_computes_with_what_its_codes_say_and_stays_its_class() -> None:
    layer = nn.Conv2d(3, 4, 3)
    weight = layer.weight.detach().clone()
    quantized = nearest(weight, 4, 5)
    set_weight(layer, quantized)
    assert isinstance(layer, nn.Conv2d)
    assert torch.equal(layer.weight, quantized.dequantize())
    assert torch.equal(original_weight(layer), weight)
    part = stored(layer)
    assert part is not None
    assert part.quantized == quantized


def test_a_float_layer_stores_nothing_and_is_its_own_original() -> None:
    layer = nn.Linear(2, 2)
    assert stored(layer) is None
    assert original_weight(layer) is layer.weight


def test_codes_that_are_set_twice_are_the_last_and_the_float_weight_is_the_first() -> None:
    layer = nn.Linear(5, 3)
    weight = layer.weight.detach().clone()
    set_weight(layer, nearest(weight, 2))
    again = nearest(weight, 8)
    set_weight(layer, again)
    assert torch.equal(layer.weight, again.dequantize())
    assert torch.equal(original_weight(layer), weight)
    assert len(layer.parametrizations["weight"]) == 1


def test_quantized_weights_are_named_as_in_the_float_model() -> None:
    model = conv_net()
    names = [name for name, _ in model.named_parameters()]
    for module in (model.conv_stem, model.blocks[0].conv2, model.head):
        set_weight(module, nearest(module.weight, 4))
    found = quantized_weights(model)
    assert list(found) == ["conv_stem.weight", "blocks.0.conv2.weight", "head.weight"]
    assert set(found) <= set(names)
    assert all(weight.num_bits == 4 for weight in found.values())


@pytest.mark.parametrize("options", [{}, {"symmetric": False}, {"group_size": 4, "integer_scales": True}])
def test_a_state_dict_carries_codes_and_all_that_belongs_to_them(options: dict[str, object]) -> None:
    def model(seed: int) -> nn.Module:
        net = conv_net(seed)
        for module in (net.conv_stem, net.head):
            set_weight(module, nearest(module.weight, 4, **options))
        return net

    first, second = model(0), model(1)
    assert not torch.equal(run(first, images()), run(second, images()))
    second.load_state_dict(first.state_dict())
    assert torch.equal(run(first, images()), run(second, images()))


def test_a_training_loop_reaches_biases_and_float_layers_of_a_quantized_model() -> None:
    model = conv_net()
    set_weight(model.head, nearest(model.head.weight, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before, codes = model.head.bias.detach().clone(), quantized_weights(model)["head.weight"].codes.clone()
    model(images()).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model.head.bias, before)
    assert torch.equal(quantized_weights(model)["head.weight"].codes, codes)


@settings(max_examples=40, deadline=None)
@given(st.floats(-100, 100, width=32), st.integers(0, 15), st.sampled_from([0.125, 0.5, 0.3]))
def test_an_activation_grid_gives_its_nearest_value_within_its_ends(
    value: float, zero_point: int, scale: float
) -> None:
    grid = QuantizedActivation(scale, zero_point, 4)
    rounded = float(grid.fake_quantize(torch.tensor([value])))
    levels = [float(torch.tensor((code - zero_point) * scale)) for code in range(16)]
    assert rounded == pytest.approx(min(levels, key=lambda level: abs(level - value)), abs=scale / 2 + 1e-6)
    assert min(abs(rounded - level) for level in levels) < 1e-6
    assert abs(rounded - min(max(value, grid.low), grid.high)) <= scale / 2 * (1 + 1e-5)


def test_an_activation_grid_by_hand() -> None:
    assert (GRID.low, GRID.high) == (-1.5, 6.0)  # (0 − 3)/2 … (15 − 3)/2
    x = torch.tensor([-9.0, -1.5, -0.2, 0.0, 0.26, 5.9, 99.0])
    assert GRID.fake_quantize(x).tolist() == [-1.5, -1.5, 0.0, 0.0, 0.5, 6.0, 6.0]


def test_a_gradient_passes_a_grid_inside_its_range_alone() -> None:
    x = torch.tensor([-9.0, 0.3, 99.0], requires_grad=True)
    GRID.fake_quantize(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def test_activation_grids_are_a_table_that_replaces_the_one_before() -> None:
    model = conv_net()
    assert quantized_activations(model) == {}
    set_activations(model, {INPUT: GRID})
    set_activations(model, {"act:hardtanh:0": GRID})
    assert quantized_activations(model) == active_activations(model) == {"act:hardtanh:0": GRID}
    assert hooks(model) == 2  # before and after a forward of the root


def test_an_empty_table_hangs_no_hook_on_a_model() -> None:
    model = conv_net()
    set_activations(model, {})
    assert hooks(model) == 0


def quantized_net() -> tuple[nn.Module, Tensor]:
    """A model that is quantized in weights and activations, and its float output."""
    model = conv_net()
    before = run(model, images())
    for module in (model.conv_stem, model.head):
        set_weight(module, nearest(module.weight, 3))
    set_activations(model, {"act:hardtanh:0": QuantizedActivation(0.5, 0)})
    return model, before


def test_as_float_is_the_model_that_it_was() -> None:
    model, before = quantized_net()
    after = run(model, images())
    with as_float(model):
        assert torch.equal(run(model, images()), before)
        assert active_activations(model) == {}
        assert quantized_activations(model) != {}
    assert torch.equal(run(model, images()), after)
    assert not torch.equal(before, after)


def test_weights_and_activations_may_be_float_one_by_one() -> None:
    model, before = quantized_net()
    with as_float(model, weights=False):
        weights_only = run(model, images())
    with as_float(model, activations=False):
        activations_only = run(model, images())
    outputs = [before, weights_only, activations_only, run(model, images())]
    assert not any(torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_as_float_ends_with_an_error_and_with_the_outermost_scope() -> None:
    model, before = quantized_net()
    after = run(model, images())
    with as_float(model):
        with as_float(model, weights=False), pytest.raises(ZeroDivisionError), as_float(model):
            raise ZeroDivisionError
        assert torch.equal(run(model, images()), before)  # the outer scope lasts
    assert torch.equal(run(model, images()), after)
    with pytest.raises(RuntimeError), as_float(model):
        model(torch.ones(1, 1, 1, 1))
    assert torch.equal(run(model, images()), after)


def test_another_parametrization_of_a_user_is_not_taken_for_codes() -> None:
    class Half(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    layer = nn.Linear(2, 2)
    parametrize.register_parametrization(layer, "weight", Half())
    assert stored(layer) is None
    assert quantized_weights(nn.Sequential(layer)) == {}
