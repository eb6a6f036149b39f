"""Where activations are quantized, network by network: the exact keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compress.models.calls import record
from compress.models.layers import weighted_layers
from compress.models.sites import quantized_calls
from tests.nets import conv_net, images, transformer


def keys(model: nn.Module, x: Tensor, ignore: tuple[str, ...] = ()) -> list[str]:
    return quantized_calls(record(model.eval(), x), set(weighted_layers(model)) - set(ignore))


def test_a_convolution_ends_with_the_relu_that_alone_reads_it_and_the_output_stays_float() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert keys(model, images(1)) == ["input", "1:relu:0"]


def test_an_activation_that_does_more_than_clip_reads_a_grid_and_gives_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.Conv2d(4, 2, 1))
    assert keys(model, images(1)) == ["input", "0:conv2d:0", "1:silu:0"]


def test_layers_that_are_left_out_leave_their_inputs_float() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert keys(model, images(1), ignore=("0", "4")) == ["1:relu:0", "3:relu:0"]
    assert keys(model, images(1), ignore=("0", "2", "4")) == []


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x))
        return self.c(self.b(x) + x)


def test_a_sum_of_quantized_tensors_is_quantized() -> None:
    assert keys(Residual(), images(1)) == ["input", "act:relu:0", "b:conv2d:0", ":add:0"]


def test_a_sum_with_a_float_tensor_stays_float_unless_a_layer_reads_it() -> None:
    assert keys(Residual(), images(1), ignore=("a", "c")) == ["act:relu:0", "b:conv2d:0", ":add:0"]
    assert keys(Residual(), images(1), ignore=("b", "c")) == ["input", "act:relu:0"]


class ReluAfterSum(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x))
        return self.c(self.act(self.b(x) + x))


def test_a_sum_ends_with_the_relu_that_alone_reads_it() -> None:
    assert keys(ReluAfterSum(), images(1)) == ["input", "act:relu:0", "b:conv2d:0", "act:relu:1"]


class ReluBesideSum(Residual):
    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(self.act(x) + x)


def test_a_result_that_two_read_is_quantized_itself() -> None:
    # the relu of a quantized tensor is on no grid of its own: the sum is float until the layer that reads it
    assert keys(ReluBesideSum(), images(1)) == ["input", "a:conv2d:0", ":add:0"]


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.reduce, self.expand = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        self.project = nn.Conv2d(4, 3, 1)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(x))
        gate = self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True))))
        return self.project(x * torch.sigmoid(gate))


def test_a_gate_is_float_between_its_last_layer_and_the_next() -> None:
    assert keys(SqueezeExcite(), images(1)) == [
        "input",
        "act:hardtanh:0",
        ":mean:0",
        "act:hardtanh:1",
        "expand:conv2d:0",
        ":mul:0",
    ]


def test_pooling_is_quantized_and_a_reshape_carries_its_grid_on() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 2))
    assert keys(model, images(1)) == ["input", "0:conv2d:0", "1:adaptive_avg_pool2d:0"]


def test_a_max_pooling_passes_a_grid_on() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1))
    assert keys(model, images(1)) == ["input", "0:conv2d:0"]


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(torch.cat([self.a(x), self.b(x).relu()], 1))


def test_a_concatenation_of_quantized_tensors_is_quantized() -> None:
    assert keys(Joined(), images(1)) == ["input", "a:conv2d:0", ":relu:0", ":cat:0"]


def test_a_linear_layer_s_input_is_quantized_and_its_output_is_not() -> None:
    model = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 6), nn.GELU(), nn.Linear(6, 3))
    assert keys(model, torch.ones(1, 4, 3)) == ["0:layer_norm:0", "2:gelu:0"]


def test_the_sites_of_a_convolutional_network() -> None:
    """With its normalisations, which quantize.static wants folded: a sum of two of them is no sum of quantized ones."""
    assert keys(conv_net(), images(1)) == [
        "input",
        "conv_stem:conv2d:0",
        "act:hardtanh:0",
        "blocks.0.conv1:conv2d:0",
        "blocks.0.act:relu:0",
        "blocks.0.conv2:conv2d:0",
        "blocks.0.act:relu:1",
        "blocks.1.conv_dw:conv2d:0",
        "blocks.1.act:relu:0",
        "blocks.1.conv_pw:conv2d:0",
        "pool:adaptive_avg_pool2d:0",
    ]


def test_the_sites_of_a_transformer() -> None:
    block = ["norm1:layer_norm:0", ":matmul:1", "norm2:layer_norm:0", ":gelu:0"]
    inner = [f"blocks.{number}{'' if key.startswith(':') else '.'}{key}" for number in (0, 1) for key in block]
    assert keys(transformer(), images(1)) == ["input", "embed:conv2d:0", *inner, ":mean:0"]


def test_a_pad_before_a_convolution_has_no_grid_of_its_own() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(nn.functional.pad(x, (0, 1, 0, 1))).mean()

    graph = record(Padded(), torch.zeros(1, 3, 8, 8))
    assert quantized_calls(graph, {"conv"}) == ["input", "conv:conv2d:0"]
