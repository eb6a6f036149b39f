"""correct.bias: after it, no layer's output is shifted on the calibration data."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from compress.errors import ModelError
from compress.models.layers import weighted_layers
from compress.models.quantized import as_float, quantized_weights, set_weight
from compress.numerics.grid import nearest
from compress.passes import CorrectBias, FoldBatchNorm, QuantizeStatic, QuantizeWeights
from compress.passes.correct_bias import Mean, means
from tests.nets import NETS, context, images, run


def quantized(net: str, num_bits: int = 3) -> nn.Module:
    model = FoldBatchNorm().apply(NETS[net](), context())
    return QuantizeWeights(num_bits=num_bits).apply(model, context())


def shifts(model: nn.Module) -> dict[str, Tensor]:
    """By layer, how far the mean of each output channel lies from the float model's."""
    layers = weighted_layers(model)
    with as_float(model), means(layers) as wanted:
        run(model, images())
    with means(layers) as given:
        run(model, images())
    return {name: given[name].value - wanted[name].value for name in layers}


@pytest.mark.parametrize("net", NETS)
def test_no_layer_s_output_is_shifted_afterwards(net: str) -> None:
    model = quantized(net)
    before = shifts(model)
    assert all(float(shift.abs().max()) > 1e-3 for shift in before.values())
    CorrectBias().apply(model, context())
    for name, shift in shifts(model).items():
        assert float(shift.abs().max()) < 1e-5, name


@pytest.mark.parametrize("net", NETS)
def test_the_float_model_within_keeps_its_biases(net: str) -> None:
    model = quantized(net)
    with as_float(model):
        expected = run(model, images())
    CorrectBias().apply(model, context())
    corrected = run(model, images())
    for _ in range(2):
        with as_float(model), as_float(model):
            assert torch.equal(run(model, images()), expected)
        assert torch.equal(run(model, images()), corrected)


@pytest.mark.parametrize("net", NETS)
def test_correcting_again_changes_nothing(net: str) -> None:
    model = quantized(net)
    CorrectBias().apply(model, context())
    before = run(model, images())
    CorrectBias().apply(model, context())
    torch.testing.assert_close(run(model, images()), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_only_biases_change(net: str) -> None:
    model = quantized(net)
    before = copy.deepcopy(model.state_dict())
    CorrectBias().apply(model, context())
    for name, value in model.state_dict().items():
        if not name.endswith("bias"):
            assert torch.equal(value, before[name]), name


def test_activations_on_grids_are_corrected_for_what_they_add() -> None:
    model = QuantizeStatic().apply(quantized("convolutions"), context())
    before = shifts(model)
    CorrectBias().apply(model, context())
    after = shifts(model)
    sizes = [sum(float(shift.square().sum()) for shift in which.values()) for which in (before, after)]
    assert sizes[1] < 0.01 * sizes[0]


def test_by_hand() -> None:
    """w = 0.4 becomes 0 on a grid of ones: the output loses 0.4 times the input's mean of 2, which the bias gets."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.constant_(model[0].weight, 0.4)
    set_weight(model[0], nearest(torch.tensor([[0.0]]), 8))
    CorrectBias().apply(model, context(torch.tensor([[1.0], [3.0]])))
    assert isinstance(model[0].bias, nn.Parameter)
    assert model[0].bias.item() == pytest.approx(0.8)


def test_a_layer_that_does_not_run_is_left_alone() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.also, self.spare = (nn.Linear(2, 2, bias=False) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.also(self.used(x))

    model = nn.Sequential(Spare())
    QuantizeWeights(num_bits=2).apply(model, context())
    CorrectBias().apply(model, context(torch.randn(4, 2)))
    assert model[0].used.bias is not None
    assert model[0].spare.bias is None


def test_without_a_quantized_weight_there_is_nothing_to_correct() -> None:
    with pytest.raises(ModelError) as caught:
        CorrectBias().requires(NETS["transformer"](), context())
    expected = "correct.bias: no weight is quantized: put quantize.weights or quantize.static before"
    assert str(caught.value) == expected


def test_a_mean_is_streamed_for_each_channel() -> None:
    linear, conv = Mean(-1), Mean(1)
    for part in torch.arange(12.0).reshape(2, 3, 2).split(1):
        linear.update(part)
        conv.update(part)
    assert linear.value.tolist() == [5.0, 6.0]
    assert conv.value.tolist() == [3.5, 5.5, 7.5]


def test_the_mean_error_of_the_output_falls() -> None:
    model = quantized("convolutions", num_bits=4)
    assert len(quantized_weights(model)) == 6
    with as_float(model):
        expected = run(model, images())
    before = (run(model, images()) - expected).square().mean()
    CorrectBias().apply(model, context())
    assert (run(model, images()) - expected).square().mean() < before
