"""A small torch network with quantized weights and activations, as the passes leave them; and how to run a graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.exporter.build import build
from compress.exporter.tidy import tidy
from compress.models.activations import QuantizedActivation, set_activations
from compress.models.calls import INPUT, record
from compress.models.quantized import set_weight
from compress.numerics.weight import QuantizedWeight, spread, storable_scales
from compress.runtime.session import session_options
from compress.targets import Target

GENERIC = Target(
    "generic", "", "onnx-cpu", 21, 10, tuple(range(2, 9)), tuple(range(4, 9)), ("tensor", "channel", "group")
)
STATIC = replace(GENERIC, name="static", runtime="rknn", opset=19, ir_version=9, static_shapes=True)


class Network(nn.Module):
    """A stem, a depthwise and a pointwise convolution with a residual, a mean, a linear layer.

    [N, 3, 16, 16] → [N, 5].  The stem's and the depthwise convolution's activations are ReLU6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.pointwise = nn.Conv2d(16, 16, 1)
        self.activation = nn.ReLU6(inplace=True)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.stem(x))
        x = x + self.pointwise(self.activation(self.depthwise(x)))
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers of 3-D tensors, one of them used twice: [N, 3, 16, 16] → [N, 16, 8] → [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = x + self.mix(self.norm(x))
        x = x + self.mix(self.norm(x))
        return self.head(x[:, 0])


def inputs(count: int = 8) -> NDArray[np.float32]:
    """Noise, the same in each run: [count, 3, 16, 16]."""
    return np.random.default_rng(0).normal(size=(count, 3, 16, 16)).astype(np.float32)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


def channel_weight(weight: Tensor, num_bits: int = 8) -> QuantizedWeight:
    """Rounded to the nearest of symmetric codes, a scale a row."""
    rows, limit = weight.detach().reshape(weight.shape[0], -1), 2 ** (num_bits - 1) - 1
    scales = storable_scales((rows.abs().amax(1, keepdim=True) / limit).clamp(min=1e-3))
    codes = (rows / scales).round().clamp(-limit, limit).to(torch.int8)
    return QuantizedWeight(codes.reshape(weight.shape), scales, None, None, num_bits, None)


def group_weight(weight: Tensor, num_bits: int = 4, group_size: int = 8) -> QuantizedWeight:
    """The same with a whole multiple of the row's scale for each group of columns."""
    rows, limit = weight.detach().reshape(weight.shape[0], -1), 2 ** (num_bits - 1) - 1
    wanted = torch.stack([part.abs().amax(1) for part in rows.split(group_size, dim=1)], dim=1) / limit
    scales = storable_scales((wanted.amax(1, keepdim=True) / 16).clamp(min=1e-3))
    multipliers = (wanted / scales).round().clamp(1, 16)
    codes = (rows / (scales * spread(multipliers, rows.shape[1], group_size))).round().clamp(-limit - 1, limit)
    shaped = codes.to(torch.int8).reshape(weight.shape)
    return QuantizedWeight(shaped, scales, None, multipliers.to(torch.uint8), num_bits, group_size)


def quantize_weights(model: nn.Module, how: Callable[[Tensor], QuantizedWeight] = channel_weight) -> nn.Module:
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            set_weight(module, how(module.weight))
    return model


def quantize_activations(model: nn.Module, num_bits: int = 8) -> nn.Module:
    """A grid for the input and for what activations, additions, means, norms and the pointwise convolution give."""
    steps = 2**num_bits - 1
    table = {INPUT: QuantizedActivation(8 / steps, steps // 2 + 1, num_bits)}
    for call in record(model, torch.from_numpy(inputs(1))):
        if call.function == "hardtanh":
            table[call.key] = QuantizedActivation(2 / steps, 0, num_bits)
        elif call.function in ("add", "mean", "layer_norm") or call.key in ("pointwise:conv2d:0", "patch:conv2d:0"):
            table[call.key] = QuantizedActivation(6 / steps, steps // 2, num_bits)
    set_activations(model, table)
    return model


@functools.cache
def exported(
    network: type[nn.Module],
    how: Callable[[Tensor], QuantizedWeight] | None,
    activation_bits: int | None,
    target: Target = GENERIC,
) -> onnx.ModelProto:
    """The finished graph of a network with weights and activations quantized so, or not (None)."""
    built = build(prepared(network, how, activation_bits), (torch.from_numpy(inputs(1)),), target)
    tidy(built)
    proto = ir.to_proto(built)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def prepared(
    network: type[nn.Module], how: Callable[[Tensor], QuantizedWeight] | None, activation_bits: int | None
) -> nn.Module:
    model = seeded(network)
    if how is not None:
        quantize_weights(model, how)
    if activation_bits is not None:
        quantize_activations(model, activation_bits)
    return model


def logits(model: nn.Module) -> NDArray[np.float32]:
    """What the torch model makes of `inputs()`."""
    with torch.no_grad():
        return model(torch.from_numpy(inputs())).numpy()


def operators(model: onnx.ModelProto | ir.Model) -> list[str]:
    """The types of a graph's nodes, in order."""
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    return [node.op_type for node in proto.graph.node]


def run(model: onnx.ModelProto | ir.Model, optimize: bool = True, **feeds: NDArray[Any]) -> NDArray[Any]:
    """The first output in onnxruntime."""
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    options = session_options(threads=1)
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]
