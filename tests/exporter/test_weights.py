"""Stored weights in the exported graph: the form that each consumer takes, and what onnxruntime makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from compress.exporter.build import build
from compress.exporter.codecs import stored_bytes
from compress.exporter.tidy import write
from compress.exporter.weights import with_room_for_bias
from compress.models.activations import QuantizedActivation, set_activations
from compress.models.quantized import quantized_weights, set_weight
from compress.numerics.weight import QuantizedWeight
from compress.runtime.session import optimized_ops
from compress.targets import Target
from tests.exporter.networks import (
    GENERIC,
    Network,
    Tokens,
    channel_weight,
    exported,
    group_weight,
    inputs,
    logits,
    prepared,
    quantize_activations,
    quantize_weights,
    run,
    seeded,
)

How = Callable[[Tensor], QuantizedWeight]


def affine_weight(weight: Tensor) -> QuantizedWeight:
    symmetric = channel_weight(weight, 4)
    zeros = torch.full((weight.shape[0], 1), 3, dtype=torch.int8)
    return QuantizedWeight(symmetric.codes, symmetric.scales, zeros, None, 4, None)


def fused(model: onnx.ModelProto, path: Path) -> dict[str, int]:
    onnx.save(model, path / "model.onnx")
    return optimized_ops(path / "model.onnx")


INTEGER_KERNELS = {
    "QuantizeLinear": 1,
    "QLinearConv": 3,
    "QLinearAdd": 1,
    "QLinearGlobalAveragePool": 1,
    "QGemm": 1,
}


@pytest.mark.parametrize("how", [channel_weight, group_weight], ids=["8 bits", "4 bits in groups"])
def test_a_quantized_network_becomes_integer_kernels_whole(how: How, tmp_path: Path) -> None:
    found = fused(exported(Network, how, 8), tmp_path)
    assert {name: count for name, count in found.items() if name not in ("Transpose", "Reshape", "Flatten")} == (
        INTEGER_KERNELS
    )


@pytest.mark.parametrize("target", [GENERIC, replace(GENERIC, static_shapes=True)], ids=["dynamic", "static"])
def test_linear_layers_of_tokens_become_integer_kernels(target: Target, tmp_path: Path) -> None:
    found = fused(exported(Tokens, channel_weight, 8, target), tmp_path)
    assert found["QGemm"] + found.get("MatMulIntegerToFloat", 0) == 3
    assert not {"Gemm", "MatMul", "Conv"} & set(found)


@pytest.mark.parametrize(
    ("network", "how"), [(Network, group_weight), (Tokens, channel_weight), (Tokens, group_weight)]
)
def test_weights_alone_leave_the_float_graph_and_its_numbers(
    network: type[nn.Module], how: How, tmp_path: Path
) -> None:
    model = exported(network, how, None)
    expected = logits(prepared(network, how, None))
    np.testing.assert_allclose(run(model, pixel_values=inputs()), expected, rtol=1e-5, atol=1e-5)
    assert fused(model, tmp_path) == fused(exported(network, None, None), tmp_path)


def test_a_weight_without_an_int8_form_stays_float_also_for_the_runtime(tmp_path: Path) -> None:
    model = exported(Network, affine_weight, 8)
    found = fused(model, tmp_path)
    assert found["Conv"] + found.get("FusedConv", 0) == 3
    assert "QLinearConv" not in found
    close = np.abs(run(model, pixel_values=inputs()) - logits(prepared(Network, affine_weight, 8))) < 1e-4
    assert close.mean() > 0.9


def test_a_float_layer_among_quantized_ones_stays_float_also_for_the_runtime(tmp_path: Path) -> None:
    model = seeded(Network)
    set_weight(model.stem, channel_weight(model.stem.weight))
    with torch.no_grad():
        model.pointwise.weight[0] *= 50
    quantize_activations(model)
    proto = onnx.ModelProto.FromString(bytes_of(model, tmp_path))
    found = fused(proto, tmp_path)
    assert found["QLinearConv"] == 1
    assert found["Conv"] == 2
    close = np.abs(run(proto, pixel_values=inputs()) - logits(model)) < 1e-4
    assert close.mean() > 0.9


def test_a_convolution_with_float_results_takes_a_float_weight(tmp_path: Path) -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.sigmoid(self.conv(x)).mean((2, 3))

    model = quantize_weights(seeded(One))
    set_activations(model, {"input": QuantizedActivation(0.03, 128)})
    found = fused(onnx.ModelProto.FromString(bytes_of(model, tmp_path)), tmp_path)
    assert found["DequantizeLinear"] == found["QuantizeLinear"] == 1  # the input's
    assert found["Conv"] == 1


def bytes_of(model: nn.Module, tmp_path: Path) -> bytes:
    write(build(model, (torch.from_numpy(inputs(1)),), GENERIC), tmp_path / "written.onnx", GENERIC, "1")
    return (tmp_path / "written.onnx").read_bytes()


def test_a_weight_that_is_used_twice_is_stored_once() -> None:
    names = [tensor.name for tensor in exported(Tokens, channel_weight, 8).graph.initializer]
    assert [name for name in names if name.startswith("mix.weight")] == ["mix.weight", "mix.weight_scale"]


def test_no_two_products_share_a_constant_that_the_runtime_may_rewrite() -> None:
    model = exported(Tokens, channel_weight, 8)
    made = {name: node for node in model.graph.node for name in node.output}
    read = [made[node.input[1]] for node in model.graph.node if node.op_type == "Gemm"]
    assert len(read) == 3
    assert len({node.input[0] for node in read}) == len({node.input[2] for node in read}) == 3


def test_the_file_holds_stored_bytes_and_no_float_copy() -> None:
    sizes = {tensor.name: len(tensor.raw_data) for tensor in exported(Network, group_weight, None).graph.initializer}
    for name, weight in quantized_weights(prepared(Network, group_weight, None)).items():
        assert sum(size for key, size in sizes.items() if key.startswith(name)) == stored_bytes(weight)


def test_the_model_is_afterwards_as_it_was(tmp_path: Path) -> None:
    model = prepared(Network, channel_weight, 8).train()
    before = logits(model)
    bytes_of(model, tmp_path)
    assert model.training
    assert model.activation.inplace
    np.testing.assert_array_equal(logits(model), before)


@pytest.mark.parametrize("num_bits", [4, 6])
def test_activations_of_fewer_bits_are_clipped_integers(num_bits: int, tmp_path: Path) -> None:
    model = exported(Network, channel_weight, num_bits)
    assert fused(model, tmp_path)["QLinearConv"] == 3
    steps = [node.op_type for node in model.graph.node if node.op_type in ("QuantizeLinear", "Clip")]
    assert steps == ["QuantizeLinear", "Clip"] * 6
    expected = logits(prepared(Network, channel_weight, num_bits))
    assert len(np.unique(expected)) > 20
    # An int32 bias is not the float one to the last digit: next to it some value of an image takes another step.
    assert (np.abs(run(model, optimize=False, pixel_values=inputs()) - expected) < 1e-3).mean() > 0.5


# --- biases


def biased(scale: float) -> QuantizedWeight:
    return QuantizedWeight(torch.tensor([[100, -50]], dtype=torch.int8), torch.tensor([[scale]]), None, None, 8, None)


def test_a_bias_that_fits_leaves_the_weight_alone() -> None:
    weight = biased(1e-3)
    assert with_room_for_bias(weight, np.array([3.0], np.float32), 0.02) is weight


def test_a_bias_too_large_for_int32_raises_the_scale_of_its_row() -> None:
    # 3 / (0.02 · 1e-8) is 1.5e10: the scale must be 3 / (0.02 · 2^30) = 1.397e-7, the codes 14 times smaller.
    roomy = with_room_for_bias(biased(1e-8), np.array([3.0], np.float32), 0.02)
    assert float(roomy.scales) == pytest.approx(1.397e-7, rel=1e-3)
    assert roomy.codes.tolist() == [[7, -4]]


def test_a_channel_that_is_switched_off_gives_its_bias(tmp_path: Path) -> None:
    model = seeded(Network)
    with torch.no_grad():
        model.stem.weight[0] = 0
        model.stem.bias[0] = 1.5
    quantize_weights(model)
    model.stem.parametrizations["weight"][0].scales[0] = 1e-12
    quantize_activations(model)
    proto = onnx.ModelProto.FromString(bytes_of(model, tmp_path))
    assert (np.abs(run(proto, pixel_values=inputs()) - logits(model)) < 1e-3).mean() > 0.9
